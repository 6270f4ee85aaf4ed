"""What a sandbox may ask of the daemon while its attempt runs. Every request is hostile input."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from faasd.clock import Clock
from faasd.errors import FaasdError, InvalidSetting
from faasd.interfaces import Accept, InvocationLogs, Invoker
from faasd.model.attempt import Attempt, OutputLine
from faasd.model.event import decode_json
from faasd.model.invocation import NewEvent
from faasd.model.outcome import Outcome
from faasd.model.queue_event import read_queue_event

__all__ = ["SandboxServices"]


class SandboxServices:
    """Implements the seam `AttemptServices` with intake, the invoker and the log files."""

    def __init__(
        self, accept: Accept, invoker: Invoker, logs: InvocationLogs, clock: Clock
    ) -> None:
        self._accept = accept
        self._invoker = invoker
        self._logs = logs
        self._clock = clock
        self._listeners: dict[str, Callable[[OutputLine], None]] = {}
        self._progress: dict[str, Any] = {}
        self._answers: dict[str, asyncio.Future[Outcome | None]] = {}

    def listen(self, attempt: Attempt, sink: Callable[[OutputLine], None]) -> None:
        """Copy this attempt's lines to a caller that waits for it, until `unlisten`."""
        self._listeners[attempt.id] = sink

    def answer_to(self, attempt: Attempt) -> asyncio.Future[Outcome | None]:
        """Return what will hold the attempt's outcome as soon as that is certain, until `unlisten`."""
        future: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._answers[attempt.id] = future
        return future

    def unlisten(self, attempt: Attempt) -> None:
        """Stop copying, and wait for its outcome no more."""
        self._listeners.pop(attempt.id, None)
        self._answers.pop(attempt.id, None)

    def output(self, attempt: Attempt, lines: Sequence[OutputLine]) -> None:
        """Write captured lines to the function's log, and to whoever listens."""
        self._logs.append(attempt, lines)
        sink = self._listeners.get(attempt.id)
        if sink is not None:
            for line in lines:
                sink(line)

    async def enqueue(self, attempt: Attempt, request: dict[str, Any]) -> dict[str, Any]:
        """Serve `context.enqueue`: {"id": …} or {"error": …}."""
        parent_id = attempt.claims[0].invocation.id
        try:
            queue = _name(request.pop("queue", None), "a queue")
            event = read_queue_event(queue, request, self._clock.now(), parent_id=parent_id)
            acceptance = await self._accept.accept(event)
        except FaasdError as error:
            return _error(error)
        return {"id": acceptance.id, "state": acceptance.state}

    async def invoke(self, attempt: Attempt, request: dict[str, Any]) -> dict[str, Any]:
        """Serve `context.invoke`: {"result": …}, {"id": …} when it need not wait, or {"error": …}."""
        try:
            name = _name(request.get("function"), "a function")
            wait = request.get("wait", True) is True
            event = NewEvent(
                function=name,
                queue="" if wait else name,
                trigger="function",
                source=attempt.function.name,
                body=request.get("event"),
                parent_id=attempt.claims[0].invocation.id,
            )
            if not wait:
                return {"id": (await self._accept.accept(event)).id}
            invocation_id, outcome = await self._invoker.invoke(event)
        except FaasdError as error:
            return _error(error)
        if outcome.is_ok:
            return {"id": invocation_id, "result": decode_json(outcome.result_json or "null")}
        cause = outcome.error.to_json() if outcome.error else {}
        return {"id": invocation_id, "error": {**cause, "outcome": outcome.word}}

    def progress(self, attempt: Attempt, value: dict[str, Any]) -> None:
        """Keep the last thing that the handler said about how far it is, until `forget`."""
        self._progress[attempt.id] = value.get("value")

    def answer(self, attempt: Attempt, outcome: Outcome) -> None:
        """Tell the caller who waits for this attempt."""
        future = self._answers.pop(attempt.id, None)
        if future is not None and not future.done():
            future.set_result(outcome)

    def progress_of(self, attempt: Attempt) -> Any:
        """Return what `progress` kept last, or None."""
        return self._progress.get(attempt.id)

    def forget(self, attempt: Attempt) -> None:
        """Let go of what is kept for an attempt that is over."""
        self._progress.pop(attempt.id, None)


def _name(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidSetting(f"expected the name of {what}, not {value!r:.100}")
    return value


def _error(error: Exception) -> dict[str, Any]:
    return {"error": {"type": type(error).__name__, "message": str(error)}}
