"""When a schedule fires: pure, in UTC, jitter and bounds included.

A zone is walked in spans of constant offset, inside which local time is a straight line. A cron
expression is matched in each span, and the rules of Debian's cron for daylight saving are one
decision per span; so counting a month of seconds costs no more than counting its days.
Fire times are whole milliseconds inside, so that no rounding can lose or repeat one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

from faasd.errors import InvalidSetting
from faasd.model.trigger import ScheduleTrigger
from faasd.triggers.cron_expression import CronExpression, parse, zone_of

__all__ = ["INTERVAL_MIN_S", "FireTimes", "fire_times_of", "fires_at_start", "jitter_offset_s"]

INTERVAL_MIN_S = 0.1
#: Debian's cron sees daylight saving only in changes of the clock below these lengths.
_GAP_MAX_S = 3 * 3600 - 60
_FOLD_MAX_S = 3 * 3600
#: How far a fire time is looked for: leap days and fifth weekdays come back within 28 years.
_YEARS_MAX = 50
_PROBE_S = 6 * 3600  # No zone changes its offset twice within this.


class _Grid(Protocol):
    """Fire times in milliseconds, before jitter and bounds."""

    def next_after(self, at_ms: int, /) -> int | None: ...
    def last_at_or_before(self, at_ms: int, /) -> int | None: ...
    def count(self, after_ms: int, until_ms: int, /) -> int: ...


class FireTimes:
    """The fire times of one schedule. All arguments and results are UTC timestamps in seconds."""

    def __init__(
        self,
        grid: _Grid,
        jitter_s: float = 0.0,
        start: float | None = None,
        end: float | None = None,
    ) -> None:
        self._grid = grid
        self._offset_ms = round(jitter_s * 1000)
        # Exclusive and inclusive: the first fire time may be `start` itself, the last one `end`.
        self._after_ms = None if start is None else -_floor_ms(-start) - 1
        self._end_ms = None if end is None else _floor_ms(end)

    def next_after(self, at: float) -> float | None:
        """Return the first fire time later than `at`; None when it will not fire again."""
        at_ms = _floor_ms(at)
        if self._after_ms is not None:
            at_ms = max(at_ms, self._after_ms)
        found = self._grid.next_after(at_ms - self._offset_ms)
        if found is None or (self._end_ms is not None and found + self._offset_ms > self._end_ms):
            return None
        return (found + self._offset_ms) / 1000

    def last_at_or_before(self, at: float) -> float | None:
        """Return the last fire time not later than `at`; None when there was none."""
        found = self._last(_floor_ms(at))
        return None if found is None else found / 1000

    def newest(self, after: float, until: float, count_max: int) -> list[float]:
        """Return the newest fire times in (after, until], oldest first, at most `count_max`."""
        after_ms, until_ms = _floor_ms(after), _floor_ms(until)
        found: list[float] = []
        while len(found) < count_max:
            at_ms = self._last(until_ms)
            if at_ms is None or at_ms <= after_ms:
                break
            found.append(at_ms / 1000)
            until_ms = at_ms - 1
        return found[::-1]

    def count(self, after: float, until: float) -> int:
        """Return how many fire times lie in (after, until], without walking them."""
        after_ms, until_ms = _floor_ms(after), _floor_ms(until)
        if self._after_ms is not None:
            after_ms = max(after_ms, self._after_ms)
        if self._end_ms is not None:
            until_ms = min(until_ms, self._end_ms)
        if until_ms <= after_ms:
            return 0
        return self._grid.count(after_ms - self._offset_ms, until_ms - self._offset_ms)

    def _last(self, at_ms: int) -> int | None:
        if self._end_ms is not None:
            at_ms = min(at_ms, self._end_ms)
        found = self._grid.last_at_or_before(at_ms - self._offset_ms)
        if found is None:
            return None
        found += self._offset_ms
        return found if self._after_ms is None or found > self._after_ms else None


def fire_times_of(trigger: ScheduleTrigger) -> FireTimes:
    """Return a schedule's fire times. Raises InvalidSetting for a declaration that cannot fire."""
    jitter_s = jitter_offset_s(trigger.name, trigger.jitter_s)
    return FireTimes(_grid_of(trigger), jitter_s, trigger.start, trigger.end)


