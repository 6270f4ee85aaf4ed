"""What an attempt may leave behind for the next one where its sandbox's first process goes on: removed, or found.

Of the processes themselves nothing is left here any more. What they have can be in the private directories, which
are emptied; and in the first process and its namespaces, which are compared with how they were. What differs
is not repaired: the sandbox ends.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from faasd.linux import rlimits, scheduling, system_v
from faasd.runtime.slots import clean_directory, is_light

__all__ = ["LeftBehind"]

#: As plain numbers: an enum's hash is a Python function, which costs page faults.
_SIGNALS = tuple(map(int, signal.valid_signals()))


class LeftBehind:
    """Made before the walls are up, which are in the way of names but not of what is open."""

    def __init__(self, policy: dict[str, Any]) -> None:
        slots = policy["file_walls"].slots
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        #: The private directories, with the names in each that are no attempt's.
        self._directories = [
            (os.open(path, flags), slots.kept_in(path))
            for path in slots.directories_of(policy["slot"])
        ]
        self._home = os.open(".", os.O_PATH | os.O_CLOEXEC)
        self._before: Any = None

    def remember(self) -> None:
        """Have everything as it is now count as new. Raises OSError where this host does not say how that is."""
        self._before = self._look()

    def close(self) -> None:
        """Close what is open, in a process that is to have nothing of it."""
        for fd, _ in self._directories:
            os.close(fd)
        os.close(self._home)

    def remove(self) -> bool:
        """Make everything as new; False when it cannot be, or would take long."""
        # Signals that were sent to us: we block all, so they wait, and SIGTERM would be the next attempt's.
        while signal.sigtimedwait(_SIGNALS, 0) is not None:
            pass
        try:
            if self._look() != self._before:
                return self._empty_directories() and self._look() == self._before
            for fd, _ in self._directories:
                os.utime(fd)  # Their times tell nothing but that.
        except OSError:
            return False
        return True

    def _look(self) -> Any:
        directories = [
            (os.fstat(fd).st_mode, os.listxattr(fd), _used(fd)) for fd, _ in self._directories
        ]
        return directories, scheduling.state(), system_v.objects(), rlimits.ours()

    def _empty_directories(self) -> bool:
        before = [one[2] for one in self._before[0]]
        for (fd, kept), used in zip(self._directories, before):
            if not is_light(_used(fd), used[0]):
                return False  # Its zygote has others to do that, and nobody who waits.
            try:
                os.fchmod(fd, 0o1777)  # It may be closed to us.
                os.fchdir(fd)
                clean_directory(".", kept, has_more=_used(fd)[0] != used[0])
            finally:
                os.fchdir(self._home)
        return True


def _used(fd: int) -> tuple[int, int]:
    found = os.fstatvfs(fd)
    return found.f_files - found.f_ffree, (found.f_blocks - found.f_bfree) * found.f_frsize
