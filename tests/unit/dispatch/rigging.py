"""The real dispatcher, invoker and store over sandboxes that end as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from faasd.clock import FakeClock
from faasd.dispatch.breaker import BreakerPolicy
from faasd.dispatch.breakers import Breakers
from faasd.dispatch.direct import DirectInvoker
from faasd.dispatch.dispatcher import Dispatcher
from faasd.dispatch.run_attempt import Spine
from faasd.dispatch.running import Running
from faasd.dispatch.services import SandboxServices
from faasd.dispatch.slots import Slots
from faasd.functions.registry import Registry
from faasd.intake import Intake
from faasd.model.attempt import Attempt
from faasd.model.function import Function
from faasd.model.invocation import NewEvent
from faasd.model.outcome import ErrorRecord, Outcome
from faasd.model.retry import RetryPolicy
from faasd.model.trigger import QueueTrigger
from faasd.store.open import open_store
from tests.patience import patient

__all__ = ["BATCHED", "FUNCTION", "REUSED", "Rig", "ScriptedSandboxes", "rigged"]

RETRY = RetryPolicy(attempts=50, first_s=1.0, backoff="fixed", jitter=0.0)
FUNCTION = Function("f", handler="m:f", retry=RETRY)
REUSED = replace(FUNCTION, name="reused", reuse=1000)
BATCHED = replace(
    FUNCTION, name="b", queues=(QueueTrigger("in", batch_size=10, batch_window_s=0.0),)
)


@dataclass
class ScriptedSandboxes:
    """Ends each attempt as `word` says; `held` attempts wait until they are let go."""

    word: Callable[[list[str]], str] = lambda _events: "crashed"
    ran: list[list[str]] = field(default_factory=list)
    bursts: list[int] = field(default_factory=list)  # How many attempts each had.
    most_at_once: int = 0
    _now: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, attempt: Attempt, _services: Any, _stop: asyncio.Future[str]) -> Outcome:
        events = [claim.invocation.event_json for claim in attempt.claims]
        self.ran.append(events)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(0)  # Others run beside it.
        await self.gate.wait()
        self._now -= 1
        word = self.word(events)
        if word == "ok":
            return Outcome("ok", result_json="null")
        return Outcome(word, error=ErrorRecord("Test", "as the test says"))

    async def run_all(
        self, attempts: Sequence[Attempt], services: Any, stops: Sequence[asyncio.Future[str]]
    ) -> list[Outcome | None]:
        self.bursts.append(len(attempts))
        outcomes: list[Outcome | None] = []
        for attempt, stop in zip(attempts, stops, strict=True):
            if outcomes and not outcomes[-1].is_ok:  # type: ignore[union-attr]
                return outcomes + [None] * (len(attempts) - len(outcomes))
            outcomes.append(await self.run(attempt, services, stop))
        return outcomes


@dataclass
class Rig:
    clock: FakeClock
    sandboxes: ScriptedSandboxes
    breakers: Breakers
    dispatcher: Dispatcher
    running: Running
    invoker: DirectInvoker
    intake: Intake
    store: Any
    slots: Slots

    async def enqueue(self, queue: str, *bodies: Any) -> None:
        await self.intake.accept_many([NewEvent("", queue, "queue", queue, one) for one in bodies])

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(patient(10)):
            while not condition():
                await asyncio.sleep(0.002)

    async def settled(self) -> None:
        """Wait until nothing runs and the dispatcher has had its look."""
        for _ in range(3):
            self.dispatcher.wake()
            await asyncio.sleep(0.02)
            # What the dispatcher has asked the store by now is answered before these are.
            await self.store.invocations.waiting_since("in")
            await self.store.invocations.expire_due()
            await asyncio.sleep(0.02)
            await self.running.wait_until_none(patient(5))

    async def pass_s(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.settled()

    def state(self, name: str = "f") -> str:
        return self.breakers.status(name).state


@asynccontextmanager
async def rigged(directory: Path, slots_total: int = 2) -> AsyncIterator[Rig]:
    """Yield a dispatcher at work, over a store of its own."""
    clock = FakeClock()
    store = await open_store(directory / "state", clock)
    registry = Registry([FUNCTION, REUSED, BATCHED])
    slots = Slots(slots_total)
    sandboxes = ScriptedSandboxes()
    sandboxes.gate.set()
    made: list[Dispatcher] = []

    def wake() -> None:
        made[0].wake()

    def freed(queue: str) -> None:
        made[0].slot_freed(queue)

    breakers = Breakers(clock, lambda: 0.0, wake, BreakerPolicy(jitter=0.0, deaths=4))
    running = Running(slots, freed, lambda _ended: None)
    intake = Intake(registry, store.invocations, clock, lambda queues, _: made[0].wake(queues))
    paused: set[str] = set()
    invoker = DirectInvoker(intake.prepare, slots, running, store.pauses, paused, {})
    services = SandboxServices(intake, invoker, store.logs, clock)
    spine = Spine(
        sandboxes=sandboxes,  # type: ignore[arg-type]
        services=services,
        store=store.invocations,
        logs=store.logs,
        catalog=registry,
        breakers=breakers,
        clock=clock,
        noise=lambda: 0.0,
    )
    made.append(Dispatcher(spine, slots, running, paused, {}))
    invoker.attach(spine, services, made[0])
    made[0].start()
    yield Rig(clock, sandboxes, breakers, made[0], running, invoker, intake, store, slots)
    await made[0].stop()
    await running.wait_until_none(5.0)
    await store.close()
