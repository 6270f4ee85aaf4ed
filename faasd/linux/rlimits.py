"""Resource limits of the calling process and of what it forks."""

from __future__ import annotations

import resource

__all__ = [
    "cpu_s",
    "cpu_s_of_all",
    "data_bytes",
    "lower",
    "open_files_within",
    "ours",
    "raise_soft",
    "set_soft",
]

#: Descriptors that are on their way through sockets count for the user, whatever process or namespace he is in, and
#: nobody may send more while they are over the sender's own limit of open files. One message takes 253 past it.
_ON_THEIR_WAY_ROOM = 512
_ROOM_SINCE = 2048
_NUMBERS: dict[str, int] = {
    name[len("RLIMIT_") :]: number
    for name, number in vars(resource).items()
    if name.startswith("RLIMIT_")
}

_ALL = sorted(set(_NUMBERS.values()))


def lower(name: str, value: int) -> None:
    """Set a limit, soft and hard, for example `lower("NOFILE", 256)`; never above the present hard limit."""
    number = _NUMBERS[name]
    _, hard = resource.getrlimit(number)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(number, (value, value))


def set_soft(name: str, value: int) -> None:
    """Set the soft limit alone, so that a child can set its own; never above the hard limit."""
    number = _NUMBERS[name]
    _, hard = resource.getrlimit(number)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(number, (value, hard))


def raise_soft(name: str, value: int) -> None:
    """Raise the soft limit to this value, as far as the hard one allows; never lower it."""
    soft, _ = resource.getrlimit(_NUMBERS[name])
    if soft != resource.RLIM_INFINITY and soft < value:
        set_soft(name, value)


def open_files_within() -> int:
    """Return the limit of open files for what we contain, lower than ours: it could else keep us from sending descriptors.

    Where our own limit is low there is no room for that, and it is ours.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - _ON_THEIR_WAY_ROOM if soft >= _ROOM_SINCE else soft


def cpu_s() -> float:
    """Return the processor time of this process so far, which RLIMIT_CPU is compared with."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_s_of_all() -> float:
    """Return the processor time of this process, and of all below it that was waited for."""
    ours = resource.getrusage(resource.RUSAGE_SELF)
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ours.ru_utime + ours.ru_stime + others.ru_utime + others.ru_stime


def ours() -> list[tuple[int, int]]:
    """Return all limits of this process, soft and hard."""
    return [resource.getrlimit(number) for number in _ALL]


def data_bytes() -> int:
    """Return what RLIMIT_DATA counts of us now: private writable mappings, touched or not."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0
