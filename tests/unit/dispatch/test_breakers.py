"""The breaker at work: the real dispatcher, invoker and store over sandboxes that end as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faasd.dispatch.direct import NESTING_MAX
from faasd.errors import Conflict
from faasd.model.invocation import NewEvent
from tests.unit.dispatch.rigging import Rig, rigged


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rigged(tmp_path) as made:
        yield made


async def test_a_crash_loop_stops_and_what_waits_is_kept(rig: Rig) -> None:
    """The queue of a broken function is not burnt down attempt by attempt."""
    await rig.enqueue("f", *range(50))
    await rig.until(lambda: rig.state() == "open")
    await rig.settled()
    assert 4 <= len(rig.sandboxes.ran) <= 6  # Those that ran beside the fourth death end as well.
    [counts] = [one for one in await rig.store.history.queue_counts() if one.queue == "f"]
    assert (counts.waiting + counts.delayed, counts.in_flight, counts.dead) == (50, 0, 0)


async def test_one_attempt_is_let_through_after_the_pause_and_closes_or_reopens_it(
    rig: Rig,
) -> None:
    """Half-open: one, not a burst, until it has ended."""
    await rig.enqueue("f", *range(50))
    await rig.until(lambda: rig.state() == "open")
    await rig.settled()
    before = len(rig.sandboxes.ran)
    await rig.pass_s(9.0)
    assert len(rig.sandboxes.ran) == before

    rig.sandboxes.gate.clear()
    rig.clock.advance(1.5)
    rig.dispatcher.wake()
    await rig.until(lambda: rig.state() == "half-open")
    rig.dispatcher.wake()
    await asyncio.sleep(0.02)
    assert len(rig.sandboxes.ran) == before + 1
    rig.sandboxes.gate.set()
    await rig.settled()
    assert (rig.state(), len(rig.sandboxes.ran)) == ("open", before + 1)
    await rig.pass_s(15.0)
    assert len(rig.sandboxes.ran) == before + 1  # The second pause is longer.

    rig.sandboxes.word = lambda _events: "ok"
    await rig.pass_s(10.0)
    await rig.until(lambda: len(rig.sandboxes.ran) == before + 51)
    await rig.settled()
    assert rig.state() == "closed"


async def test_one_bad_event_does_not_hold_up_the_others_and_ends_in_quarantine(rig: Rig) -> None:
    """It dies whenever it runs; the breaker stays closed, and at last it is put aside."""
    rig.sandboxes.word = lambda events: "crashed" if '"bad"' in events[0] else "ok"
    await rig.enqueue("f", "bad")
    for number in range(8):
        await rig.settled()
        await rig.enqueue("f", number)
        await rig.pass_s(1.5)
    from faasd.interfaces import InvocationFilter

    found = await rig.store.history.invocations(InvocationFilter(limit=None))
    [dead] = [one for one in found if one.state == "dead"]
    assert dead.is_quarantined
    assert dead.spent.attempts == dead.spent.died == 5  # Of 50 that its policy allows.
    assert {one.state for one in found if one is not dead} == {"done"}
    assert rig.state() == "closed"


async def test_a_bad_event_in_a_batch_takes_the_others_with_it_once(rig: Rig) -> None:
    """Afterwards each runs alone, and only the one that kills goes on dying."""
    rig.sandboxes.word = lambda events: "oom" if any('"bad"' in e for e in events) else "ok"
    await rig.enqueue("in", 1, 2, "bad", 3)
    await rig.settled()
    for _ in range(10):
        await rig.pass_s(1.5)
    from faasd.interfaces import InvocationFilter

    found = await rig.store.history.invocations(InvocationFilter(limit=None))
    assert sorted(one.state for one in found) == ["dead", "done", "done", "done"]
    assert [one.spent.died for one in found if one.state == "done"] == [1, 1, 1]
    assert rig.state("b") == "closed"


async def test_a_direct_invoke_is_told_at_once_and_may_be_the_trial(rig: Rig) -> None:
    """Its caller has no promise that anything waits for, so waiting would only hide the reason."""

    async def invoke() -> str:
        return (await rig.invoker.invoke(NewEvent("f", "", "invoke", "test", 1)))[1].word

    for _ in range(4):
        assert await invoke() == "crashed"
    with pytest.raises(Conflict, match="4 attempts in a row died, the last as crashed"):
        await invoke()
    rig.clock.advance(10.5)
    rig.sandboxes.word = lambda _events: "ok"
    assert await invoke() == "ok"
    assert rig.state() == "closed"


async def test_resume_closes_it_by_hand(rig: Rig) -> None:
    """Whoever has mended the function need not wait for the pause to pass."""
    rig.sandboxes.word = lambda _events: "init-error"
    await rig.enqueue("f", *range(10))
    await rig.until(lambda: rig.state() == "open")
    await rig.settled()
    rig.sandboxes.word = lambda _events: "ok"
    assert await rig.invoker.resume("f")
    assert rig.state() == "closed"
    rig.clock.advance(5.0)
    rig.dispatcher.wake()
    await rig.until(lambda: len(rig.sandboxes.ran) >= 14)
    assert not await rig.invoker.resume("f")


async def test_another_function_goes_on_meanwhile(rig: Rig) -> None:
    """A breaker is one function's."""
    rig.sandboxes.word = lambda events: "ok" if "good" in events[0] else "crashed"
    await rig.enqueue("f", *range(20))
    await rig.until(lambda: rig.state() == "open")
    await rig.settled()
    await rig.enqueue("in", "good")
    await rig.settled()
    assert any("good" in events[0] for events in rig.sandboxes.ran)


async def test_invokes_from_inside_sandboxes_are_bounded_as_a_whole(rig: Rig) -> None:
    """They need no slot of their own, so a function that invokes itself could fill the host with attempts."""
    rig.sandboxes.word = lambda _events: "ok"
    rig.sandboxes.gate.clear()

    async def invoke() -> str:
        return (await rig.invoker.invoke(NewEvent("f", "", "function", "f", 1)))[1].word

    bound = NESTING_MAX * rig.slots.total
    tasks = [asyncio.create_task(invoke()) for _ in range(bound)]
    await rig.until(lambda: len(rig.sandboxes.ran) == bound)
    with pytest.raises(Conflict, match="without end"):
        await invoke()
    rig.sandboxes.gate.set()
    assert set(await asyncio.gather(*tasks)) == {"ok"}
    assert await invoke() == "ok"  # The control: with room again it runs.
