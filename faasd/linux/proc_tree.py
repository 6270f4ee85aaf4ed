"""Process trees as /proc shows them: who descends from whom, ending all of them, what they weigh.

Everything here is for hosts without PID namespaces or without cgroups, where the kernel does not do it for us.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterable
from typing import NamedTuple

__all__ = [
    "Stat",
    "children",
    "cpu_s",
    "cpu_s_of_child",
    "descendants",
    "end_all",
    "environment_of",
    "has_children",
    "is_alive",
    "memory_bytes",
    "memory_bytes_of_trees",
    "own_cpu_s",
    "parents",
    "stat_of",
    "tasks_of",
]


def parents() -> dict[int, int]:
    """Return pid → parent's pid of every process that /proc shows, zombies left out."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = stat_of(int(name))
            if stat is not None and is_alive(stat):
                found[int(name)] = stat.parent
    return found


def _read(path: str) -> bytes:
    """Read what fits into one answer of the kernel's, without the cost of a file object."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


class Stat(NamedTuple):
    """What /proc/PID/stat says."""

    state: str
    parent: int
    threads: int


def is_alive(stat: Stat) -> bool:
    """Whether anything of the process still runs: a zombie may be a first thread that ended before the others."""
    return stat.state not in "ZX" or stat.threads > 1


def stat_of(pid: int) -> Stat | None:
    """Return the state of a process, or None when there is no such process."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(b")") + 2 :].split(None, 18)  # The name may hold spaces and brackets.
    return Stat(fields[0].decode(), int(fields[1]), int(fields[17]))


def descendants(roots: Iterable[int], keep: Iterable[int] = ()) -> set[int]:
    """Return every process below the roots, leaving out those in `keep` and all below them."""
    below: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        below.setdefault(parent, []).append(pid)
    kept = set(keep)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        for pid in below.get(waiting.pop(), ()):
            if pid not in kept and pid not in found:
                found.add(pid)
                waiting.append(pid)
    return found


def end_all(roots: Iterable[int], keep: Iterable[int] = ()) -> int:
    """Kill everything below the roots except `keep` and what is below that; returns how many died.

    Stops all of them before it kills any, again and again until a look finds nobody new: what is
    stopped cannot fork, so even a fork bomb comes to an end. The caller must be a subreaper or the
    roots' own parent, so that nobody escapes upwards between two looks, and reaps what reaches it.
    """
    roots, keep = list(roots), set(keep)
    _hurry()
    ended: set[int] = set()
    while True:
        found = descendants(roots, keep)
        if not found:
            return len(ended)
        for signal_number in (signal.SIGSTOP, signal.SIGKILL):
            stopped: set[int] = set()
            while not found <= stopped:
                for pid in found - stopped:
                    _kill(pid, signal_number)
                stopped |= found
                if signal_number == signal.SIGSTOP:
                    found = descendants(roots, keep)
        ended |= found
        _reap(keep)


def _hurry() -> None:
    # A bomb of many processes would otherwise leave us its own small share of the processor.
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        pass  # Only root may; others' bombs are bounded by RLIMIT_NPROC, which holds for them.


def _kill(pid: int, signal_number: int) -> None:
    try:
        os.kill(pid, signal_number)
    except (ProcessLookupError, PermissionError):
        pass  # Gone by itself; or a set-uid program, which the next look sees again.


def _reap(keep: set[int]) -> None:
    """Reap our own dead children, but not those whose status somebody waits for."""
    for pid in _zombie_children():
        if pid not in keep:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


def _zombie_children() -> list[int]:
    ours = os.getpid()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = stat_of(int(name))
            if stat is not None and stat.parent == ours and not is_alive(stat):
                found.append(int(name))
    return found


def memory_bytes_of_trees(roots: Collection[int]) -> dict[int, int]:
    """Return by root what it and everything below it weigh, with one look at who descends from whom."""
    parent_of = parents()
    trees = {pid: {pid} for pid in roots}
    for pid in parent_of:
        above = pid
        while above and above not in trees:
            above = parent_of.get(above, 0)
        if above:
            trees[above].add(pid)
    return {root: memory_bytes(tree) for root, tree in trees.items()}


def memory_bytes(pids: Iterable[int]) -> int:
    """Return the real memory of processes: proportional set size, so what they share counts once."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
                for line in file:
                    if line.startswith(b"Pss:"):
                        total += int(line.split()[1]) * 1024
                        break
        except OSError:
            continue  # It has ended, or runs a set-uid program that we may not look into.
    return total


def children(pid: int) -> list[int] | None:
    """Return the children of a process with one thread, without a look at all others; None where none are told."""
    try:
        return [int(child) for child in _read(f"/proc/{pid}/task/{pid}/children").split()]
    except OSError:  # A kernel without CONFIG_PROC_CHILDREN, or it has gone.
        return None


def has_children(pid: int) -> bool:
    """Whether any of its threads has a child. Raises OSError where none are told, or it has gone."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
            if file.read():
                return True
    return False


def cpu_s_of_child(pid: int, parent: int) -> float:
    """Return the processor time of a process, to the microsecond, and of those it waited for, to the tick.

    Raises OSError when it has gone, or is no child of `parent`.
    """
    own_s = own_cpu_s(pid)
    text = _read(f"/proc/{pid}/stat")
    fields = text[text.rindex(b")") + 2 :].split(None, 16)
    if int(fields[1]) != parent:
        raise ProcessLookupError(f"process {pid} is no child of {parent}")
    return own_s + sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")  # cutime, cstime


def own_cpu_s(pid: int) -> float:
    """Return the processor time of a process alone, to the microsecond. Raises OSError when it has gone."""
    return time.clock_gettime((~pid << 3) | 2)  # As the C library's clock_getcpuclockid has it.


def cpu_s(pids: Iterable[int]) -> float:
    """Return the processor time of processes, with that of their children that they waited for."""
    ticks = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                text = file.read()
        except OSError:
            continue
        fields = text[text.rindex(b")") + 2 :].split(None, 16)
        ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    return ticks / os.sysconf("SC_CLK_TCK")


def environment_of(pid: int) -> bytes:
    """Return the environment with which a process was started; empty when it cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""


def tasks_of(uid: int) -> int:
    """Return how many threads run under a real uid, as RLIMIT_NPROC counts them."""
    total = 0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid == uid:
                stat = stat_of(int(name))
                total += stat.threads if stat is not None else 0
        except OSError:
            continue
    return total
