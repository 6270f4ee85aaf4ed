"""Directories that do not outlast their makers: flock(2) tells which of them nobody holds any more.

Whoever makes one holds a lock on it, which the kernel lets go with its last process. So what is there without a lock
was left behind by somebody who was killed, and the next who comes removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator

from faasd.linux.trees import remove_tree

__all__ = ["held_directory", "remove_left"]


@contextlib.contextmanager
def held_directory(parent: str | os.PathLike[str], prefix: str) -> Iterator[str]:
    """Make a directory, closed to others, for the length of a block; what is in it goes with it. Raises OSError.

    One that was renamed meanwhile stays where it is.
    """
    path, lock = _make(os.fspath(parent), prefix)
    try:
        yield path
    finally:
        remove_tree(path, ignores_errors=True)
        os.close(lock)


def remove_left(parent: str | os.PathLike[str], prefix: str) -> int:
    """Remove what killed predecessors of this user left there; returns how many directories that were.

    Links, and what others put there under such a name, are left alone: anybody may write to /tmp.
    """
    count = 0
    try:
        found = [entry.path for entry in os.scandir(parent) if entry.name.startswith(prefix)]
    except OSError:
        return 0
    for path in found:
        try:
            lock = _lock(path)
        except OSError:
            continue  # In use, not a directory, not ours, or gone at this moment.
        remove_tree(path, ignores_errors=True)
        os.close(lock)
        count += 1
    return count


def _make(parent: str, prefix: str) -> tuple[str, int]:
    while True:
        path = tempfile.mkdtemp(prefix=prefix, dir=parent)
        try:
            return path, _lock(path)
        except (FileNotFoundError, BlockingIOError):
            continue  # Somebody who looked for what is left came between, and removes it.
        except BaseException:
            remove_tree(path, ignores_errors=True)
            raise


def _lock(path: str) -> int:
    """Lock a directory of ours. Raises OSError when somebody has it, or when it is not one, or not ours."""
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held, named = os.fstat(lock), os.lstat(path)
        if not os.path.samestat(held, named):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if held.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
    except BaseException:
        os.close(lock)
        raise
    return lock