def fires_at_start(trigger: ScheduleTrigger) -> bool:
    """Whether it fires once at each start of the daemon, and never by the clock: `@reboot`."""
    return trigger.kind == "cron" and parse(trigger.expression or "").fires_at_start


def jitter_offset_s(name: str, jitter_s: float) -> float:
    """Return the schedule's place in [0, jitter_s): by its name alone, the same for ever."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48
    return int(share * jitter_s * 1000) / 1000


def _grid_of(trigger: ScheduleTrigger) -> _Grid:
    if trigger.kind == "at":
        if trigger.at is None:
            raise InvalidSetting(f"schedule {trigger.name!r}: expected a time in `at`")
        return _Once(_floor_ms(trigger.at))
    if trigger.kind == "every":
        interval_s = trigger.interval_s or 0.0
        if interval_s < INTERVAL_MIN_S:
            raise InvalidSetting(
                f"schedule {trigger.name!r}: expected an interval of at least 100ms, "
                f"not {interval_s:g}s"
            )
        return _Every(round(interval_s * 1000), _floor_ms(trigger.start or 0.0))
    expression = parse(trigger.expression or "")
    return _Nothing() if expression.fires_at_start else _Cron(expression, zone_of(trigger.timezone))


def _floor_ms(at: float) -> int:
    """Return whole milliseconds, rounded down; a timestamp that is whole milliseconds stays itself."""
    return round(at * 1_000_000) // 1000


class _Nothing:
    """No fire time by the clock."""

    def next_after(self, _at_ms: int) -> int | None:
        return None

    def last_at_or_before(self, _at_ms: int) -> int | None:
        return None

    def count(self, _after_ms: int, _until_ms: int) -> int:
        return 0


@dataclass(frozen=True)
class _Once:
    at_ms: int

    def next_after(self, at_ms: int) -> int | None:
        return self.at_ms if self.at_ms > at_ms else None

    def last_at_or_before(self, at_ms: int) -> int | None:
        return self.at_ms if self.at_ms <= at_ms else None

    def count(self, after_ms: int, until_ms: int) -> int:
        return int(after_ms < self.at_ms <= until_ms)


@dataclass(frozen=True)
class _Every:
    """A grid through `base_ms`, so that a restart changes nothing about when it fires."""

    interval_ms: int
    base_ms: int

    def next_after(self, at_ms: int) -> int | None:
        return self.base_ms + ((at_ms - self.base_ms) // self.interval_ms + 1) * self.interval_ms

    def last_at_or_before(self, at_ms: int) -> int | None:
        return self.base_ms + (at_ms - self.base_ms) // self.interval_ms * self.interval_ms

    def count(self, after_ms: int, until_ms: int) -> int:
        before = (after_ms - self.base_ms) // self.interval_ms
        return (until_ms - self.base_ms) // self.interval_ms - before


@dataclass(frozen=True)
class _Span:
    """[start, until) in UTC seconds, in which a zone has one offset."""

    start: int
    until: int
    offset_s: int
    offset_before_s: int


class _Cron:
    """A cron expression in a time zone, with daylight saving as Debian's cron has it.

    A job that follows real time fires whenever the wall clock matches. A job at a fixed time is not
    lost in a gap (it fires when the gap ends, once) and does not fire again in a fold.
    """

    def __init__(self, expression: CronExpression, zone: ZoneInfo) -> None:
        self._expression = expression
        self._zone = zone

    def next_after(self, at_ms: int) -> int | None:
        at_s = at_ms // 1000
        known_after, known = 0, 0  # No match lies between these two local times.
        for span in _spans_from(self._zone, at_s):
            catch_s = self._catch_s(span)
            if catch_s is not None and catch_s > at_s:
                return catch_s * 1000
            begin, until = self._local_range(span)
            after = max(at_s + span.offset_s, begin - 1)
            if not known_after <= after < known:
                found = self._expression.next_local(after)
                if found is None:
                    return None
                known_after, known = after, found
            if known < until:
                return (known - span.offset_s) * 1000
        return None

    def last_at_or_before(self, at_ms: int) -> int | None:
        at_s = at_ms // 1000
        known, known_before = 0, 0  # No match lies between these two local times.
        for span in _spans_back_from(self._zone, at_s):
            begin, until = self._local_range(span)
            before = min(at_s + span.offset_s + 1, until)
            if not known < before <= known_before:
                found = self._expression.previous_local(before)
                if found is None:
                    return None
                known, known_before = found, before
            if known >= begin:
                return (known - span.offset_s) * 1000
            catch_s = self._catch_s(span)
            if catch_s is not None and catch_s <= at_s:
                return catch_s * 1000
        return None

    def count(self, after_ms: int, until_ms: int) -> int:
        after_s, until_s = after_ms // 1000, until_ms // 1000
        count = 0
        for span in _spans_from(self._zone, after_s):
            if span.start > until_s:
                break
            begin, until = self._local_range(span)
            first = max(begin, after_s + 1 + span.offset_s)
            count += self._expression.count_local(first, min(until, until_s + 1 + span.offset_s))
            catch_s = self._catch_s(span)
            count += catch_s is not None and after_s < catch_s <= until_s
        return count

    def _local_range(self, span: _Span) -> tuple[int, int]:
        """Return the local times [begin, until) of a span at which the job may fire."""
        begin = span.start + span.offset_s
        fold_s = span.offset_before_s - span.offset_s
        if 0 < fold_s <= _FOLD_MAX_S and not self._expression.follows_real_time:
            begin += fold_s  # These local times have just been; a job at a fixed time has had them.
        return begin, span.until + span.offset_s

    def _catch_s(self, span: _Span) -> int | None:
        """Return the span's start when a fixed time fell into the gap before it."""
        gap_s = span.offset_s - span.offset_before_s
        if not 0 < gap_s <= _GAP_MAX_S or self._expression.follows_real_time:
            return None
        begin = span.start + span.offset_s
        found = self._expression.next_local(begin - gap_s - 1)
        if found is None or found >= begin:
            return None
        if self._expression.next_local(begin - 1) == begin:
            return None  # It fires at that instant anyway.
        return span.start


