"""The slots of a zygote: which are free, and how one is made as new after its attempt."""

from __future__ import annotations

import os
import stat
from collections import deque

from faasd.runtime.private_view import Slot

__all__ = ["Slots", "clean_directory", "is_light"]

#: More than this is not removed while the zygote waits: it would keep other attempts waiting too.
_LIGHT_INODES = 256
_LIGHT_BYTES = 32 * 2**20


class Slots:
    """Hands out slots by number. Nothing of an attempt may run any more when its slot is given back."""

    def __init__(self, slots: list[Slot], kept: dict[str, set[str]]) -> None:
        self._slots = slots
        self._kept = kept
        self._free = deque(range(len(slots)))
        self._inodes = [_used(slot.own)[0] for slot in slots]

    def directories(self) -> list[str]:
        """Return the private directories of all."""
        return [path for slot in self._slots for path in slot.directories]

    def directories_of(self, number: int) -> list[str]:
        """Return the private directories of one."""
        return self._slots[number].directories

    def kept_in(self, path: str) -> set[str]:
        """Return the names in a private directory that are no attempt's."""
        return self._kept[os.path.basename(path)]

    def take(self) -> int | None:
        """Return the number of a slot that is as new; None when there is none now."""
        return self._free.popleft() if self._free else None

    def is_light(self, number: int) -> bool:
        """Whether cleaning it takes no time worth mentioning."""
        return is_light(_used(self._slots[number].own), self._inodes[number])

    def clean(self, number: int) -> None:
        """Make it as new: empty, and with the modes and attributes that it had. Raises OSError."""
        slot = self._slots[number]
        for path in slot.directories:
            has_more = _used(slot.own)[0] != self._inodes[number]
            clean_directory(path, self.kept_in(path), has_more=has_more)

    def free(self, number: int) -> None:
        """Take back a slot that is clean."""
        self._free.append(number)


def is_light(used: tuple[int, int], inodes: int) -> bool:
    """Whether what is used, inodes and bytes, is removed in no time worth mentioning where so many inodes stay."""
    return used[0] - inodes <= _LIGHT_INODES and used[1] <= _LIGHT_BYTES


def clean_directory(path: str, kept: set[str], *, has_more: bool) -> None:
    """Make a private directory as new: with the mode and attributes that it had, and, if it has more in it, empty."""
    if stat.S_IMODE(os.lstat(path).st_mode) != 0o1777:
        os.chmod(path, 0o1777)  # First: what is closed to its owner keeps its attributes.
    for name in os.listxattr(path):
        os.removexattr(path, name)
    if has_more:
        _empty(path, kept)
    os.utime(path)  # An attempt may have set its times to what it wants to tell another one.


def _used(path: str) -> tuple[int, int]:
    """Return how many inodes and bytes of a file system are in use."""
    found = os.statvfs(path)
    return found.f_files - found.f_ffree, (found.f_blocks - found.f_bfree) * found.f_frsize


def _empty(path: str, kept: set[str]) -> None:
    """Remove everything in a directory, however deeply nested and whatever its modes.

    What is in a directory moves up before that is removed: so no path gets too long, and nothing recurses.
    """
    moved = 0
    while True:
        entries = [entry for entry in os.scandir(path) if entry.name not in kept]
        if not entries:
            return
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            for inner in os.scandir(entry.path):
                if not inner.is_dir(follow_symlinks=False):
                    os.unlink(inner.path)
                    continue
                os.chmod(inner.path, 0o700)  # A directory that is moved has its `..` written to.
                while os.path.lexists(os.path.join(path, str(moved))):
                    moved += 1
                os.rename(inner.path, os.path.join(path, str(moved)))
            os.rmdir(entry.path)
