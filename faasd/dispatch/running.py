"""The attempts that run now: started here, stopped from here, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from faasd.clock import Clock
from faasd.dispatch.run_attempt import Spine, run_attempt, run_attempts
from faasd.dispatch.slots import Slots
from faasd.dispatch.stock import Stock
from faasd.interfaces import Settled
from faasd.logs import get_logger
from faasd.model.attempt import Attempt
from faasd.model.outcome import Outcome

__all__ = ["Ended", "Running"]

_log = get_logger("dispatch")
T = TypeVar("T")


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
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, attempt: Attempt, queue: str, spine: Spine) -> asyncio.Task[Ended]:
        """Start one attempt; its slot is taken until nothing of its sandbox is left."""
        slot = _HeldSlot(self._slots, attempt.function.name, queue, self._freed, spine.clock)
        stop = self._begin(attempt, spine)
        return self._start_task(self._run(attempt, queue, spine, stop, slot))

    def start_all(self, attempts: Sequence[Attempt], queue: str, spine: Spine) -> None:
        """Start attempts of one function, which run one after another in one slot."""
        name = attempts[0].function.name
        slot = _HeldSlot(self._slots, name, queue, self._freed, spine.clock, len(attempts))
        stops = [self._begin(attempt, spine) for attempt in attempts]
        self._start_task(self._run_all(attempts, queue, spine, stops, slot))

    def _begin(self, attempt: Attempt, spine: Spine) -> asyncio.Future[str]:
        stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._stops[attempt.id] = (attempt, stop)
        spine.breakers.began(attempt)
        return stop

    def _start_task(self, running: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(running)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _freed(self, function: str, queue: str, held_s: float, count: int) -> None:
        self.stock.pace_of(function).add(held_s, count)
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
            _tell_broken([attempt], error)
        finally:
            del self._stops[attempt.id]
            if ended.outcome is None:
                spine.breakers.ended(attempt, None)
            slot.free()
            self._tell_ended(ended)
        return ended

    async def _run_all(
        self,
        attempts: Sequence[Attempt],
        queue: str,
        spine: Spine,
        stops: Sequence[asyncio.Future[str]],
        slot: _HeldSlot,
    ) -> None:
        found: list[tuple[Outcome, list[Settled]] | None] | None = None
        try:
            found = await run_attempts(attempts, spine, stops, slot)
        except Exception as error:  # noqa: BLE001 - As for one.
            _tell_broken(attempts, error)
        finally:
            for attempt in attempts:
                del self._stops[attempt.id]
                if found is None:
                    spine.breakers.ended(attempt, None)
            slot.free()
            for place, attempt in enumerate(attempts):
                its = found[place] if found is not None else None
                if its is not None:
                    self._tell_ended(Ended(attempt, queue, its[0], tuple(its[1])))
                elif found is None:
                    self._tell_ended(Ended(attempt, queue, None, ()))
            if found is not None and None in found:
                self._on_freed(queue)  # What did not begin waits again.

    def _tell_ended(self, ended: Ended) -> None:
        # It is written already: whoever stumbles over one must not keep the others from being told of.
        try:
            self._on_ended(ended)
        except Exception as error:  # noqa: BLE001
            _tell_broken([ended.attempt], error)


def _tell_broken(attempts: Sequence[Attempt], error: Exception) -> None:
    _log.error(
        "attempt_broke",
        function=attempts[0].function.name,
        invocation=attempts[0].claims[0].invocation.id,
        attempts=len(attempts),
        error=repr(error),
        exc_info=True,
    )


class _HeldSlot:
    """One attempt's slot; implements `run_attempt.Slot`."""

    def __init__(
        self,
        slots: Slots,
        function: str,
        queue: str,
        on_freed: Callable[[str, str, float, int], None],
        clock: Clock,
        count: int = 1,
    ) -> None:
        """`on_freed` hears function, queue, how long it was held and by how many attempts."""
        self._count = count
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
            held_s = self._clock.monotonic() - self._since
            self._on_freed(self._function, self._queue, held_s, self._count)
