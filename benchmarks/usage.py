"""Processor time and memory of a process and everything below it, from /proc.

Standard library only, for the peers' environment imports it as well.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = [
    "Window",
    "busy_share",
    "cpu_s",
    "descendants",
    "longest_silence_s",
    "memory_bytes",
    "scheduled_s",
    "voluntary_switches",
]

_LOOK_S = 0.02
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def descendants(roots: set[int]) -> set[int]:
    """Return these processes and all below them that live now."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields:
                parents[int(entry)] = int(fields[1])
    found = {pid for pid in roots if pid in parents}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        grown = bool(more)
        found |= more
    return found


def cpu_s(roots: set[int]) -> float:
    """Return the processor time so far of these processes, all below them, and all that those have reaped.

    To the clock's tick, a hundredth of a second, for each process.
    """
    found = [_stat(pid) for pid in descendants(roots)]
    return sum(sum(int(field) for field in fields[11:15]) for fields in found if fields) / (
        _TICKS_PER_S
    )


def scheduled_s(roots: set[int]) -> float:
    """Return the processor time of the threads that live now, as precisely as the scheduler knows it.

    For processes that do next to nothing: the clock's tick is coarser than all they use.
    """
    total = 0
    for pid in descendants(roots):
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            fields = _text(path).split()
            total += int(fields[0]) if fields else 0
    return total / 1e9


def memory_bytes(roots: set[int]) -> int:
    """Return the memory of these processes and all below them; a page that several share counts once."""
    return sum(_proportional_bytes(pid) for pid in descendants(roots))


def voluntary_switches(roots: set[int]) -> int:
    """Return how often the threads of these processes and all below them went to sleep by themselves."""
    total = 0
    for pid in descendants(roots):
        for path in Path(f"/proc/{pid}/task").glob("*/status"):
            for line in _text(path).splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    total += int(line.split()[1])
    return total


def longest_silence_s(roots: set[int], seconds: float) -> float:
    """Look on for so long; returns the longest time in which no thread woke up."""
    began = quiet_since = time.monotonic()
    switches, longest_s = voluntary_switches(roots), 0.0
    while (now := time.monotonic()) - began < seconds:
        seen = voluntary_switches(roots)
        if seen != switches:
            switches, quiet_since = seen, now
        longest_s = max(longest_s, now - quiet_since)
        time.sleep(_LOOK_S)
    return longest_s


def busy_share(seconds: float) -> float:
    """Return which part of all processors was busy over the next moment; 1.0 when none was ever idle."""
    before = _machine_ticks()
    time.sleep(seconds)
    after = _machine_ticks()
    total = sum(after) - sum(before)
    idle = sum(after[3:5]) - sum(before[3:5])  # Idle, and idle while a disk works.
    return 1.0 if total == 0 else 1.0 - idle / total


class Window:
    """Wall time, processor time and memory of process trees over a block."""

    def __init__(self, roots: set[int]) -> None:
        self._roots = roots
        self.seconds = 0.0
        self.cpu_s = 0.0
        self.memory_bytes = 0

    def __enter__(self) -> Self:
        self.cpu_s = -cpu_s(self._roots)
        self.seconds = -time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds += time.monotonic()
        self.cpu_s += cpu_s(self._roots)
        self.memory_bytes = memory_bytes(self._roots)


def _machine_ticks() -> list[int]:
    """Return user, nice, system, idle, iowait, irq, softirq and steal of the whole machine."""
    return [int(field) for field in _text(Path("/proc/stat")).split("\n")[0].split()[1:9]]


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name: state, parent, …; none when it has ended."""
    return _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()


def _proportional_bytes(pid: int) -> int:
    for line in _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _text(path: Path) -> str:
    """Return what a file below /proc says; nothing when its process has ended meanwhile."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
