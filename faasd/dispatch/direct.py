"""Direct invokes, and what people may do to work: cancel, pause, resume."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from faasd.dispatch.dispatcher import Dispatcher
from faasd.dispatch.run_attempt import Spine
from faasd.dispatch.running import Ended, Running
from faasd.dispatch.services import SandboxServices
from faasd.dispatch.slots import Slots
from faasd.errors import Conflict, FunctionRefused, NotAccepting, NotFound, SandboxError
from faasd.interfaces import BreakerStatus, Pauses
from faasd.model.attempt import Attempt, OutputLine
from faasd.model.function import Function
from faasd.model.ids import new_id
from faasd.model.invocation import NewEvent, NewInvocation
from faasd.model.outcome import Outcome

__all__ = ["NESTING_MAX", "DirectInvoker"]

#: Callers that may wait for a slot at once; more are turned away rather than queued without end.
WAITERS_MAX = 1000
#: How long a look at the records waits for what was answered to be on disk.
_WRITTEN_S = 2.0
#: Invokes from inside sandboxes need no free slot, so they have a bound of their own: so many attempts for
#: each slot. Without it, a function that invokes itself is a fork bomb made of attempts.
NESTING_MAX = 8


class DirectInvoker:
    """Implements the seam `Invoker`."""

    def __init__(
        self,
        prepare: Callable[[NewEvent], NewInvocation],
        slots: Slots,
        running: Running,
        pauses: Pauses,
        paused: set[str],
        refused: Mapping[str, str],
    ) -> None:
        """`prepare` is intake's check of one event; `paused` and `refused` are shared with the dispatcher."""
        self._prepare = prepare
        self._slots = slots
        self._running = running
        self._pauses = pauses
        self._paused = paused
        self._refused = refused
        self._freed = asyncio.Event()
        self._waiting = 0
        self._unwritten: set[asyncio.Task[Ended]] = set()  # Answered, and not on disk yet.
        self._closed = False
        self._spine: Spine | None = None
        self._services: SandboxServices | None = None
        self._dispatcher: Dispatcher | None = None

    def attach(self, spine: Spine, services: SandboxServices, dispatcher: Dispatcher) -> None:
        """Give it what is built after it: sandboxes may invoke, so each needs the other."""
        self._spine, self._services, self._dispatcher = spine, services, dispatcher

    def close(self) -> None:
        """Start nothing any more, and turn away who waits."""
        self._closed = True
        self._freed.set()

    def slot_freed(self) -> None:
        """Let the callers that wait for a slot look again."""
        self._freed.set()

    async def invoke(
        self,
        event: NewEvent,
        on_output: Callable[[OutputLine], None] | None = None,
        function: Function | None = None,
    ) -> tuple[str, Outcome]:
        """Run one event now and wait. Cancelling the task cancels the attempt.

        `function` is the event's own with another version of its code than the one in service.

        Raises EventRefused, FunctionRefused, or Conflict when the function is paused or held back by its
        breaker, or when too many callers wait. A caller is told so at once: its event was promised nothing.
        """
        spine, services = self._attached()
        new = self._prepare(event)
        other, function = function, self._function(new.function)
        self._check_open_to(function)
        async with self._slot(function, is_nested=event.trigger == "function"):
            self._check_open_to(function)  # Again: others have run while it waited,
            function = other or self._function(new.function)  # and a reload may have been.
            spine.breakers.reserve(function.name)
            try:
                claim = await spine.store.begin(new, function.limits.timeout_s + 60.0)
                attempt = Attempt(
                    new_id(), function, (claim,), started_at=spine.clock.now(), is_sync=True
                )
                if on_output is not None:
                    services.listen(attempt, on_output)
                answer = services.answer_to(attempt) if _may_hear_early(function) else None
                task = self._running.start(attempt, "", spine)
            finally:
                spine.breakers.release(function.name)
        try:
            outcome = await self._answer(attempt, task, answer)
        except asyncio.CancelledError:
            self._running.stop([new.id], "cancelled")
            raise
        finally:
            services.unlisten(attempt)
        if outcome is not None:
            # It may be told before its sandbox is gone; the second time changes nothing.
            spine.breakers.ended(attempt, outcome)
        else:
            raise SandboxError(f"cannot run {function.name!r}: faasd failed; see the daemon's log")
        return new.id, outcome

    async def written(self) -> None:
        """Wait until what callers were answered by now is on disk, but not for ever: a full disk may keep it."""
        if self._unwritten:
            spine, _ = self._attached()
            spine.trailing.forget()
            spine.store.hurry()
            await asyncio.wait(set(self._unwritten), timeout=_WRITTEN_S)

    async def cancel(self, ids: Sequence[str], reason: str) -> list[str]:
        """Cancel waiting and running invocations; returns those that changed.

        A running batch goes on for its other members.
        """
        spine, _ = self._attached()
        changed = await spine.store.cancel(ids, reason)
        self._running.stop(changed, "cancelled")
        if changed and self._dispatcher is not None:
            self._dispatcher.wake()  # What waited behind them in a group may be due.
        return changed

    async def pause(self, function: str) -> bool:
        """Hold a function's queues: accepted events wait. Raises NotFound."""
        return await self._set_paused(function, True)

    async def resume(self, function: str) -> bool:
        """Let it run again: end its pause and close its breaker. Raises NotFound."""
        changed = await self._set_paused(function, False)
        return self._attached()[0].breakers.close(function) or changed

    def breaker(self, function: str) -> BreakerStatus:
        """Return where the function's crash-loop breaker stands."""
        return self._attached()[0].breakers.status(function)

    def running(self) -> list[Attempt]:
        """Return the attempts that run now."""
        return self._running.attempts()

    def progress_of(self, attempt: Attempt) -> Any:
        """Return what the handler of a running attempt last said about how far it is, or None."""
        return self._attached()[1].progress_of(attempt)

    async def _answer(
        self,
        attempt: Attempt,
        task: asyncio.Task[Ended],
        early: asyncio.Future[Outcome | None] | None,
    ) -> Outcome | None:
        """Wait for the attempt's end, or for what is certain about it earlier."""
        answer = early or asyncio.get_running_loop().create_future()
        task.add_done_callback(functools.partial(_tell_at_last, answer))
        outcome = await answer  # Not the task as well: the answer is to leave in the next turn.
        if not task.done():
            self._attached()[0].trailing.answered(attempt.id, task)
            self._unwritten.add(task)
            task.add_done_callback(self._unwritten.discard)
        return outcome

    def _check_open_to(self, function: Function) -> None:
        """Raise FunctionRefused or Conflict when nothing of the function may begin now."""
        name = function.name
        if name in self._refused:
            raise FunctionRefused(f"function {name!r} is refused: {self._refused[name]}")
        if name in self._paused:
            raise Conflict(f"function {name!r} is paused; `faasd functions resume {name}`")
        self._attached()[0].breakers.check(name)

    async def _set_paused(self, name: str, paused: bool) -> bool:
        self._function(name)
        changed = await self._pauses.set("function", name, paused)
        (self._paused.add if paused else self._paused.discard)(name)
        if self._dispatcher is not None and not paused:
            self._dispatcher.wake()
        return changed

    @asynccontextmanager
    async def _slot(self, function: Function, is_nested: bool) -> AsyncIterator[None]:
        """Wait for room and keep it until the body has taken it.

        An invoke from inside a sandbox does not wait for a global slot: its caller holds one, and
        callers of callers could otherwise wait for each other until their time limits.
        """
        if self._waiting >= WAITERS_MAX:
            raise Conflict(f"cannot invoke {function.name!r}: {WAITERS_MAX} callers wait already")
        if is_nested and self._slots.running >= NESTING_MAX * self._slots.total:
            raise Conflict(
                f"cannot invoke {function.name!r} from inside a sandbox: {self._slots.running} attempts run "
                f"already, {NESTING_MAX} for each slot; does a function invoke itself without end?"
            )
        self._waiting += 1
        self._slots.reserved += 0 if is_nested else 1
        try:
            while not self._has_room(function, is_nested):
                self._freed.clear()
                await self._freed.wait()
            if self._closed:
                raise NotAccepting("the daemon is stopping and starts nothing new")
            yield
        finally:
            self._waiting -= 1
            self._slots.reserved -= 0 if is_nested else 1

    def _has_room(self, function: Function, is_nested: bool) -> bool:
        if self._closed:
            return True
        if is_nested:
            return self._slots.free_for_function(function) > 0
        return self._slots.free_for(function, None) > 0

    def _function(self, name: str) -> Function:
        spine, _ = self._attached()
        function = spine.catalog.get(name)
        if function is None:
            raise NotFound(f"no function is named {name!r}")
        return function

    def _attached(self) -> tuple[Spine, SandboxServices]:
        if self._spine is None or self._services is None:
            raise RuntimeError("attach() comes first")
        return self._spine, self._services


def _may_hear_early(function: Function) -> bool:
    """Whether its callers may be answered before the outcome is written: what is sent on is written with it."""
    return not function.on_success and not function.on_failure


def _tell_at_last(answer: asyncio.Future[Outcome | None], task: asyncio.Task[Ended]) -> None:
    if answer.done():
        return
    if task.cancelled():
        answer.cancel()
    else:
        answer.set_result(task.result().outcome)
