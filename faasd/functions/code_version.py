"""The version of a function's code: a hash of what stands in its directory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from faasd.functions.code_tree import BYTES_MAX, FILE_BYTES_MAX, FILES_MAX, is_code_name

__all__ = ["code_version"]

_SKIPPED_DIRECTORIES = frozenset({"__pycache__", "node_modules", "venv"})


def code_version(root: str, exclude: Sequence[str] = ()) -> str:
    """Return a short hash of a file, or of the files below a directory.

    Caches, version control, virtual environments, hidden files and the directories in `exclude`
    (the daemon's state, watched directories) do not count. Never raises: what cannot be read
    counts by its name. Beyond FILE_BYTES_MAX and BYTES_MAX, files count by name, size and time of change
    instead of by content; beyond FILES_MAX the rest does not count at all: it is data, not code.
    """
    digest = hashlib.sha256()
    content_bytes = 0
    for count, path in enumerate(_files(root, frozenset(map(os.path.abspath, exclude)))):
        if count >= FILES_MAX:
            break
        digest.update(os.fsencode(os.path.relpath(path, root)) + b"\0")
        try:
            status = Path(path).stat()
            if status.st_size > FILE_BYTES_MAX or content_bytes > BYTES_MAX:
                digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
                continue
            content_bytes += status.st_size
            with Path(path).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            digest.update(b"unreadable")
    return digest.hexdigest()[:12]


def _files(root: str, exclude: frozenset[str]) -> Iterator[str]:
    """Yield regular files in a stable order."""
    if Path(root).is_file():
        yield root
        return
    for directory, names, files in os.walk(root):
        names[:] = sorted(
            name
            for name in names
            if not name.startswith(".")
            and name not in _SKIPPED_DIRECTORIES
            and os.path.join(directory, name) not in exclude
            and not Path(directory, name, "pyvenv.cfg").exists()
        )
        for name in sorted(files):
            path = os.path.join(directory, name)
            # A FIFO would block for ever when it is opened.
            if not name.startswith(".") and is_code_name(name) and Path(path).is_file():
                yield path
