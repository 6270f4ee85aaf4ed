"""What one cgroup's processes use, attempt by attempt: for sandboxes that serve several.

The files stay open, because asking an open one costs a microsecond and opening it ten. Nothing here raises:
a group that is gone used nothing, and what this kernel does not tell is None.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

__all__ = ["Account"]

_NUMBER_BYTES = 512


class Account:
    """Reads a group's files; `files` names those that there are, by what they tell.

    `tasks`, `memory`, `peak` and `cpu` are one number each; `cpu_stat` is cgroup v2's table. Writing to
    `peak` begins it anew: with version 1 for everybody, with version 2, since Linux 6.12, for this reader.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = dict(files)
        self._fds: dict[str, int | None] = {}

    def tasks(self) -> int | None:
        """Return how many processes and threads are in the group."""
        return self._number("tasks")

    def memory_bytes(self) -> int | None:
        """Return what is charged now."""
        return self._number("memory")

    def peak_bytes(self) -> int | None:
        """Return the most that was charged since `begin`; where it cannot be begun anew, the most ever."""
        return self._number("peak")

    def cpu_s(self) -> float | None:
        """Return the processor time of all processes that were ever in the group."""
        nanoseconds = self._number("cpu")
        if nanoseconds is not None:
            return nanoseconds / 1e9
        text = self._read("cpu_stat")
        if text is not None and text.startswith(b"usage_usec "):
            return int(text.split(None, 2)[1]) / 1e6
        return None

    def begin(self) -> bool:
        """Begin a new attempt: its peak is counted from what is charged now; False where this kernel cannot do so."""
        fd = self._fd("peak")
        if fd is not None:
            with contextlib.suppress(OSError):
                os.pwrite(fd, b"0", 0)
                return True
        return False

    def close(self) -> None:
        """Close the files."""
        for fd in self._fds.values():
            if fd is not None:
                os.close(fd)
        self._fds.clear()

    def _number(self, name: str) -> int | None:
        text = self._read(name)
        try:
            return int(text) if text is not None else None
        except ValueError:
            return None

    def _read(self, name: str) -> bytes | None:
        fd = self._fd(name)
        if fd is None:
            return None
        try:
            return os.pread(fd, _NUMBER_BYTES, 0)
        except OSError:
            return None  # The group is gone.

    def _fd(self, name: str) -> int | None:
        if name not in self._fds:
            self._fds[name] = self._open(name)
        return self._fds[name]

    def _open(self, name: str) -> int | None:
        path = self._files.get(name)
        if path is None:
            return None
        for flags in (os.O_RDWR, os.O_RDONLY):  # Only some of them can be written to.
            with contextlib.suppress(OSError):
                return os.open(path, flags | os.O_CLOEXEC)
        return None