def _spans_from(zone: ZoneInfo, at_s: int) -> Iterator[_Span]:
    first_year = _year_of(at_s)
    for year in range(first_year, min(first_year + _YEARS_MAX, 9999)):
        for span in _spans_of_year(zone, year):
            if span.until > at_s:
                yield span


def _spans_back_from(zone: ZoneInfo, at_s: int) -> Iterator[_Span]:
    first_year = _year_of(at_s)
    for year in range(first_year, max(first_year - _YEARS_MAX, 1), -1):
        for span in reversed(_spans_of_year(zone, year)):
            if span.start <= at_s:
                yield span


@lru_cache(maxsize=2048)
def _spans_of_year(zone: ZoneInfo, year: int) -> tuple[_Span, ...]:
    """Cut a UTC year where the zone's offset changes."""
    start, until = _start_of_year(year), _start_of_year(year + 1)
    spans: list[_Span] = []
    offset_s = _offset_s(zone, start)
    offset_before_s = _offset_s(zone, start - 1)
    for probe in range(start, until, _PROBE_S):
        end = min(probe + _PROBE_S, until) - 1
        offset_after_s = _offset_s(zone, end)
        if offset_after_s == offset_s:
            continue
        change = _first_with_offset(zone, probe, end, offset_after_s)
        spans.append(_Span(start, change, offset_s, offset_before_s))
        start, offset_before_s, offset_s = change, offset_s, offset_after_s
    spans.append(_Span(start, until, offset_s, offset_before_s))
    return tuple(spans)


def _first_with_offset(zone: ZoneInfo, low: int, high: int, offset_s: int) -> int:
    while low < high:
        middle = (low + high) // 2
        if _offset_s(zone, middle) == offset_s:
            high = middle
        else:
            low = middle + 1
    return low


def _offset_s(zone: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, UTC).astimezone(zone).utcoffset()
    assert offset is not None  # A ZoneInfo always knows.
    return offset.days * 86400 + offset.seconds


def _start_of_year(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp())


def _year_of(at_s: int) -> int:
    return datetime.fromtimestamp(at_s, UTC).year
