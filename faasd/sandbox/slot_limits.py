"""What a cgroup slot is made with, and what may be left in one that is used again."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["INHABITED_BYTES_MAX", "SlotLimits"]

#: What may be charged to a group in which nothing is but the first process of a renewed sandbox, which has up to 1.4 MiB.
INHABITED_BYTES_MAX = 3 * 2**20


class SlotLimits(NamedTuple):
    """What a group is made with; two with the same may stand in for each other."""

    memory_bytes: int
    processes: int | None = None
    cpu: float | None = None
    counts_cpu: bool = False  # So that it knows its `cpu_s`, where this host can.
