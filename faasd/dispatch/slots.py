"""How much may run now: global slots, concurrency per function and per queue, rates. Counts only."""

from __future__ import annotations

from collections import Counter, deque

from faasd.model.function import Function, Lane

__all__ = ["RateWindow", "Slots"]


class RateWindow:
    """A sliding window: at most `count` in any `seconds`."""

    def __init__(self, count: int, seconds: float) -> None:
        self._count = count
        self._seconds = seconds
        self._taken: deque[float] = deque()

    def free(self, now: float) -> int:
        """Return how many may be taken now."""
        while self._taken and self._taken[0] <= now - self._seconds:
            self._taken.popleft()
        return self._count - len(self._taken)

    def take(self, count: int, now: float) -> None:
        """Count some as taken now."""
        self._taken.extend([now] * count)

    def next_free_at(self) -> float | None:
        """Return when one more may be taken; None means now."""
        if len(self._taken) < self._count:
            return None
        return self._taken[0] + self._seconds


class Slots:
    """Counts running attempts. All times are monotonic seconds."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.reserved = 0  # Kept free for callers that wait for a direct invoke.
        self._by_function: Counter[str] = Counter()
        self._by_queue: Counter[str] = Counter()
        self._running = 0
        self._rates: dict[str, tuple[tuple[int, float], RateWindow]] = {}

    @property
    def running(self) -> int:
        """How many attempts run now."""
        return self._running

    def free_for(self, function: Function, lane: Lane | None) -> int:
        """Return how many more attempts of this function, from this lane, may start now."""
        free = self.total - self._running
        if lane is not None:
            free -= self.reserved
            if lane.concurrency is not None:
                free = min(free, lane.concurrency - self._by_queue[lane.queue])
        return max(0, min(free, self.free_for_function(function)))

    def most_of(self, function: Function, lane: Lane) -> int:
        """Return how many attempts of this function, from this lane, may run at once when nothing else does."""
        limits = (function.concurrency, lane.concurrency)
        return min([self.total, *(each for each in limits if each is not None)])

    def free_for_function(self, function: Function) -> int:
        """Return what the function's own concurrency leaves."""
        if function.concurrency is None:
            return self.total
        return max(0, function.concurrency - self._by_function[function.name])

    def rate_of(self, lane: Lane) -> RateWindow | None:
        """Return the lane's rate window, kept for as long as its setting stays the same."""
        if lane.rate is None:
            return None
        known = self._rates.get(lane.queue)
        if known is None or known[0] != lane.rate:
            known = self._rates[lane.queue] = (lane.rate, RateWindow(*lane.rate))
        return known[1]

    def take(self, function: str, queue: str) -> None:
        """Count one more running attempt."""
        self._running += 1
        self._by_function[function] += 1
        self._by_queue[queue] += 1

    def give(self, function: str, queue: str) -> None:
        """Count one running attempt less."""
        self._running -= 1
        self._by_function[function] -= 1
        self._by_queue[queue] -= 1
