"""Watching the size of an attempt's private directory where that is on disk: for hosts without a mount namespace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import Callable

__all__ = ["SizeWatch", "is_larger"]

_INTERVAL_S = 0.25
#: A look takes at most this part of a thread's time.
_SHARE = 0.1
#: As many files as a file system in memory of the same size would hold.
_BYTES_PER_INODE = 16384
_INODES = (1024, 65536)
#: Directories open at once, which is one for each level that has others beside it. With more it counts as full:
#: who nests so deeply hides something.
_OPEN_MAX = 64


class SizeWatch:
    """Calls `on_over`, once, when the directory holds more than `bytes_max`, or more files than go with that."""

    def __init__(self, path: str, bytes_max: int, on_over: Callable[[], None]) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._on_over = on_over
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def stop(self) -> None:
        """Watch no longer."""
        self._task.cancel()
        self._on_over = _nothing  # It leads to who holds us.

    async def _watch(self) -> None:
        rest_s = _INTERVAL_S
        while True:
            await asyncio.sleep(rest_s)
            began = time.monotonic()
            if await asyncio.to_thread(is_larger, self._path, self._bytes_max):
                self._on_over()
                return
            rest_s = max(_INTERVAL_S, (time.monotonic() - began) / _SHARE)


def _nothing() -> None: ...


def is_larger(path: str, bytes_max: int) -> bool:
    """Whether a directory holds more; false for one that is gone. Follows no link, even one made meanwhile."""
    least, most = _INODES
    look = _Look(bytes_max, min(max(bytes_max // _BYTES_PER_INODE, least), most))
    try:
        return look.goes_over(path)
    finally:
        look.close()


class _Look:
    """One walk through a directory: ends as soon as the answer is known, and never goes by paths, which get too long."""

    def __init__(self, bytes_left: int, inodes_left: int) -> None:
        self._bytes_left = bytes_left
        self._inodes_left = inodes_left
        self._open: list[
            tuple[int, list[str]]
        ] = []  # Directories, and those in them to be looked at.

    def goes_over(self, path: str) -> bool:
        self._enter(path, None)
        while self._open and self._bytes_left >= 0 and self._inodes_left >= 0:
            if len(self._open) > _OPEN_MAX:
                return True
            directory, names = self._open[-1]
            if not names:
                os.close(self._open.pop()[0])
                continue
            name = names.pop()
            if not names:
                self._open.pop()  # The last one in it: it need not be held while we are below.
            self._enter(name, directory)
            if not names:
                os.close(directory)
        return self._bytes_left < 0 or self._inodes_left < 0

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop()[0])

    def _enter(self, name: str, above: int | None) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            directory = os.open(name, flags, dir_fd=above)
        except OSError:
            return  # Gone, or closed to us by its owner.
        inside: list[str] = []
        self._open.append((directory, inside))
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if self._count(entry):
                    inside.append(entry.name)
                if self._bytes_left < 0 or self._inodes_left < 0:
                    return

    def _count(self, entry: os.DirEntry[str]) -> bool:
        """Count one; returns whether it is a directory."""
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            return False  # Gone meanwhile.
        self._inodes_left -= 1
        self._bytes_left -= found.st_blocks * 512
        return stat.S_ISDIR(found.st_mode)
