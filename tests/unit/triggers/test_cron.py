"""Schedules in force: cursors, restarts, failures, pauses, reloads and clocks that jump."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from faasd.clock import Clock, FakeClock, from_iso, to_iso
from faasd.errors import NotFound, StoreFull, UnknownFunction
from faasd.interfaces import Schedules
from faasd.model.function import Function
from faasd.model.trigger import ScheduleTrigger
from faasd.triggers.cron import CronTriggers
from tests.fakes.schedules import MemoryCursors, RecordingAccept

MIDNIGHT = from_iso("2026-11-02T00:00:00Z")
HOUR = 3600.0


def hourly(name: str = "hourly", **settings: Any) -> ScheduleTrigger:
    return ScheduleTrigger(name, "cron", expression="0 * * * *", **settings)


def functions(*triggers: ScheduleTrigger) -> list[Function]:
    return [Function("report", schedules=triggers)]


class World:
    """One store, one clock; daemons come and go."""

    def __init__(self) -> None:
        self.clock = FakeClock(MIDNIGHT + 1)
        self.accept = RecordingAccept()
        self.cursors = MemoryCursors(self.accept)

    @asynccontextmanager
    async def daemon(self, *triggers: ScheduleTrigger) -> AsyncIterator[CronTriggers]:
        schedules = CronTriggers(self.accept, self.cursors, self.clock)
        await schedules.start(functions(*triggers))
        await schedules.walk()
        try:
            yield schedules
        finally:
            await schedules.stop()

    async def advance(self, schedules: CronTriggers, *lengths_s: float) -> None:
        for length_s in lengths_s:
            self.clock.advance(length_s)
            await schedules.walk()

    def hours(self, events: Sequence[Any]) -> list[float]:
        return [(event.scheduled_for - MIDNIGHT) / HOUR for event in events]


@pytest.fixture
def world() -> World:
    return World()


async def test_a_tick_is_an_event_that_carries_its_fire_time(world: World) -> None:
    """A run that starts late needs its own date, and a key that no crash can double."""
    pattern = {"source": ["hourly"]}
    async with world.daemon(hourly(filter=(pattern,))) as schedules:
        await world.advance(schedules, HOUR)
    [event] = world.accept.runs
    fire_time = to_iso(MIDNIGHT + HOUR)
    assert event.body == {
        "trigger": "cron",
        "source": "hourly",
        "id": event.id,
        "time": fire_time,
        "scheduled_for": fire_time,
        "missed": 0,
    }
    assert (event.function, event.queue) == ("report", "report")
    assert (event.trigger, event.source) == ("cron", "hourly")
    assert event.origin_key == f"tick:hourly:{fire_time}"
    assert event.scheduled_for == MIDNIGHT + HOUR
    assert event.overlap == "skip"
    assert event.group_key is None
    assert event.filter == (pattern,)
    assert event.due_at is None


async def test_queued_ticks_share_a_group_that_keeps_their_order(world: World) -> None:
    """The store runs a group one at a time, in order."""
    async with world.daemon(hourly(overlap="queue")) as schedules:
        await world.advance(schedules, HOUR)
    assert [event.group_key for event in world.accept.runs] == ["schedule:hourly"]


async def test_the_first_start_catches_nothing_up(world: World) -> None:
    """Nobody asked for the hours before the schedule existed."""
    async with world.daemon(hourly()):
        pass
    assert world.accept.events == []
    assert world.cursors.saved["hourly"].seen_until == world.clock.now()


async def test_hours_of_downtime_are_caught_up_by_the_declaration(world: World) -> None:
    """A schedule that never fired before the restart is caught up as well."""
    async with world.daemon(hourly()):
        pass
    world.clock.advance(4.5 * HOUR)
    async with world.daemon(hourly()):
        pass
    [run] = world.accept.runs
    assert world.hours([run]) == [4]
    assert run.body["missed"] == 3
    assert run.due_at is not None
    assert run.due_at >= world.clock.now()
    assert world.hours(world.accept.records) == [1, 2, 3]
    assert {record.skip_reason for record in world.accept.records} == {"missed"}


async def test_all_caught_up_ticks_run_even_where_the_overlap_rule_would_leave_one(
    world: World,
) -> None:
    """`catch_up = "all"` says that every one of them is wanted."""
    trigger = hourly(catch_up="all", overlap="skip")
    async with world.daemon(trigger):
        pass
    world.clock.advance(3.5 * HOUR)
    async with world.daemon(trigger) as schedules:
        await world.advance(schedules, 0.5 * HOUR)
    assert world.hours(world.accept.runs) == [1, 2, 3, 4]
    assert [event.overlap for event in world.accept.runs] == ["queue", "queue", "queue", "skip"]


async def test_a_crash_between_accepting_and_remembering_repeats_nothing(world: World) -> None:
    """The cursor is saved after the tick, never before it."""
    async with world.daemon(hourly()) as schedules:
        world.cursors.error = StoreFull("no room")
        await world.advance(schedules, HOUR)
    assert world.hours(world.accept.runs) == [1]
    world.cursors.error = None
    world.clock.advance(5)
    async with world.daemon(hourly()):
        pass
    assert world.hours(world.accept.runs) == [1]
    assert world.accept.records == []


@pytest.mark.parametrize("catch_up", ["latest", "skip", "all"])
async def test_a_tick_that_ran_before_a_crash_is_in_no_summary_of_missed_ones(
    world: World, catch_up: str
) -> None:
    """Nor is one of a summary in another summary: each has a key of its own, which tells nothing apart."""
    trigger = hourly(catch_up=catch_up, catch_up_window_s=10 * HOUR)
    async with world.daemon(trigger) as schedules:
        world.cursors.error = StoreFull("no room")
        await world.advance(schedules, HOUR)
    for _ in range(2):  # Two starts, each of them cut off before a cursor is saved.
        world.clock.advance(40 * HOUR)
        async with world.daemon(trigger):
            pass
    assert world.accept.duplicates == []
    counts = Counter(world.hours(world.accept.runs))
    for record in world.accept.records:
        last = round((record.scheduled_for - MIDNIGHT) / HOUR)
        counts.update(range(last - record.body["missed"], last + 1))
    assert counts == dict.fromkeys(range(1, 82), 1)


async def test_what_was_accepted_while_the_clock_was_ahead_silences_nothing(world: World) -> None:
    """The keys of a future that was taken back count only up to now."""
    async with world.daemon(hourly()) as schedules:
        await world.advance(schedules, 5 * HOUR)
    world.clock.step(MIDNIGHT + 1.5 * HOUR - world.clock.now())
    async with world.daemon(hourly()) as schedules:
        await world.advance(schedules, 5 * HOUR)
    assert 6 in world.hours(world.accept.runs)


async def test_a_tick_that_cannot_be_accepted_is_kept_and_not_judged_by_its_wait(
    world: World,
) -> None:
    """A full disk at midnight must not cost the nightly job, even with `catch_up = "skip"`."""
    async with world.daemon(hourly(catch_up="skip")) as schedules:
        world.accept.error = StoreFull("no room on the disk")
        await world.advance(schedules, HOUR)
        assert world.accept.events == []
        assert "no room on the disk" in str(schedules.statuses()[0].note)
        assert world.cursors.saved["hourly"].seen_until < MIDNIGHT + HOUR
        await world.advance(schedules, *[40] * 20)
        world.accept.error = None
        await world.advance(schedules, 40)
        assert world.hours(world.accept.runs) == [1]
        assert schedules.statuses()[0].note is None
        await world.advance(schedules, HOUR - 21 * 40)
    assert world.hours(world.accept.runs) == [1, 2]
    assert world.accept.records == []


async def test_retries_of_a_refused_tick_become_rare(world: World) -> None:
    """A disk that stays full for an hour is not asked a thousand times."""
    async with world.daemon(hourly()) as schedules:
        world.accept.error = StoreFull("no room")
        await world.advance(schedules, HOUR, *[1] * 600)
        assert 15 < world.accept.calls < 40


async def test_one_refused_schedule_does_not_hold_up_the_others(world: World) -> None:
    """Ticks travel together, but their troubles do not."""
    good = [Function(f"good{n}", schedules=(hourly(f"s{n}"),)) for n in range(5)]
    bad = Function("bad", schedules=(hourly("s9"),))
    world.accept.error = UnknownFunction("no function 'bad'")
    world.accept.refused_functions = {"bad"}
    schedules = CronTriggers(world.accept, world.cursors, world.clock)
    await schedules.start([bad, *good])
    await world.advance(schedules, HOUR)
    await schedules.stop()
    assert sorted(event.source for event in world.accept.runs) == ["s0", "s1", "s2", "s3", "s4"]
    assert {status.name for status in schedules.statuses() if status.note} == {"s9"}


async def test_a_changed_expression_starts_now_and_other_settings_keep_the_place(
    world: World,
) -> None:
    """A new rule has no past; a new catch-up rule has the old one's."""
    async with world.daemon(hourly(), hourly("kept")):
        pass
    world.clock.advance(4.5 * HOUR)
    changed = ScheduleTrigger("hourly", "cron", expression="*/10 * * * *")
    async with world.daemon(changed, hourly("kept", catch_up="all")) as schedules:
        assert {event.source for event in world.accept.events} == {"kept"}
        assert world.hours(world.accept.runs) == [1, 2, 3, 4]
        assert schedules.next_times("hourly", 1) == [MIDNIGHT + 4 * HOUR + 40 * 60]


