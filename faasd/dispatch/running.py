"""The attempts that run now: started here, stopped from here, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from faasd.clock import Clock
from faasd.dispatch.run_attempt import Spine, run_attempt
from faasd.dispatch.slots import Slots
from faasd.dispatch.stock import Stock
from faasd.interfaces import Settled
from faasd.logs import get_logger
from faasd.model.attempt import Attempt
from faasd.model.outcome import Outcome

__all__ = ["Ended", "Running"]

_log = get_logger("dispatch")


@dataclass(frozen=True)
class Ended:
    """What the rest of dispatch hears when an attempt is over and written."""

    attempt: Attempt
    queue: str
    outcome: Outcome | None  # None when the attempt broke on our side; its lease is still held.
    settled: tuple[Settled, ...]


class Running:
    """Registry of running attempts; each has a task and a way to be stopped."""

    def __init__(
        self,
        slots: Slots,
        on_freed: Callable[[str], None],
        on_ended: Callable[[Ended], None],
    ) -> None:
        """`on_freed` hears the queue of each slot that is free again."""
        self._slots = slots
        self._on_freed = on_freed
        self._on_ended = on_ended
        #: What is claimed and has not begun.
        self.stock = Stock()
        self._stops: dict[str, tuple[Attempt, asyncio.Future[str]]] = {}
        self._tasks: set[asyncio.Task[Ended]] = set()

    def start(self, attempt: Attempt, queue: str, spine: Spine) -> asyncio.Task[Ended]:
        """Start one attempt; its slot is taken until nothing of its sandbox is left."""
        slot = _HeldSlot(self._slots, attempt.function.name, queue, self._freed, spine.clock)
        stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._stops[attempt.id] = (attempt, stop)
        spine.breakers.began(attempt)
        task = asyncio.create_task(self._run(attempt, queue, spine, stop, slot))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _freed(self, function: str, queue: str, held_s: float) -> None:
        self.stock.pace_of(function).add(held_s)
        self._on_freed(queue)

    def attempts(self) -> list[Attempt]:
        """Return the attempts that run now."""
        return [attempt for attempt, _ in self._stops.values()]

    def stop(self, invocation_ids: Iterable[str], word: str) -> None:
        """End attempts early that run for these invocations alone; they come back with this outcome.

        What has not begun yet never does.
        """
        wanted = set(invocation_ids)
        self.stock.drop(wanted)
        for attempt, stop in list(self._stops.values()):
            if all(claim.invocation.id in wanted for claim in attempt.claims) and not stop.done():
                stop.set_result(word)

    def stop_all(self, word: str) -> None:
        """End every attempt early with this outcome."""
        for _, stop in list(self._stops.values()):
            if not stop.done():
                stop.set_result(word)

    async def wait_until_none(self, timeout_s: float) -> bool:
        """Wait for all to end by themselves; returns whether they did in time."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_s)
        return not self._tasks

    async def _run(
        self,
        attempt: Attempt,
        queue: str,
        spine: Spine,
        stop: asyncio.Future[str],
        slot: _HeldSlot,
    ) -> Ended:
        ended = Ended(attempt, queue, None, ())
        try:
            outcome, settled = await run_attempt(attempt, spine, stop, slot)
            ended = Ended(attempt, queue, outcome, tuple(settled))
        # A mistake of ours must not take the dispatcher down. The lease stays held, so nothing is
        # lost: the next start of the daemon returns it.
        except Exception as error:  # noqa: BLE001
            _log.error(
                "attempt_broke",
                function=attempt.function.name,
                invocation=attempt.claims[0].invocation.id,
                error=repr(error),
                exc_info=True,
            )
        finally:
            del self._stops[attempt.id]
            if ended.outcome is None:
                spine.breakers.ended(attempt, None)
            slot.free()
            self._on_ended(ended)
        return ended


class _HeldSlot:
    """One attempt's slot; implements `run_attempt.Slot`."""

    def __init__(
        self,
        slots: Slots,
        function: str,
        queue: str,
        on_freed: Callable[[str, str, float], None],
        clock: Clock,
    ) -> None:
        """`on_freed` hears function, queue, and how long it was held."""
        self._slots = slots
        self._function = function
        self._queue = queue
        self._on_freed = on_freed
        self._clock = clock
        self._is_held = False
        self.take_back()

    def take_back(self) -> None:
        if not self._is_held:
            self._is_held = True
            self._since = self._clock.monotonic()
            self._slots.take(self._function, self._queue)

    def free(self) -> None:
        if self._is_held:
            self._is_held = False
            self._slots.give(self._function, self._queue)
            self._on_freed(self._function, self._queue, self._clock.monotonic() - self._since)
