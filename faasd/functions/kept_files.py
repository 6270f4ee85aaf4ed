"""Reads what the state directory keeps. What is not there is nothing; what cannot be read is an error, and never nothing.

A function whose layer or deployment seems to be gone would be left out, and a version whose record seems to be
gone be made anew in its place.
"""

from __future__ import annotations

import os
from pathlib import Path

from faasd.errors import VersionError

__all__ = ["link_of", "names_in", "text_of"]


def names_in(directory: Path) -> list[str]:
    """Return what is in a directory; nothing where there is none. Raises VersionError."""
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(directory, error) from error


def text_of(path: Path) -> str | None:
    """Return what is in a file; None where there is none. Raises VersionError, and ValueError for what is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def link_of(path: Path) -> str | None:
    """Return what a link says, as it stands there; None where there is none. Raises VersionError."""
    try:
        return os.readlink(path)  # noqa: PTH115 - a name, not a path.
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> VersionError:
    return VersionError(
        f"cannot read {path}: {error.strerror}; run this as the daemon's user, or check the owner and mode "
        "of it and of the directories that it is in"
    )
