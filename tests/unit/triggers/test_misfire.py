"""Misfire rules by example: the table that docs/triggers/schedules.md explains."""

from __future__ import annotations

from typing import Any

import pytest

from faasd.clock import from_iso
from faasd.model.trigger import ScheduleTrigger
from faasd.triggers.fire_times import fire_times_of
from faasd.triggers.misfire import Missed, Run, decide, record_unseen

MIDNIGHT = from_iso("2026-11-02T00:00:00Z")


def hourly(**settings: Any) -> ScheduleTrigger:
    return ScheduleTrigger("hourly", "cron", expression="0 * * * *", **settings)


def outline(
    trigger: ScheduleTrigger, seen_h: float, now_h: float
) -> tuple[list[float], list[float]]:
    """Return the hours that run and the hours that are missed."""
    decisions = decide(
        trigger, fire_times_of(trigger), MIDNIGHT + seen_h * 3600, MIDNIGHT + now_h * 3600
    )
    runs = [(one.at - MIDNIGHT) / 3600 for one in decisions if isinstance(one, Run)]
    missed = [(one.last_at - MIDNIGHT) / 3600 for one in decisions if isinstance(one, Missed)]
    return runs, missed


LATE = 5 / 3600  # Five seconds, in hours: on time.
TABLE: list[tuple[str, dict[str, Any], float, float, list[float], list[float]]] = [
    ("on time", {}, 0, 1, [1], []),
    ("five seconds late is on time", {"catch_up": "skip"}, 0, 1 + LATE, [1], []),
    ("nothing was due", {}, 1, 1.9, [], []),
    ("latest: one of four", {}, 0, 4.5, [4], [1, 2, 3]),
    ("latest: the newest is on time", {}, 0, 4 + LATE, [4], [1, 2, 3]),
    ("all", {"catch_up": "all"}, 0, 4.5, [1, 2, 3, 4], []),
    ("skip", {"catch_up": "skip"}, 0, 4.5, [], [1, 2, 3, 4]),
    ("skip, but the newest is on time", {"catch_up": "skip"}, 0, 4 + LATE, [4], [1, 2, 3]),
    ("all in a window", {"catch_up": "all", "catch_up_window_s": 2 * 3600}, 0, 4.5, [3, 4], [1, 2]),
    ("latest, older than the window", {"catch_up_window_s": 600}, 0, 4.5, [], [1, 2, 3, 4]),
    ("a start deadline", {"start_deadline_s": 600}, 0, 4.1, [4], [1, 2, 3]),
    ("past the start deadline", {"start_deadline_s": 60}, 0, 4.1, [], [1, 2, 3, 4]),
    ("a start deadline of two seconds", {"start_deadline_s": 2}, 0, 1 + LATE, [], [1]),
    ("ended while down", {"end": MIDNIGHT + 3.5 * 3600}, 0, 4.5, [], [1, 2, 3]),
    ("ended just now", {"end": MIDNIGHT + 3600}, 0, 1 + LATE, [1], []),
]


@pytest.mark.parametrize(
    ("settings", "seen_h", "now_h", "runs", "missed"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_passed_hours_run_or_are_recorded_as_declared(
    settings: dict[str, Any], seen_h: float, now_h: float, runs: list[float], missed: list[float]
) -> None:
    """An hourly schedule, walked up to `seen_h`, is looked at again at `now_h`."""
    assert outline(hourly(**settings), seen_h, now_h) == (runs, missed)


def test_the_tick_that_runs_carries_how_many_were_left_out() -> None:
    """The handler decides what four lost hours mean; it has to know of them."""
    decisions = decide(hourly(), fire_times_of(hourly()), MIDNIGHT, MIDNIGHT + 4.5 * 3600)
    assert [one.missed for one in decisions if isinstance(one, Run)] == [3]


def test_catch_up_runs_of_different_schedules_are_spread_and_keep_their_place() -> None:
    """After a boot not everything may start in the same instant, and a second boot changes nothing."""
    now = MIDNIGHT + 4.5 * 3600

    def due_at(name: str) -> float:
        trigger = ScheduleTrigger(name, "cron", expression="0 * * * *")
        [run] = [
            one
            for one in decide(trigger, fire_times_of(trigger), MIDNIGHT, now)
            if isinstance(one, Run)
        ]
        assert run.due_at is not None
        return run.due_at

    places = {due_at(f"schedule-{index}") for index in range(50)}
    assert len(places) == 50
    assert max(places) - min(places) > 5
    assert due_at("schedule-7") == due_at("schedule-7")


def test_each_missed_record_says_why() -> None:
    """`faasd why` repeats these words."""
    trigger = hourly(catch_up="all", catch_up_window_s=7200.0, start_deadline_s=5000.0)
    decisions = decide(trigger, fire_times_of(trigger), MIDNIGHT, MIDNIGHT + 4.5 * 3600)
    assert [one.reason for one in decisions if isinstance(one, Missed)] == [
        "it was later than its start_deadline of 1h23m"
    ] * 3


def test_more_than_twenty_missed_ticks_are_one_record_with_their_count() -> None:
    """A year of downtime is one line in the history, not half a million."""
    trigger = ScheduleTrigger("m", "cron", expression="* * * * *", catch_up="skip")
    [record] = decide(trigger, fire_times_of(trigger), MIDNIGHT, MIDNIGHT + 365 * 86400 + 30)
    assert isinstance(record, Missed)
    assert record.count == 365 * 1440
    assert record.first_at == MIDNIGHT + 60


def test_an_at_schedule_first_seen_after_its_time_is_recorded_unless_it_was_just_now() -> None:
    """Somebody who deploys yesterday's date by mistake must find out."""
    trigger = ScheduleTrigger("once", "at", at=MIDNIGHT)
    times = fire_times_of(trigger)
    [record] = record_unseen(times, MIDNIGHT + 3600)
    assert record.reason == "its time had passed when the schedule was first seen"
    assert record_unseen(times, MIDNIGHT + 5) == []
    assert record_unseen(times, MIDNIGHT - 5) == []
