"""The private directory of one import, which does not outlast us even when we are killed.

Whoever uses a directory holds a lock on it, which the kernel lets go with its last process. So what is there
without a lock was left behind, and the next discovery removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator

from faasd.linux.trees import remove_tree

__all__ = ["import_dir", "remove_leftovers"]

_PREFIX = "faasd-import-"


@contextlib.contextmanager
def import_dir() -> Iterator[str]:
    """Make a directory for the length of a block; what is in it goes with it. Raises OSError."""
    path, lock = _make()
    try:
        yield path
    finally:
        remove_tree(path, ignores_errors=True)
        os.close(lock)


def remove_leftovers() -> int:
    """Remove what killed predecessors of this user left behind; returns how many directories that were."""
    count = 0
    try:
        found = list(os.scandir(tempfile.gettempdir()))
    except OSError:
        return 0
    for entry in found:
        if not entry.name.startswith(_PREFIX):
            continue
        lock = _take(entry.path)
        if lock is not None:
            remove_tree(entry.path, ignores_errors=True)
            os.close(lock)
            count += 1
    return count


def _make() -> tuple[str, int]:
    while True:
        path = tempfile.mkdtemp(prefix=_PREFIX)
        lock = _take(path)
        # None: somebody who looked for leftovers came between, and removes it.
        if lock is not None:
            return path, lock


def _take(path: str) -> int | None:
    """Lock a directory of ours; None when somebody has it, or when it is not one, or not ours."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held, named = os.fstat(lock), os.lstat(path)
        is_ours = held.st_uid == os.geteuid() and os.path.samestat(held, named)
    except OSError:
        is_ours = False
    if is_ours:
        return lock
    os.close(lock)
    return None
