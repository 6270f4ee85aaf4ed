"""Cron arithmetic against an oracle that walks every minute the way crontab(5) and cron's loop say."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faasd.model.trigger import ScheduleTrigger
from faasd.triggers.fire_times import fire_times_of

MONTHS = dict(
    zip(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        range(1, 13),
        strict=True,
    )
)
DAYS = dict(zip(["sun", "mon", "tue", "wed", "thu", "fri", "sat"], range(7), strict=True))
#: One of each kind: both hemispheres, half an hour, a gap at midnight, three hours, a day lost.
CHANGES = [
    ("Europe/Berlin", "2026-03-28T12:00", 36),
    ("Europe/Berlin", "2026-10-24T12:00", 36),
    ("America/New_York", "2026-03-07T12:00", 36),
    ("America/New_York", "2026-10-31T12:00", 36),
    ("Australia/Lord_Howe", "2026-04-04T00:00", 36),
    ("Australia/Lord_Howe", "2026-10-03T00:00", 36),
    ("America/Santiago", "2026-09-05T12:00", 36),
    ("America/Havana", "2026-03-07T12:00", 36),
    ("Africa/Casablanca", "2026-02-14T12:00", 36),
    ("Antarctica/Troll", "2026-03-28T12:00", 36),
    ("Antarctica/Casey", "2018-03-10T00:00", 36),
    ("Antarctica/Casey", "2016-10-21T06:00", 36),
    ("Pacific/Apia", "2011-12-29T00:00", 60),
    ("Asia/Kathmandu", "2026-03-28T12:00", 36),
]


@dataclass
class Oracle:
    """Five sets and three stars, tested against one minute at a time."""

    text: str

    def __post_init__(self) -> None:
        words = self.text.lower().split()
        self.minute, self.hour, self.day, self.month, self.weekday = (
            self.numbers(word, low, high, names)
            for word, (low, high, names) in zip(
                words,
                [(0, 59, {}), (0, 23, {}), (1, 31, {}), (1, 12, MONTHS), (0, 7, DAYS)],
                strict=True,
            )
        )
        self.weekday = {number % 7 for number in self.weekday}
        self.is_wildcard = words[0][0] == "*" or words[1][0] == "*"
        self.either_day = words[2][0] != "*" and words[4][0] != "*"

    @staticmethod
    def numbers(word: str, low: int, high: int, names: dict[str, int]) -> set[int]:
        found: set[int] = set()
        for term in word.split(","):
            span, _, step = term.partition("/")
            first, _, last = span.partition("-")
            if first == "*":
                first, last = str(low), str(high)
            begin = names[first] if first in names else int(first)
            end = begin if not last else names[last] if last in names else int(last)
            number = begin
            while number <= end:
                found.add(number)
                number += int(step or 1)
        return found

    def matches(self, local: datetime) -> bool:
        if local.minute not in self.minute or local.hour not in self.hour:
            return False
        if local.month not in self.month:
            return False
        day, weekday = local.day in self.day, local.isoweekday() % 7 in self.weekday
        return (day or weekday) if self.either_day else (day and weekday)

    def fire_times(self, zone: ZoneInfo, begin: datetime, hours: int) -> list[float]:
        """Walk real minutes beside a clock that cron calls virtual time, as its main loop does."""
        found: list[float] = []
        minute = timedelta(minutes=1)
        virtual = begin.astimezone(zone).replace(tzinfo=None)
        for index in range(1, hours * 60 + 1):
            real = begin + index * minute
            wall = real.astimezone(zone).replace(tzinfo=None)
            ahead = (wall - virtual) // minute
            wild = self.is_wildcard and self.matches(wall)
            if (
                ahead == 1 or ahead > 180 or ahead <= -180
            ):  # In step, or a change too large to mend.
                virtual = wall
                fires = self.matches(wall)
            elif ahead > 1:  # Forward: fixed times that the change has swallowed run now.
                swallowed = [virtual + step * minute for step in range(1, ahead + 1)]
                virtual = wall
                fires = wild or (not self.is_wildcard and any(map(self.matches, swallowed)))
            else:  # Backward: until virtual time is reached again, fixed times have had their turn.
                fires = wild
            if fires:
                found.append(real.timestamp())
        return found


def times_of(text: str, zone: str, begin: datetime, hours: int) -> list[float]:
    times = fire_times_of(ScheduleTrigger("s", "cron", expression=text, timezone=zone))
    found: list[float] = []
    at: float | None = begin.timestamp()
    until = (begin + timedelta(hours=hours)).timestamp()
    while (at := times.next_after(at)) is not None and at <= until:
        found.append(at)
    return found


def field(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    single = number.map(str)
    pair = st.tuples(number, number).map(sorted)
    span = pair.map(lambda two: f"{two[0]}-{two[1]}")
    stepped = st.tuples(pair, st.integers(1, high + 2)).map(lambda x: f"{x[0][0]}-{x[0][1]}/{x[1]}")
    same = st.tuples(number, st.integers(1, 9)).map(lambda x: f"{x[0]}-{x[0]}/{x[1]}")
    star = st.just("*")
    star_step = st.integers(1, high + 2).map(lambda step: f"*/{step}")
    terms = [single, single, span, stepped, same, star, star, star_step]
    if names:
        named = st.integers(0, len(names) - 1)
        terms.append(named.map(lambda index: names[index].upper()))
        terms.append(
            st.tuples(named, named).map(sorted).map(lambda two: f"{names[two[0]]}-{names[two[1]]}")
        )
    return st.lists(st.one_of(terms), min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(
    field(0, 59), field(0, 23), field(1, 28), field(1, 12, tuple(MONTHS)), field(0, 7, tuple(DAYS))
).map(" ".join)
#: Expressions that have something to say within two days, around the small hours.
NIGHTLY = st.tuples(
    field(0, 59), field(0, 5), st.just("*"), st.just("*"), st.one_of(st.just("*"), field(0, 7))
).map(" ".join)


@settings(max_examples=80, deadline=None)
@given(EXPRESSIONS, st.integers(0, 10 * 365))
def test_expressions_fire_as_crontab_5_says(text: str, day: int) -> None:
    """Nobody should have to learn a second dialect of cron."""
    begin = datetime(2020, 1, 1, 12, tzinfo=UTC) + timedelta(days=day)
    assert times_of(text, "UTC", begin, 24 * 8) == Oracle(text).fire_times(
        ZoneInfo("UTC"), begin, 24 * 8
    )


@pytest.mark.parametrize(("zone", "begin", "hours"), CHANGES)
@settings(max_examples=25, deadline=None)
@given(text=NIGHTLY)
def test_changes_of_the_clock_are_taken_as_crons_main_loop_takes_them(
    zone: str, begin: str, hours: int, text: str
) -> None:
    """A nightly job is neither lost in spring nor run twice in autumn; an interval job keeps real time."""
    start = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    assert times_of(text, zone, start, hours) == Oracle(text).fire_times(
        ZoneInfo(zone), start, hours
    )


@pytest.mark.parametrize(("zone", "begin", "hours"), CHANGES)
@settings(max_examples=25, deadline=None)
@given(text=NIGHTLY, cut=st.tuples(st.integers(0, 60 * 3600), st.integers(0, 60 * 3600)))
def test_counting_and_walking_back_agree_with_walking_forward(
    zone: str, begin: str, hours: int, text: str, cut: tuple[int, int]
) -> None:
    """What is summarised after a downtime is counted, not walked; both must know the same times."""
    start = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    forward = times_of(text, zone, start, hours)
    times = fire_times_of(ScheduleTrigger("s", "cron", expression=text, timezone=zone))
    low, high = (start.timestamp() + min(offset, hours * 3600) for offset in sorted(cut))
    expected = [at for at in forward if low < at <= high]
    assert times.count(low, high) == len(expected)
    assert times.newest(low, high, 10_000) == expected


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["every", "cron"]),
    st.integers(100, 10_000_000),
    st.integers(0, 5_000_000),
    st.integers(0, 10**9),
    st.integers(1, 10**7),
)
def test_jitter_and_bounds_neither_lose_nor_invent_fire_times(
    kind: str, interval_ms: int, jitter_ms: int, begin_ms: int, length_ms: int
) -> None:
    """Every fire time lies inside the bounds, and the three ways to ask agree."""
    # Divided once each: a sum of two fractions may lie a hair beside the millisecond that it means.
    start = (1_780_000_000_000 + begin_ms) / 1000
    end = (1_780_000_000_000 + begin_ms + length_ms) / 1000
    trigger = ScheduleTrigger(
        f"s{jitter_ms}",
        kind,
        expression="*/7 * * * * *",
        interval_s=interval_ms / 1000,
        jitter_s=jitter_ms / 1000,
        start=start,
        end=end,
    )
    times = fire_times_of(trigger)
    walked: list[float] = []
    at: float | None = start - 100_000
    while (at := times.next_after(at)) is not None and len(walked) < 300:
        walked.append(at)
    assert all(start <= at <= end for at in walked)
    assert all(earlier < later for earlier, later in pairwise(walked))
    if len(walked) < 300:
        assert times.newest(start - 1, end + 1, 1000) == walked
        assert times.count(start - 1, end + 1) == len(walked)
    for at in random.Random(begin_ms).sample(walked, min(len(walked), 20)):
        assert times.last_at_or_before(at) == at


def test_a_month_of_seconds_is_counted_without_being_walked() -> None:
    """After a month of downtime an every-second schedule must not stall the daemon."""
    times = fire_times_of(
        ScheduleTrigger("s", "cron", expression="* * * * * *", timezone="Europe/Berlin")
    )
    begin = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    assert times.count(begin, begin + 31 * 86400) == 31 * 86400