async def test_a_pause_survives_a_restart_and_its_ticks_are_recorded_on_resume(
    world: World,
) -> None:
    """What a pause leaves out is left out on purpose, and still on the record."""
    async with world.daemon(hourly(catch_up="all")) as schedules:
        assert await schedules.pause("hourly") is True
        assert await schedules.pause("hourly") is False
        await world.advance(schedules, 2 * HOUR)
        assert schedules.statuses()[0].next_at is None
    world.clock.advance(HOUR)
    async with world.daemon(hourly(catch_up="all")) as schedules:
        assert schedules.statuses()[0].paused
        await world.advance(schedules, HOUR)
        assert world.accept.events == []
        assert await schedules.resume("hourly") is True
        assert await schedules.resume("hourly") is False
        assert world.hours(world.accept.records) == [1, 2, 3, 4]
        assert {record.skip_detail for record in world.accept.records} == {
            "the schedule was paused"
        }
        await world.advance(schedules, HOUR)
        assert world.hours(world.accept.runs) == [5]


async def test_a_long_pause_is_one_record_with_a_count(world: World) -> None:
    """A minute schedule that was paused for a week leaves one line."""
    trigger = ScheduleTrigger("m", "every", interval_s=60)
    async with world.daemon(trigger) as schedules:
        await schedules.pause("m")
        world.clock.advance(7 * 86400)
        await schedules.resume("m")
    [record] = world.accept.records
    assert record.skip_detail is not None
    assert record.skip_detail.startswith("10080 fire times from ")


