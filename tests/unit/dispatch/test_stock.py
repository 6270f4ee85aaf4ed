"""What is claimed ahead of the slots: how much, and that it goes back when no slot comes for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faasd.dispatch.recovery import LeaseRenewal
from faasd.dispatch.running import Ended
from faasd.dispatch.stock import (
    AHEAD_MAX,
    BURST_MAX,
    HELD_S_MAX,
    LONG_S,
    Pace,
    count_ahead,
    count_in_burst,
)
from faasd.interfaces import InvocationFilter, QueueCounts
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions
from tests.patience import patient
from tests.unit.dispatch.rigging import REUSED, Rig, rigged


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rigged(tmp_path) as made:
        made.sandboxes.word = lambda _events: "ok"
        yield made


async def counts_of(rig: Rig, queue: str = "f") -> QueueCounts:
    [counts] = [one for one in await rig.store.history.queue_counts() if one.queue == queue]
    return counts


async def hold_some(rig: Rig, bodies: int = 60) -> None:
    """Have the function known as fast, then let two attempts hold the slots and the rest wait."""
    await rig.enqueue("f", *range(100))
    await rig.until(lambda: len(rig.sandboxes.ran) == 100)
    await rig.settled()
    rig.sandboxes.gate.clear()
    rig.sandboxes.ran.clear()
    await rig.enqueue("f", *range(bodies))
    await rig.until(lambda: rig.running.stock.count("f") == bodies - 2)


@pytest.mark.parametrize(
    ("count", "mean_s", "slots", "ahead"),
    [
        (3, 0.001, 8, 0),  # Too few to know.
        (100, 0.0005, 8, AHEAD_MAX),
        (100, 0.004, 2, 25),  # Fifty milliseconds of two slots.
        (100, 0.04, 8, 10),
        (100, 1.0, 8, 0),
        (100, 0.0, 8, AHEAD_MAX),
    ],
)
def test_no_more_is_claimed_ahead_than_a_moment_of_work(
    count: int, mean_s: float, slots: int, ahead: int
) -> None:
    """What is held goes by its place and not by priority, and is lost time if the daemon dies."""
    assert count_ahead(Pace(count, mean_s), slots) == ahead


def test_a_slow_attempt_counts_more_than_the_many_before_it() -> None:
    """The mean follows the last few, so that a function which turns slow is noticed soon."""
    pace = Pace()
    for _ in range(1000):
        pace.add(0.001)
    assert pace.mean_s == pytest.approx(0.001)
    pace.add(10.0)
    assert count_ahead(pace, 8) == 0


async def test_the_first_attempts_are_claimed_one_for_each_slot(rig: Rig) -> None:
    """Nothing is known of a function at the start: not how long it takes, nor whether it kills the daemon."""
    rig.sandboxes.gate.clear()
    await rig.enqueue("f", *range(50))
    await rig.until(lambda: len(rig.sandboxes.ran) == 2)
    assert (await counts_of(rig)).in_flight == 2
    rig.sandboxes.gate.set()


async def test_all_run_once_in_order_and_never_more_at_once_than_there_are_slots(rig: Rig) -> None:
    """Claiming ahead changes when an event is claimed, and nothing else."""
    await rig.enqueue("f", *range(500))
    await rig.until(lambda: len(rig.sandboxes.ran) == 500)
    await rig.settled()
    bodies = [json.loads(event) for [event] in rig.sandboxes.ran]
    assert bodies == list(range(500))
    assert rig.sandboxes.most_at_once == 2
    found = await rig.store.history.invocations(InvocationFilter(limit=None))
    assert {(one.state, one.attempts) for one in found} == {("done", 1)}


async def test_what_no_slot_comes_for_goes_back_uncounted(rig: Rig) -> None:
    """Two attempts take long that others did not: those behind them are not theirs to keep."""
    await hold_some(rig)
    rig.clock.advance(HELD_S_MAX)
    rig.dispatcher.wake()
    async with asyncio.timeout(patient(10)):
        while (await counts_of(rig)).waiting < 58:  # As soon as it is on disk.
            await asyncio.sleep(0.002)
    assert ((await counts_of(rig)).in_flight, rig.running.stock.claims()) == (2, [])
    waiting = await rig.store.history.invocations(InvocationFilter(states=("waiting",)))
    assert {(one.attempts, one.started_at) for one in waiting} == {(0, None)}
    rig.sandboxes.gate.set()
    await rig.until(lambda: len(rig.sandboxes.ran) == 60)
    await rig.settled()


async def test_a_pause_is_heeded_by_what_is_held(rig: Rig) -> None:
    """Whoever pauses a function sees no further attempt of it begin."""
    await hold_some(rig)
    assert await rig.invoker.pause("f")
    rig.sandboxes.gate.set()
    await rig.until(lambda: not rig.running.stock.claims())
    await rig.settled()
    assert (len(rig.sandboxes.ran), (await counts_of(rig)).waiting) == (2, 58)


async def test_what_is_cancelled_while_it_is_held_never_begins(rig: Rig) -> None:
    """It was told so to whoever cancelled it."""
    await hold_some(rig)
    claim = rig.running.stock.claims()[0]
    assert await rig.invoker.cancel([claim.invocation.id], "no need") == [claim.invocation.id]
    rig.sandboxes.gate.set()
    await rig.until(lambda: len(rig.sandboxes.ran) == 59)
    await rig.settled()
    assert [claim.invocation.event_json] not in rig.sandboxes.ran


async def test_what_is_held_goes_back_when_the_breaker_opens(rig: Rig) -> None:
    """An open breaker lets one attempt through, and not what was claimed before."""
    await hold_some(rig)
    rig.sandboxes.word = lambda _events: "init-error"
    rig.sandboxes.gate.set()
    await rig.until(lambda: rig.state() == "open")
    await rig.settled()
    assert not rig.running.stock.claims()
    assert len(rig.sandboxes.ran) <= 6


async def test_leases_of_what_is_held_are_renewed(rig: Rig) -> None:
    """Else a machine that was suspended would find them abandoned, and run them beside each other."""
    await hold_some(rig)
    rig.clock.advance(3600.0)
    await LeaseRenewal(rig.dispatcher._spine, rig.running, rig.dispatcher).renew_once()
    assert (await counts_of(rig)).in_flight + (await counts_of(rig)).waiting == 60
    found = await rig.store.history.invocations(InvocationFilter(limit=None))
    assert {one.spent.lost for one in found} == {0}
    rig.sandboxes.gate.set()
    await rig.until(lambda: len(rig.sandboxes.ran) == 60)
    await rig.settled()


async def test_a_stop_gives_back_what_has_not_begun(tmp_path: Path) -> None:
    """So nothing of it counts as lost when the daemon comes back."""
    async with rigged(tmp_path) as rig:
        rig.sandboxes.word = lambda _events: "ok"
        await hold_some(rig)
        await rig.dispatcher.stop()
        assert ((await counts_of(rig)).in_flight, (await counts_of(rig)).waiting) == (2, 58)
        rig.sandboxes.gate.set()


CALM = Pace(1000, 0.0005, 1000)


@pytest.mark.parametrize(
    ("pace", "changes", "held", "slots", "count"),
    [
        (CALM, {}, 400, 8, BURST_MAX),
        (CALM, {}, 40, 8, 5),  # So that each slot has its part.
        (CALM, {}, 3, 8, 1),
        (Pace(1000, 0.01, 1000), {}, 200, 8, 5),  # Fifty milliseconds of work.
        (Pace(1000, 0.0005, 20), {}, 200, 8, 1),  # One took long a moment ago.
        (CALM, {"reuse": 1}, 200, 8, 1),
        (CALM, {"handler": None, "command": ("true",)}, 200, 8, 1),
        (CALM, {"permissions": Permissions(secrets=("key",))}, 200, 8, 1),
        (CALM, {"limits": Limits(cpu_time_s=1.0)}, 200, 8, 1),
    ],
)
def test_a_sandbox_is_given_several_only_when_all_are_short(
    pace: Pace, changes: dict[str, Any], held: int, slots: int, count: int
) -> None:
    """Whoever stands behind a slow one waits for it, so there must be none."""
    assert count_in_burst(pace, replace(REUSED, **changes), held, slots) == count


@pytest.mark.parametrize(
    ("least_s", "held", "count"),
    [
        (0.0005, 30, 10),  # Five milliseconds of work; an equal part would be three.
        (0.0005, 4, 4),
        (0.0001, 30, 30),
        (0.0001, 400, BURST_MAX),
        (0.004, 30, 3),  # Eight at once are done sooner.
        (0.004, 4, 1),
    ],
)
def test_so_little_work_is_not_shared_that_to_hand_it_over_takes_longer(
    least_s: float, held: int, count: int
) -> None:
    """Else a machine that is slow for a moment gets many small bursts, which make it slower."""
    assert count_in_burst(replace(CALM, least_s=least_s), REUSED, held, 8) == count


def test_what_is_not_shared_is_still_no_more_than_a_moment_by_what_attempts_take_now() -> None:
    """They may all have become slower since the fastest of them."""
    assert count_in_burst(Pace(1000, 0.01, 1000, 0.0001), REUSED, 400, 8) == 5


def test_the_least_time_of_an_attempt_is_forgotten_when_none_comes_near_it() -> None:
    """One that found nothing to do says little about those that come now."""
    pace = Pace()
    pace.add(0.0016, 16)
    pace.add(0.08, 16)
    assert pace.least_s == pytest.approx(0.0001, rel=0.1)
    for _ in range(100):
        pace.add(0.08, 16)
    assert pace.least_s == pytest.approx(0.005)


def test_one_long_attempt_among_many_is_noticed() -> None:
    """Their mean would hide it."""
    pace = Pace(1000, 0.001, 1000)
    pace.add(0.016, 16)
    assert pace.calm == 1016
    pace.add(0.016 + LONG_S, 16)
    assert pace.calm == 0


async def let_run(rig: Rig, count: int) -> None:
    await rig.enqueue("reused", *range(count))
    await rig.until(lambda: len(rig.sandboxes.ran) >= count)
    await rig.settled()


async def test_who_stumbles_over_one_end_is_told_of_the_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written already, and metrics, callers and triggers wait to hear of them."""
    heard: list[str] = []

    def hear(ended: Ended) -> None:
        heard.append(ended.attempt.claims[0].invocation.event_json)
        if len(heard) % 50 == 1:
            raise RuntimeError("a listener's mistake")

    monkeypatch.setattr(rig.running, "_on_ended", hear)
    await let_run(rig, 200)
    assert max(rig.sandboxes.bursts) > 1, "else they were told of one by one"
    assert len(heard) == 200


