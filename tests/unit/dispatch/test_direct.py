"""Direct invokes: who waits is answered first, and what nobody waits for is written behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from faasd.clock import Clock
from faasd.dispatch.breakers import Breakers
from faasd.dispatch.direct import DirectInvoker
from faasd.dispatch.dispatcher import Dispatcher
from faasd.dispatch.run_attempt import Spine
from faasd.dispatch.running import Running
from faasd.dispatch.services import SandboxServices
from faasd.dispatch.slots import Slots
from faasd.functions.registry import Registry
from faasd.intake import Intake
from faasd.interfaces import AttemptServices
from faasd.model.attempt import Attempt
from faasd.model.function import Destination, Function
from faasd.model.invocation import NewEvent
from faasd.model.outcome import Outcome
from faasd.store import invocation_store
from faasd.store.open import Store, open_store
from tests.patience import patient

ONE = Function("one", handler="m:f", concurrency=1)
SENDS_ON = Function("sends-on", handler="m:f", on_success=(Destination("function", "one"),))
OK = Outcome("ok", result_json="1")


@dataclass
class EarlySandboxes:
    """Answers at once, if it may, and is done when the gate is open."""

    answers_early: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(
        self, attempt: Attempt, services: AttemptServices, _stop: asyncio.Future[str]
    ) -> Outcome:
        if self.answers_early:
            services.answer(attempt, OK)
        await self.gate.wait()
        return OK


@dataclass
class Direct:
    invoker: DirectInvoker
    sandboxes: EarlySandboxes
    store: Store
    running: Running
    services: SandboxServices
    commits: list[int] = field(default_factory=list)  # How many works each had.

    async def invoke(self, name: str = "one") -> str:
        invocation_id, outcome = await self.invoker.invoke(NewEvent(name, "", "invoke", "test", 1))
        assert outcome is OK
        return invocation_id

    async def state(self, invocation_id: str) -> str:
        found = await self.store.history.invocation(invocation_id)
        assert found is not None
        return found.state


@pytest.fixture
async def direct(tmp_path: Path) -> AsyncIterator[Direct]:
    clock = Clock()
    store = await open_store(tmp_path / "state", clock)
    registry = Registry([ONE, SENDS_ON])
    slots, sandboxes = Slots(2), EarlySandboxes()
    made: list[Any] = []
    running = Running(slots, lambda _queue: made[0].slot_freed(), lambda _ended: None)
    intake = Intake(registry, store.invocations, clock, lambda _queues, _replaced: None)
    invoker = DirectInvoker(intake.prepare, slots, running, store.pauses, set(), {})
    made.append(invoker)
    services = SandboxServices(intake, invoker, store.logs, clock)
    spine = Spine(
        sandboxes=sandboxes,  # type: ignore[arg-type]
        services=services,
        store=store.invocations,
        logs=store.logs,
        catalog=registry,
        breakers=Breakers(clock, lambda: 0.0, lambda: None),
        clock=clock,
        noise=lambda: 0.0,
    )
    invoker.attach(spine, services, Dispatcher(spine, slots, running, set(), {}))
    rig = Direct(invoker, sandboxes, store, running, services)
    store.hear_commits(lambda _took_s, works, _failed: rig.commits.append(works))
    yield rig
    sandboxes.gate.set()
    await running.wait_until_none(5.0)
    await store.close()


async def test_an_answer_does_not_wait_for_the_end_of_its_sandbox(direct: Direct) -> None:
    """The slot stays taken until that is gone, and the record follows."""
    direct.sandboxes.answers_early = True
    invocation_id = await direct.invoke()
    assert await direct.state(invocation_id) == "running"
    assert len(direct.running.attempts()) == 1
    direct.sandboxes.gate.set()
    await direct.invoker.written()
    assert await direct.state(invocation_id) == "done"


async def test_what_is_answered_is_committed_with_the_next_begin(
    direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller who invokes one thing after another waits for one commit each time; nor does he wait for its slot."""
    monkeypatch.setattr(invocation_store, "TRAILING_PATIENCE_S", 60.0)
    direct.sandboxes.gate.set()
    ids = [await direct.invoke() for _ in range(5)]
    await direct.invoker.written()
    async with asyncio.timeout(patient(10)):
        while sum(direct.commits) < 10:  # The writer tells of a commit after it has answered.
            await asyncio.sleep(0.002)
    # Six, but for a writer that the host lets run between two steps of the loop; each for itself would be ten.
    assert len(direct.commits) <= 8
    assert [await direct.state(one) for one in ids] == ["done"] * 5


async def test_an_outcome_that_nobody_follows_is_written_by_itself(direct: Direct) -> None:
    """Soon, and not only when somebody asks."""
    direct.sandboxes.gate.set()
    invocation_id = await direct.invoke()
    assert await direct.running.wait_until_none(10.0)
    assert await direct.state(invocation_id) == "done"


async def test_what_is_sent_on_is_on_disk_when_the_caller_hears(
    direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that dies then must not forget to send it."""
    monkeypatch.setattr(invocation_store, "TRAILING_PATIENCE_S", 60.0)
    direct.sandboxes.answers_early = True
    direct.sandboxes.gate.set()
    invocation_id = await direct.invoke("sends-on")
    assert await direct.state(invocation_id) == "done"
    [counts] = [one for one in await direct.store.history.queue_counts() if one.queue == "one"]
    assert counts.waiting == 1


async def test_what_a_handler_says_of_its_progress_is_let_go_of_with_its_attempt(
    direct: Direct,
) -> None:
    """Also of an attempt that nobody waits for."""
    services = direct.services
    attempt = Attempt("a", ONE, (), 0.0)
    services.progress(attempt, {"value": 0.5})
    assert direct.invoker.progress_of(attempt) == 0.5
    services.forget(attempt)
    assert direct.invoker.progress_of(attempt) is None


async def test_the_slot_of_a_direct_invoke_wakes_the_dispatcher_only_for_a_queue_without_room(
    direct: Direct,
) -> None:
    """It came from no queue; to look at all of them took a turn of the loop for each invoke."""
    dispatcher = direct.invoker._dispatcher
    assert dispatcher is not None
    dispatcher.slot_freed("")
    assert not dispatcher._woken.is_set()
    dispatcher._no_room.add("one")
    dispatcher.slot_freed("")
    assert dispatcher._woken.is_set()
