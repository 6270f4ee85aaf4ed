"""Resource limits of the calling process and of what it forks."""

from __future__ import annotations

import resource

__all__ = ["cpu_s", "data_bytes", "lower", "set_soft"]


def lower(name: str, value: int) -> None:
    """Set a limit, soft and hard, for example `lower("NOFILE", 256)`; never above the present hard limit."""
    number = getattr(resource, f"RLIMIT_{name}")
    _, hard = resource.getrlimit(number)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(number, (value, value))


def set_soft(name: str, value: int) -> None:
    """Set the soft limit alone, so that a child can set its own; never above the hard limit."""
    number = getattr(resource, f"RLIMIT_{name}")
    _, hard = resource.getrlimit(number)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(number, (value, hard))


def cpu_s() -> float:
    """Return the processor time of this process so far, which RLIMIT_CPU is compared with."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def data_bytes() -> int:
    """Return what RLIMIT_DATA counts of us now: private writable mappings, touched or not."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0