async def test_bursts_run_each_event_once_and_in_order(rig: Rig) -> None:
    """With one slot there is one order."""
    rig.slots.total = 1
    await let_run(rig, 600)
    bodies = [json.loads(event) for [event] in rig.sandboxes.ran]
    assert bodies == list(range(600))
    assert max(rig.sandboxes.bursts) == BURST_MAX
    found = await rig.store.history.invocations(InvocationFilter(limit=None))
    assert {(one.state, one.attempts) for one in found} == {("done", 1)}
    for one in found[::50]:
        assert len(await rig.store.history.attempts(one.id)) == 1


async def test_what_stands_behind_one_that_died_waits_again_uncounted(rig: Rig) -> None:
    """It has not begun, so nothing is counted against it."""
    await let_run(rig, 300)
    rig.sandboxes.ran.clear()
    rig.sandboxes.word = lambda events: "error" if events == ["77"] else "ok"
    await rig.enqueue("reused", *range(300))
    await rig.until(lambda: len(rig.sandboxes.ran) == 300)
    await rig.settled()
    assert len({event for [event] in rig.sandboxes.ran}) == 300
    found = await rig.store.history.invocations(InvocationFilter(limit=None))
    assert [one.state for one in found].count("waiting") == 1  # Until it is tried again.
    assert {one.attempts for one in found} == {1}


async def test_a_mistake_of_ours_in_a_burst_leaves_all_of_it_leased(rig: Rig) -> None:
    """Nothing is lost: the leases run out, or the next start returns them; the dispatcher goes on."""
    await let_run(rig, 300)

    def broken(_events: list[str]) -> str:
        rig.sandboxes.word = lambda _events: "ok"
        raise RuntimeError("on purpose")

    rig.sandboxes.word = broken
    rig.sandboxes.ran.clear()
    await rig.enqueue("reused", *range(100))
    await rig.until(lambda: len(rig.sandboxes.ran) > 50)
    await rig.settled()
    counts = await counts_of(rig, "reused")
    assert 1 <= counts.in_flight <= BURST_MAX
    assert (rig.slots.running, counts.waiting) == (0, 0)
