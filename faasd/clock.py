"""The only door through which time enters.

A timestamp is a float of seconds since the epoch, UTC, in names that end in `_at`. A length of
time ends in `_s`. Limits are kept by the monotonic clock, records and schedules by the wall clock.
"""

from __future__ import annotations

import functools
import math
import time
from datetime import datetime, timezone

__all__ = ["Clock", "FakeClock", "from_iso", "to_iso"]

#: 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z: what ISO 8601 with four digits can say.
_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.0


class Clock:
    """The system's clocks."""

    def now(self) -> float:
        """Wall clock: seconds since the epoch, UTC. May jump."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never jump; only differences mean anything. Stands still in suspend."""
        return time.monotonic()


class FakeClock(Clock):
    """A clock that moves only when told to. Part of the product: people test schedules with it."""

    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> float:
        """Return the wall time as set."""
        return self._now

    def monotonic(self) -> float:
        """Return the monotonic time, which `step` does not move."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._now += seconds
        self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """Move the wall clock alone, as somebody setting the time does."""
        self._now += seconds


def to_iso(at: float | None) -> str | None:
    """Format a timestamp as ISO 8601 in UTC with milliseconds and `Z`; None stays None.

    What lies outside the years 1 to 9999 is shown as the first or last moment of them: one record with
    such a time must not keep all others from being listed.
    """
    return None if at is None else _iso(at)


@functools.lru_cache(maxsize=16)  # Events that came together have one time.
def _iso(at: float) -> str:
    fraction, second = math.modf(min(max(at, _FIRST), _LAST))
    microseconds = round(fraction * 1_000_000)
    if microseconds < 0 or microseconds >= 1_000_000:
        carried, microseconds = divmod(microseconds, 1_000_000)
        second += carried
    return f"{_iso_second(int(second))}.{microseconds // 1000:03d}Z"


@functools.lru_cache(maxsize=64)  # Most have one second, and it is the formatting that costs.
def _iso_second(at: int) -> str:
    return datetime.fromtimestamp(at, timezone.utc).isoformat()[:19]


def from_iso(text: str) -> float:
    """Read ISO 8601 with an offset or `Z`. Raises ValueError for a time without a zone."""
    moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write for example {text}Z or {text}+02:00")
    return moment.timestamp()
