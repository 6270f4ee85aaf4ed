"""Removing trees, whatever the modes of the directories in them."""

from __future__ import annotations

import contextlib
import os
import shutil

__all__ = ["remove_tree"]


def remove_tree(top: str | os.PathLike[str], *, ignores_errors: bool = False) -> None:
    """Remove a directory with all that is in it, never following a link. Raises OSError.

    With `ignores_errors` what cannot be removed stays, and a directory that is not there is none to remove.
    """
    if os.path.islink(top):  # The walk would follow this one, and open what is not ours to change.
        shutil.rmtree(top, ignore_errors=ignores_errors)
        return
    _open(os.fspath(top))
    for base, names, _ in os.walk(top):
        for name in names:  # Before the walk goes down into them.
            _open(os.path.join(base, name))
    shutil.rmtree(top, ignore_errors=ignores_errors)


def _open(path: str) -> None:
    with contextlib.suppress(OSError):  # It is not ours, or has gone: the removal itself tells.
        if not os.path.islink(path):
            os.chmod(path, 0o700)
