"""fsync(2) and syncfs(2): what was written is on its disk."""

from __future__ import annotations

import ctypes
import os

__all__ = ["sync", "sync_file_system", "write_synced"]


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file, or the names in a directory, are on disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_synced(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file that is on disk when this returns; its name is when its directory is. Raises OSError."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_file_system(path: str) -> None:
    """Wait until what was written to the file system of `path` is on disk.

    One call for a tree of ten thousand files costs less than fsync of each. Raises OSError where the
    disk refused something (that is told since Linux 5.8).
    """
    # PyDLL would hold the interpreter's lock over a slow disk.
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(ctypes.c_int(fd)) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), path)
    finally:
        os.close(fd)