async def test_a_resume_that_cannot_be_recorded_changes_nothing(world: World) -> None:
    """The caller hears of it and can ask again."""
    async with world.daemon(hourly()) as schedules:
        await schedules.pause("hourly")
        world.clock.advance(HOUR)
        world.accept.error = StoreFull("no room")
        with pytest.raises(StoreFull):
            await schedules.resume("hourly")
        assert schedules.statuses()[0].paused


async def test_run_now_is_an_extra_tick_that_leaves_the_schedule_alone(world: World) -> None:
    """Also while paused: a person asked for it."""
    async with world.daemon(hourly()) as schedules:
        await schedules.pause("hourly")
        acceptance = await schedules.run("hourly")
        await schedules.run("hourly")
        await schedules.resume("hourly")
        await world.advance(schedules, HOUR)
    first, second, tick = world.accept.runs
    assert first.id == acceptance.id
    assert first.overlap == "allow"
    assert first.origin_key is second.origin_key is None
    assert first.scheduled_for == MIDNIGHT + 1
    assert world.hours([tick]) == [1]


async def test_who_fires_before_a_time_is_known_without_asking_everybody(world: World) -> None:
    """Each function once, the next one first; paused ones do not fire."""
    often = replace(hourly("often"), expression="*/10 * * * *")
    daily = replace(hourly("daily"), expression="0 12 * * *")
    schedules = CronTriggers(world.accept, world.cursors, world.clock)
    declared = [
        Function("daily", schedules=(daily,)),
        Function("both", schedules=(hourly(), often)),
        Function("quiet", schedules=(hourly("held"),)),
    ]
    await schedules.start(declared)
    try:
        await schedules.pause("held")
        await schedules.walk()
        hours = {0.1: [], 0.2: ["both"], 1.1: ["both"], 13: ["both", "daily"]}
        for hour, names in hours.items():
            assert schedules.firing_before(MIDNIGHT + hour * HOUR) == names, hour
    finally:
        await schedules.stop()


async def test_an_unknown_schedule_is_answered_with_its_neighbour(world: World) -> None:
    """Every verb says the same."""
    async with world.daemon(hourly()) as schedules:
        with pytest.raises(NotFound, match='did you mean "hourly"'):
            schedules.next_times("houly", 1)
        for verb in (schedules.pause, schedules.resume, schedules.run):
            with pytest.raises(NotFound, match="no schedule 'zebra'"):
                await verb("zebra")


