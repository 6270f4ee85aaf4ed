"""Misfire rules over random downtimes: every fire time runs once or is recorded, never both or neither."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faasd.clock import FakeClock
from faasd.errors import StoreFull
from faasd.model.function import Function
from faasd.model.trigger import ScheduleTrigger
from faasd.triggers.cron import CronTriggers
from faasd.triggers.fire_times import FireTimes, fire_times_of
from faasd.triggers.misfire import (
    CATCH_UP_MAX,
    ON_TIME_S,
    RECORDS_MAX,
    STAGGER_S,
    Missed,
    Run,
    decide,
    record_paused,
)
from tests.fakes.schedules import MemoryCursors, RecordingAccept

SPRING = datetime(2026, 3, 28, 12, tzinfo=UTC).timestamp()
AUTUMN = datetime(2026, 10, 24, 12, tzinfo=UTC).timestamp()

DECLARATIONS = st.builds(
    ScheduleTrigger,
    name=st.sampled_from(["a", "nightly", "report-7"]),
    kind=st.just("cron"),
    expression=st.sampled_from(
        [
            "* * * * *",
            "30 2 * * *",
            "*/7 * * * *",
            "0 */3 * * *",
            "*/20 * * * * *",
            "15,45 1-3 * * *",
        ]
    ),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    catch_up=st.sampled_from(["latest", "all", "skip"]),
    catch_up_window_s=st.sampled_from([60.0, 3600.0, 86400.0, 30 * 86400.0]),
    start_deadline_s=st.sampled_from([None, None, 5.0, 120.0, 7200.0]),
    jitter_s=st.sampled_from([0.0, 0.0, 90.0]),
    end=st.sampled_from([None, None, None, SPRING + 86400, AUTUMN + 86400]),
)


def covered(decisions: list[Run | Missed], times: FireTimes) -> Counter[float]:
    """Return how often each fire time is in a decision."""
    found: Counter[float] = Counter()
    for decision in decisions:
        if isinstance(decision, Run):
            found[decision.at] += 1
        elif decision.count == 1:
            assert decision.first_at == decision.last_at
            found[decision.first_at] += 1
        else:
            inside = times.newest(decision.first_at - 0.001, decision.last_at, 100_000)
            assert len(inside) == decision.count
            found.update(inside)
    return found


@settings(max_examples=150, deadline=None)
@given(
    DECLARATIONS,
    st.sampled_from([SPRING, AUTUMN]),
    st.floats(0, 40 * 3600),
    st.one_of(st.floats(0, 30), st.floats(0, 48 * 3600)),
)
def test_each_fire_time_is_in_exactly_one_decision(
    trigger: ScheduleTrigger, around: float, begin_s: float, down_s: float
) -> None:
    """Whatever the downtime, across changes of the clock, nothing vanishes and nothing runs twice."""
    times = fire_times_of(trigger)
    seen_until = around + begin_s
    now = seen_until + down_s
    decisions = decide(trigger, times, seen_until, now)
    assert covered(decisions, times) == Counter(times.newest(seen_until, now, 100_000))


@settings(max_examples=150, deadline=None)
@given(DECLARATIONS, st.floats(0, 86400), st.one_of(st.floats(0, 30), st.floats(0, 48 * 3600)))
def test_runs_obey_the_declaration(trigger: ScheduleTrigger, begin_s: float, down_s: float) -> None:
    """What runs is what the rules of the declaration leave, in order, with the rest counted."""
    times = fire_times_of(trigger)
    now = SPRING + begin_s + down_s
    decisions = decide(trigger, times, SPRING + begin_s, now)
    runs = [decision for decision in decisions if isinstance(decision, Run)]
    missed = [decision for decision in decisions if isinstance(decision, Missed)]
    left_out = sum(record.count for record in missed)

    assert [run.at for run in runs] == sorted(run.at for run in runs)
    assert sum(run.missed for run in runs) == (left_out if runs else 0)
    assert len(missed) <= RECORDS_MAX
    assert all(record.last_at < runs[0].at for record in missed if runs)
    for run in runs:
        late_s = now - run.at
        assert trigger.start_deadline_s is None or late_s <= trigger.start_deadline_s
        if run.is_catch_up:
            assert late_s > ON_TIME_S
            assert trigger.catch_up != "skip"
            assert late_s <= trigger.catch_up_window_s
            assert trigger.end is None or now <= trigger.end
            assert run.due_at is not None
            assert 0 <= run.due_at - now <= STAGGER_S
    if trigger.catch_up == "latest":
        assert sum(run.is_catch_up for run in runs) <= 1
        assert not (runs and runs[-1].is_catch_up and len(runs) > 1)


@settings(max_examples=100, deadline=None)
@given(DECLARATIONS, st.lists(st.floats(0.001, 20_000), min_size=1, max_size=12))
def test_walking_in_pieces_covers_the_same_fire_times(
    trigger: ScheduleTrigger, steps: list[float]
) -> None:
    """A restart between two looks neither repeats a fire time nor steps over one."""
    times = fire_times_of(trigger)
    now = SPRING
    found: Counter[float] = Counter()
    for step in steps:
        found.update(covered(decide(trigger, times, now, now + step), times))
        now += step
    assert found == Counter(times.newest(SPRING, now, 100_000))


@pytest.mark.parametrize("catch_up", ["latest", "all", "skip"])
def test_a_month_of_missed_seconds_is_decided_at_once_and_in_few_records(catch_up: str) -> None:
    """A machine that was off for a month must come back, not spend an hour on bookkeeping."""
    trigger = ScheduleTrigger(
        "s", "cron", expression="* * * * * *", timezone="Europe/Berlin", catch_up=catch_up
    )
    times = fire_times_of(trigger)
    month_s = 31 * 86400
    began_at = time.monotonic()
    decisions = decide(trigger, times, SPRING, SPRING + month_s + 0.5)
    paused = record_paused(times, SPRING, SPRING + month_s + 0.5)
    assert time.monotonic() - began_at < 2.0
    runs = [decision for decision in decisions if isinstance(decision, Run)]
    missed = [decision for decision in decisions if isinstance(decision, Missed)]
    assert len(runs) + sum(record.count for record in missed) == month_s
    assert len(runs) == (CATCH_UP_MAX if catch_up == "all" else ON_TIME_S)
    assert len(missed) <= 3
    assert [record.count for record in paused] == [month_s]


STORIES = st.lists(
    st.one_of(
        st.tuples(st.just("runs"), st.floats(0.01, 900)),
        st.tuples(st.just("is down"), st.floats(0.01, 4000)),
        st.tuples(st.just("has a full disk"), st.floats(0.01, 900)),
        st.tuples(st.just("loses its cursor"), st.floats(0.01, 900)),
        st.tuples(st.just("has its clock set back"), st.floats(2, 900)),
        st.tuples(st.just("has its clock set forward"), st.floats(0.01, 900)),
        st.tuples(st.just("is paused"), st.floats(0.01, 900)),
    ),
    min_size=1,
    max_size=8,
)


class Daemon:
    """A daemon whose life goes wrong in every way a story tells."""

    def __init__(self, trigger: ScheduleTrigger) -> None:
        self.functions = [Function("f", schedules=(trigger,))]
        self.name = trigger.name
        self.clock = FakeClock(SPRING + 0.5)
        self.earliest = self.clock.now()
        self.accept = RecordingAccept()
        self.cursors = MemoryCursors(self.accept)

    async def start(self) -> None:
        self.schedules = CronTriggers(self.accept, self.cursors, self.clock)
        await self.schedules.start(self.functions)
        await self.schedules.walk()

    async def pass_time(self, length_s: float) -> None:
        for _ in range(4):
            self.clock.advance(length_s / 4)
            await self.schedules.walk()
            self.schedules.check_clock()  # As it does every few seconds by itself.

    async def live(self, what: str, length_s: float) -> None:
        if what == "is down":
            await self.schedules.stop()
            self.clock.advance(length_s)
            await self.start()
        elif what == "has a full disk":
            self.accept.error = StoreFull("no room")
            await self.pass_time(length_s)
            self.accept.error = None
            await self.pass_time(60)
        elif what == "loses its cursor":
            self.cursors.error = StoreFull("no room")
            await self.pass_time(length_s)
            await self.schedules.stop()
            self.cursors.error = None
            await self.start()
        elif what == "is paused":
            await self.schedules.pause(self.name)
            await self.pass_time(length_s)
            await self.schedules.resume(self.name)
        else:
            steps = {"has its clock set back": -length_s, "has its clock set forward": length_s}
            self.clock.step(steps.get(what, 0.0))
            self.earliest = min(self.earliest, self.clock.now())
            self.schedules.check_clock()
            await self.pass_time(length_s)

    async def tell(self, story: list[tuple[str, float]]) -> None:
        await self.start()
        for what, length_s in story:
            await self.live(what, length_s)
        await self.pass_time(60)
        await self.schedules.stop()


@settings(max_examples=150, deadline=None)
@given(
    STORIES,
    st.sampled_from(["latest", "all", "skip"]),
    st.sampled_from([None, 30.0]),
    st.sampled_from([0.0, 120.0]),
)
def test_no_story_loses_or_repeats_a_fire_time(
    story: list[tuple[str, float]], catch_up: str, deadline_s: float | None, jitter_s: float
) -> None:
    """Crashes, full disks, pauses and jumping clocks: each fire time has one run or one record.

    Minutes apart by five, so that no pause is long enough for a summary, which a repeat may overlap.
    """
    trigger = ScheduleTrigger(
        "s",
        "every",
        interval_s=300,
        catch_up=catch_up,
        start_deadline_s=deadline_s,
        jitter_s=jitter_s,
    )
    daemon = Daemon(trigger)
    asyncio.run(daemon.tell(story))
    found = Counter(event.scheduled_for for event in daemon.accept.events)
    latest = max([daemon.clock.now(), *(at for at in found if at is not None)])
    times = fire_times_of(trigger)
    assert found == Counter(times.newest(daemon.earliest, latest, 100_000))
