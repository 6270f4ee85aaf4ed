"""How many sandboxes to fork ahead of need: pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

__all__ = ["AUTO_MOST", "Demand", "is_memory_short", "spares_wanted"]

#: How many spares one function has at most when nobody says how many.
AUTO_MOST = 8
#: Over how long arrivals are averaged.
_MEMORY_S = 10.0
#: How long after its last arrival a function still counts as in use, at least and at most.
_USED_S = (30.0, 300.0)
#: A function that comes more seldom than this is not waited for.
_INTERVALS_KEPT = 4
_AVAILABLE_SHARE_MIN = 0.08
_STALL_PERCENT_MAX = 10.0


@dataclass(frozen=True)
class Demand:
    """How often a function has needed a sandbox that had to be forked."""

    rate_per_s: float = 0.0  # At `last_at`.
    last_at: float | None = None
    interval_s: float = 0.0  # Between the last arrivals, averaged.
    prepared_until: float = 0.0  # Somebody said that it is about to be used.

    def after_arrival(self, at: float) -> Demand:
        """Return it with one more arrival."""
        rate_per_s, interval_s = 1 / _MEMORY_S, self.interval_s
        if self.last_at is not None:
            passed_s = max(0.0, at - self.last_at)
            interval_s = (interval_s + passed_s) / 2 if interval_s else passed_s
            rate_per_s += self.rate_at(at)
        # Not by `replace`, which takes four times as long, and this is asked for every new sandbox.
        return Demand(rate_per_s, at, interval_s, self.prepared_until)

    def prepared(self, until: float) -> Demand:
        """Return it with one arrival to be expected before this time."""
        return replace(self, prepared_until=max(self.prepared_until, until))

    def rate_at(self, at: float) -> float:
        """Return the arrivals per second, which fade when none come."""
        if self.last_at is None:
            return 0.0
        return self.rate_per_s * math.exp(-max(0.0, at - self.last_at) / _MEMORY_S)

    def is_in_use(self, at: float) -> bool:
        """Whether it came a moment ago; a moment is longer for what comes seldom, within bounds."""
        if at < self.prepared_until:
            return True
        if self.last_at is None:
            return False
        least, most = _USED_S
        return at - self.last_at < min(most, max(least, _INTERVALS_KEPT * self.interval_s))


def spares_wanted(
    demand: Demand, at: float, refill_s: float, fixed: int | None, most: int, *, has_memory: bool
) -> int:
    """Return how many sandboxes should wait.

    `refill_s` is how long it takes until one that was taken is replaced: as many as arrive meanwhile are
    wanted, and two deviations more, because arrivals come in clusters. `fixed` is a number that somebody
    has set; `most` is what there is room for. With memory short nobody waits.
    """
    if not has_memory:
        return 0
    if fixed is not None:
        return min(fixed, most)
    if not demand.is_in_use(at):
        return 0
    meanwhile = demand.rate_at(at) * refill_s
    return max(1, min(math.ceil(meanwhile + 2 * math.sqrt(meanwhile)), AUTO_MOST, most))


def is_memory_short(meminfo: str, pressure: str | None) -> bool:
    """Whether the host is short of memory, from the texts of /proc/meminfo and /proc/pressure/memory."""
    sizes = {}
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        if name in ("MemTotal", "MemAvailable"):
            sizes[name] = int(rest.split()[0])
    total, available = sizes.get("MemTotal", 0), sizes.get("MemAvailable")
    if available is not None and available < total * _AVAILABLE_SHARE_MIN:
        return True
    return pressure is not None and _stalled_percent(pressure) > _STALL_PERCENT_MAX


def _stalled_percent(pressure: str) -> float:
    """Return for which part of the last ten seconds somebody waited for memory."""
    for line in pressure.splitlines():
        if line.startswith("some "):
            for field in line.split()[1:]:
                name, _, value = field.partition("=")
                if name == "avg10":
                    return float(value)
    return 0.0