async def test_a_reload_misses_no_tick_and_repeats_none(world: World) -> None:
    """A reload lands in the very moment of a tick, moves it to another function and adds a schedule."""
    async with world.daemon(hourly(), hourly("gone")) as schedules:
        world.clock.advance(HOUR)
        await schedules.reload([Function("other", schedules=(hourly(), hourly("new")))])
        await world.advance(schedules, HOUR)
        assert [status.name for status in schedules.statuses()] == ["hourly", "new"]
    ticks = [(e.source, e.function, (e.scheduled_for - MIDNIGHT) / HOUR) for e in world.accept.runs]
    assert sorted(ticks) == [
        ("gone", "report", 1),
        ("hourly", "other", 2),
        ("hourly", "report", 1),
        ("new", "other", 2),
    ]


@pytest.mark.parametrize("expression", ["0 * * * *", "*/30 * * * *"], ids=["same", "changed"])
async def test_a_kept_tick_survives_a_reload_and_follows_its_schedule(
    world: World, expression: str
) -> None:
    """The old function may be gone; the tick was promised to the schedule."""
    async with world.daemon(hourly()) as schedules:
        world.accept.error = StoreFull("no room")
        await world.advance(schedules, HOUR)
        changed = replace(hourly(), expression=expression)
        await schedules.reload([Function("other", schedules=(changed,))])
        world.accept.error = None
        await world.advance(schedules, 60)
    assert [event.function for event in world.accept.runs] == ["other"]
    assert world.hours(world.accept.runs) == [1]


async def test_a_clock_set_forward_is_a_downtime(world: World) -> None:
    """The hours between never were; what the declaration wants of them runs."""
    async with world.daemon(hourly()) as schedules:
        world.clock.step(3 * HOUR)
        assert schedules.check_clock()
        await schedules.walk()
    assert world.hours(world.accept.runs) == [3]
    assert world.hours(world.accept.records) == [1, 2]


async def test_a_clock_set_back_repeats_no_tick_and_stalls_none(world: World) -> None:
    """Fire times that come again are known; those after them fire at their time."""
    async with world.daemon(hourly()) as schedules:
        await world.advance(schedules, HOUR, HOUR)
        world.clock.step(-1.5 * HOUR)
        assert schedules.check_clock()
        assert not schedules.check_clock()
        await world.advance(schedules, HOUR, HOUR, HOUR)
    assert world.hours(world.accept.runs) == [1, 2, 3]
    assert world.accept.records == []


async def test_a_clock_that_was_years_ahead_does_not_silence_a_schedule_for_years(
    world: World,
) -> None:
    """A wrong clock at one boot, put right later, also over a restart."""
    world.clock.step(4 * 365 * 86400)
    async with world.daemon(hourly()) as schedules:
        await world.advance(schedules, HOUR)
    world.accept.events.clear()
    world.clock.step(-4 * 365 * 86400)
    async with world.daemon(hourly()) as schedules:
        await world.advance(schedules, HOUR)
    assert world.hours(world.accept.runs) == [2]


async def test_drift_is_no_step(world: World) -> None:
    """NTP nudges clocks all the time."""
    async with world.daemon(hourly()) as schedules:
        for _ in range(20):
            world.clock.step(-0.3)
            assert not schedules.check_clock()


async def test_reboot_fires_once_at_each_start_and_at_no_reload(world: World) -> None:
    """As its name says."""
    trigger = ScheduleTrigger("boot", "cron", expression="@reboot")
    async with world.daemon(trigger) as schedules:
        await schedules.reload(functions(trigger))
        await world.advance(schedules, HOUR)
        assert len(world.accept.runs) == 1
        assert schedules.statuses()[0].note == "fires once at each start of the daemon"
        await schedules.pause("boot")
    async with world.daemon(trigger) as schedules:
        assert len(world.accept.runs) == 1
        await schedules.resume("boot")
    world.clock.advance(1)
    async with world.daemon(trigger):
        pass
    assert len(world.accept.runs) == 2


@pytest.mark.parametrize(
    ("at", "runs", "records"),
    [(-5, 1, 0), (-60, 0, 1), (60, 1, 0)],
    ids=["just now", "past", "ahead"],
)
async def test_an_at_schedule_runs_once_or_is_recorded_once(
    world: World, at: float, runs: int, records: int
) -> None:
    """Also when the daemon is started again and again."""
    trigger = ScheduleTrigger("once", "at", at=world.clock.now() + at)
    for _ in range(3):
        async with world.daemon(trigger) as schedules:
            await world.advance(schedules, 60)
            assert schedules.statuses()[0].next_at is None
    assert (len(world.accept.runs), len(world.accept.records)) == (runs, records)


