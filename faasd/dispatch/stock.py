"""What is claimed ahead of the slots that will run it, so that a slot which is free need not wait for a commit."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from faasd.model.attempt import Claim
from faasd.model.function import Function, Lane

__all__ = [
    "AHEAD_MAX",
    "AHEAD_S",
    "BURST_MAX",
    "HELD_S_MAX",
    "LONG_S",
    "Pace",
    "Stock",
    "count_ahead",
    "count_in_burst",
]

#: How much work is claimed ahead, by what attempts of the function took lately, and how many events at most.
AHEAD_S = 0.05
AHEAD_MAX = 500
#: What no slot has come for by then goes back: others than we think run longer than they did.
HELD_S_MAX = 1.0
#: So many attempts are watched before anything is claimed ahead. After a crash, the event that led to it is
#: among the first again, and those behind it are not yet claimed when it strikes once more.
_WATCHED = 32
_WEIGHT = 0.1
#: How much work one sandbox is given at once, and how many events at most.
BURST_S = 0.05
BURST_MAX = 32
BURST_BYTES_MAX = 16 * 1024
#: So little work is not worth sharing among sandboxes: to hand over each part costs more than it takes.
UNSHARED_S = 0.005
#: How fast the least time of an attempt is forgotten, when none comes near it any more.
_FORGETS = 1.05
#: Those behind one that takes so long wait for it: then so many must be quick again before there are bursts.
LONG_S = 0.25
_CALM = 100


@dataclass
class Pace:
    """How long attempts of one function have lately held their slots."""

    count: int = 0
    mean_s: float = 0.0
    calm: int = 0  # How many there were since one took long.
    least_s: float = math.inf  # About what one takes when nothing is in its way.

    def add(self, held_s: float, count: int = 1) -> None:
        """Take note of so many more, one after another in one slot."""
        is_long = held_s - (count - 1) * self.mean_s > LONG_S
        self.calm = 0 if is_long else self.calm + count
        weight = max(_WEIGHT, 1.0 / (self.count + 1))
        self.mean_s += weight * (held_s / count - self.mean_s)
        self.least_s = min(held_s / count, self.least_s * _FORGETS)
        self.count += count


def count_ahead(pace: Pace, slots: int) -> int:
    """Return how many events to hold beyond those that run, when so many can run at once. Pure."""
    if pace.count < _WATCHED:
        return 0
    return min(AHEAD_MAX, int(AHEAD_S * slots / max(pace.mean_s, 1e-6)))


def count_in_burst(pace: Pace, function: Function, held: int, slots: int) -> int:
    """Return how many of the events that are held one sandbox is to be given at once. Pure.

    Only where no attempt took long lately. All slots have their part of what is held; only where that is less than
    a moment's work, one has more.
    """
    has_watches = function.limits.cpu_time_s is not None or function.permissions.secrets
    if function.reuse <= 1 or function.handler is None or has_watches or pace.calm < _CALM:
        return 1
    part = max(held // slots, int(UNSHARED_S / max(pace.least_s, 1e-6)))
    return max(1, min(BURST_MAX, held, part, int(BURST_S / max(pace.mean_s, 1e-6))))


@dataclass
class _Shelf:
    lane: Lane
    claims: deque[Claim] = field(default_factory=deque)
    since: float = 0.0  # When it was last filled from empty, or last taken from.


class Stock:
    """Claims by queue, in the order in which they are to begin; times are monotonic seconds.

    Each is leased, and renewed like those that run. Nothing of it has reached a sandbox.
    """

    def __init__(self) -> None:
        self._shelves: dict[str, _Shelf] = {}
        self._paces: dict[str, Pace] = {}

    def pace_of(self, function: str) -> Pace:
        """Return the pace of a function, to be added to."""
        return self._paces.setdefault(function, Pace())

    def forget_pace(self, function: str) -> None:
        """Watch its attempts anew before anything is claimed ahead."""
        self._paces.pop(function, None)

    def put(self, lane: Lane, claims: Iterable[Claim], now: float) -> None:
        """Hold these behind what is held for the lane already."""
        shelf = self._shelves.get(lane.queue)
        if shelf is None:
            shelf = self._shelves[lane.queue] = _Shelf(lane, since=now)
        shelf.lane = lane
        shelf.claims.extend(claims)
        if not shelf.claims:
            del self._shelves[lane.queue]

    def take(self, queue: str, now: float, count: int = 1) -> list[Claim]:
        """Take the next ones, as many as are held, and as together are not large."""
        shelf = self._shelves.get(queue)
        if shelf is None:
            return []
        taken: list[Claim] = []
        size = 0
        while shelf.claims and len(taken) < count:
            size += len(shelf.claims[0].invocation.event_json)
            if taken and size > BURST_BYTES_MAX:
                break
            taken.append(shelf.claims.popleft())
        shelf.since = now
        if not shelf.claims:
            del self._shelves[queue]
        return taken

    def take_all(self, queue: str) -> list[Claim]:
        """Take all that is held for a queue."""
        shelf = self._shelves.pop(queue, None)
        return list(shelf.claims) if shelf is not None else []

    def drop(self, invocation_ids: Collection[str]) -> None:
        """Forget these: somebody else has ended them."""
        for queue, shelf in list(self._shelves.items()):
            kept = [one for one in shelf.claims if one.invocation.id not in invocation_ids]
            shelf.claims = deque(kept)
            if not kept:
                del self._shelves[queue]

    def lane(self, queue: str) -> Lane | None:
        """Return the lane for which something is held, None when nothing is."""
        shelf = self._shelves.get(queue)
        return shelf.lane if shelf is not None else None

    def count(self, queue: str) -> int:
        """Return how many are held for a queue."""
        shelf = self._shelves.get(queue)
        return len(shelf.claims) if shelf is not None else 0

    def stale_at(self, queue: str) -> float | None:
        """Return when what is held for a queue is to go back, unless something is taken before; None for nothing held."""
        shelf = self._shelves.get(queue)
        return shelf.since + HELD_S_MAX if shelf is not None else None

    def queues(self) -> list[str]:
        """Return the queues for which something is held."""
        return list(self._shelves)

    def claims(self) -> list[Claim]:
        """Return all that is held."""
        return [claim for shelf in self._shelves.values() for claim in shelf.claims]
