"""Fire times of `every` and `at`, jitter, bounds, and declarations that cannot fire."""

from __future__ import annotations

import pytest

from faasd.clock import from_iso, to_iso
from faasd.errors import InvalidSetting
from faasd.model.trigger import ScheduleTrigger
from faasd.triggers.fire_times import FireTimes, fire_times_of, fires_at_start, jitter_offset_s

NOON = from_iso("2026-11-02T12:00:00Z")


def following(times: FireTimes, at: float, count: int) -> list[str | None]:
    found = []
    for _ in range(count):
        following_at = times.next_after(at)
        found.append(to_iso(following_at))
        if following_at is None:
            break
        at = following_at
    return found


def test_an_interval_keeps_its_grid_whenever_it_is_asked() -> None:
    """A restart must not move when an hourly job runs."""
    times = fire_times_of(ScheduleTrigger("s", "every", interval_s=900))
    assert following(times, NOON + 1, 2) == ["2026-11-02T12:15:00.000Z", "2026-11-02T12:30:00.000Z"]
    assert times.next_after(NOON + 899.999) == times.next_after(NOON + 0.001) == NOON + 900


def test_a_start_moves_the_grid_of_an_interval_and_is_its_first_fire_time() -> None:
    """`start` is the anchor that people expect."""
    times = fire_times_of(ScheduleTrigger("s", "every", interval_s=3600, start=NOON + 600))
    assert following(times, 0, 2) == ["2026-11-02T12:10:00.000Z", "2026-11-02T13:10:00.000Z"]


def test_start_and_end_are_part_of_the_schedule() -> None:
    """The first and the last instant count."""
    times = fire_times_of(
        ScheduleTrigger("s", "cron", expression="0 * * * *", start=NOON, end=NOON + 7200)
    )
    assert times.newest(0, NOON * 2, 10) == [NOON, NOON + 3600, NOON + 7200]
    assert times.next_after(NOON + 7200) is None
    assert times.last_at_or_before(NOON - 1) is None
    assert times.count(0, NOON * 2) == 3


def test_at_fires_once() -> None:
    """And never again."""
    times = fire_times_of(ScheduleTrigger("s", "at", at=NOON))
    assert following(times, 0, 3) == ["2026-11-02T12:00:00.000Z", None]
    assert times.count(NOON - 1, NOON) == 1
    assert times.count(NOON, NOON + 1) == 0


def test_intervals_below_a_second_are_exact_after_decades() -> None:
    """Fire times are keys in the store, so they may not wander by a rounding."""
    times = fire_times_of(ScheduleTrigger("s", "every", interval_s=0.2))
    at = NOON
    for step in range(1, 1000):
        following_at = times.next_after(at)
        assert following_at == (round(NOON * 1000) + 200 * step) / 1000
        at = following_at


def test_jitter_is_the_same_for_ever_and_spreads_names() -> None:
    """The same job keeps its slot; a hundred jobs do not share one."""
    assert jitter_offset_s("nightly", 600) == jitter_offset_s("nightly", 600)
    offsets = {jitter_offset_s(f"job-{index}", 600) for index in range(100)}
    assert len(offsets) == 100
    assert 0 <= min(offsets) < 60
    assert 540 < max(offsets) < 600
    plain = fire_times_of(ScheduleTrigger("nightly", "cron", expression="0 2 * * *"))
    moved = fire_times_of(ScheduleTrigger("nightly", "cron", expression="0 2 * * *", jitter_s=600))
    first = plain.next_after(NOON)
    assert first is not None
    assert moved.next_after(NOON) == first + jitter_offset_s("nightly", 600)


def test_reboot_never_fires_by_the_clock() -> None:
    """`@reboot` is fired by the start of the daemon."""
    trigger = ScheduleTrigger("s", "cron", expression="@reboot")
    times = fire_times_of(trigger)
    assert fires_at_start(trigger)
    assert times.next_after(0) is None
    assert times.last_at_or_before(NOON) is None
    assert times.count(0, NOON) == 0


@pytest.mark.parametrize(
    "trigger",
    [
        ScheduleTrigger("s", "every", interval_s=0.05),
        ScheduleTrigger("s", "every"),
        ScheduleTrigger("s", "at"),
        ScheduleTrigger("s", "cron", expression="nonsense"),
        ScheduleTrigger("s", "cron"),
        ScheduleTrigger("s", "cron", expression="* * * * *", timezone="Mars/Olympus"),
    ],
)
def test_a_declaration_that_cannot_fire_is_refused(trigger: ScheduleTrigger) -> None:
    """Better at the door than never at all."""
    with pytest.raises(InvalidSetting):
        fire_times_of(trigger)