async def test_statuses_show_where_each_schedule_stands(world: World) -> None:
    """What `faasd schedules list` prints."""
    interval = ScheduleTrigger("five", "every", interval_s=300, jitter_s=30)
    async with world.daemon(hourly(timezone="Asia/Kathmandu"), interval) as schedules:
        await world.advance(schedules, HOUR)
        five, hour = schedules.statuses()
    seam: Schedules = schedules
    assert (five.expression, five.kind, hour.expression) == ("5m", "every", "0 * * * *")
    assert hour.next_at == MIDNIGHT + 1.25 * HOUR  # Kathmandu is 5:45 ahead.
    assert hour.last_at == MIDNIGHT + 0.25 * HOUR
    assert five.next_at == seam.next_times("five", 2)[0]
    assert seam.next_times("five", 2, after=MIDNIGHT)[1] - MIDNIGHT > 300


async def test_ten_thousand_schedules_all_fire(world: World) -> None:
    """In chunks, so that the loop breathes and the store commits together."""
    triggers = [hourly(f"s{number}") for number in range(10_000)]
    async with world.daemon(*triggers) as schedules:
        await world.advance(schedules, HOUR)
    assert len({event.source for event in world.accept.runs}) == 10_000
    assert world.accept.calls < 500


async def test_the_real_scheduler_fires_a_short_interval_by_the_real_clock(world: World) -> None:
    """APScheduler, asyncio and the system's clock together, from start to stop."""
    schedules = CronTriggers(world.accept, world.cursors, Clock())
    triggers = [ScheduleTrigger("fast", "every", interval_s=0.2), hourly()]
    await schedules.start(functions(*triggers))
    try:
        await world.accept.wait_for_runs(5)
        await schedules.pause("fast")
        count = len(world.accept.runs)
        await schedules.resume("fast")
        await world.accept.wait_for_runs(count + 2)
    finally:
        await schedules.stop()
    fired = [event.scheduled_for for event in world.accept.runs if event.source == "fast"]
    assert len(set(fired)) == len(fired)
    assert fired == sorted(fired)
    assert world.cursors.saved["fast"].seen_until >= fired[-2]


async def test_a_schedule_added_by_a_reload_wakes_the_real_scheduler(world: World) -> None:
    """Nothing else is due for an hour, so the sleep has to be cut short."""
    schedules = CronTriggers(world.accept, world.cursors, Clock())
    await schedules.start(functions(hourly()))
    try:
        await schedules.reload(
            functions(hourly(), ScheduleTrigger("fast", "every", interval_s=0.1))
        )
        await world.accept.wait_for_runs(3)
    finally:
        await schedules.stop()


async def test_a_stopped_scheduler_leaves_nothing_running(
    world: World, open_descriptors: Callable[[], dict[str, str]]
) -> None:
    """No task, no descriptor."""
    before = open_descriptors()
    async with world.daemon(hourly()) as schedules:
        assert "anon_inode:[timerfd]" in open_descriptors().values()
    assert open_descriptors() == before
    await schedules.stop()


async def test_a_short_stall_loses_no_tick_of_a_short_interval(world: World) -> None:
    """Three ticks within three seconds are all on time, and handed over together."""
    async with world.daemon(ScheduleTrigger("s", "every", interval_s=1)) as schedules:
        await world.advance(schedules, 1)
        calls = world.accept.calls
        await world.advance(schedules, 3)
        assert world.accept.calls == calls + 1
    assert [event.scheduled_for - MIDNIGHT for event in world.accept.runs] == [2, 3, 4, 5]
    assert world.accept.records == []


async def test_a_defect_elsewhere_does_not_take_a_schedule_off_the_agenda(world: World) -> None:
    """An error that nobody foresaw must not end a schedule until the next restart."""
    async with world.daemon(hourly()) as schedules:
        world.accept.error = RuntimeError("a defect")
        world.clock.advance(HOUR)
        with pytest.raises(ExceptionGroup):
            await schedules.walk()
        world.accept.error = None
        await world.advance(schedules, 1)
        assert world.hours(world.accept.runs) == [1]
        await world.advance(schedules, HOUR - 1)
    assert world.hours(world.accept.runs) == [1, 2]


async def test_an_overdue_schedule_that_is_retried_does_not_spin(world: World) -> None:
    """While the store refuses, the daemon sleeps until the next try."""
    async with world.daemon(hourly()) as schedules:
        world.accept.error = StoreFull("no room")
        await world.advance(schedules, HOUR)
        calls = world.accept.calls
        for _ in range(50):
            await schedules.walk()
        assert world.accept.calls == calls
