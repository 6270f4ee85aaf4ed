"""What a sandbox may ask of the daemon while its attempt runs. Every request is hostile input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from faasd.clock import Clock
from faasd.errors import FaasdError
from faasd.interfaces import Accept, InvocationLogs, Invoker
from faasd.model.attempt import Attempt, OutputLine
from faasd.model.event import decode_json, event_body
from faasd.model.ids import new_id
from faasd.model.invocation import NewEvent

__all__ = ["SandboxServices", "queue_event"]


def queue_event(queue: str, request: dict[str, Any], now: float, parent_id: str | None) -> NewEvent:
    """Return the event for one enqueue request, from a sandbox or a client.

    Keys of the request: `body` (any JSON value), and optionally `id`, `delay_s`, `key`, `dedup`,
    `dedup_window_s`, `priority`, `expires_s`. Raises ValueError that names the wrong one.
    """
    unknown = set(request) - _REQUEST_KEYS
    if unknown:
        raise ValueError(f"an enqueue request has no key {min(unknown)!r}")
    event_id = _text(request, "id") or new_id()
    delay_s = _number(request, "delay_s")
    priority = request.get("priority") or 0
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > 2**31:
        raise ValueError(f"priority must be a whole number, not {priority!r}")
    window_s = _number(request, "dedup_window_s")
    return NewEvent(
        function="",
        queue=queue,
        trigger="queue",
        source=queue,
        body=event_body("queue", queue, event_id, now, queue=queue, body=request.get("body")),
        id=event_id,
        due_at=now + delay_s if delay_s else None,
        expires_s=_number(request, "expires_s"),
        priority=priority,
        group_key=_text(request, "key"),
        dedup_key=_text(request, "dedup"),
        dedup_window_s=300.0 if window_s is None else window_s,
        parent_id=parent_id,
    )


_REQUEST_KEYS = frozenset(
    {"queue", "body", "id", "delay_s", "key", "dedup", "dedup_window_s", "priority", "expires_s"}
)


def _text(request: dict[str, Any], key: str) -> str | None:
    value = request.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 512:
        raise ValueError(f"{key} must be a text of 1 to 512 characters, not {value!r:.100}")
    return value


def _number(request: dict[str, Any], key: str) -> float | None:
    value = request.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e9:
        raise ValueError(f"{key} must be a number of seconds, zero or more, not {value!r:.100}")
    return float(value)


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

    def listen(self, attempt: Attempt, sink: Callable[[OutputLine], None]) -> None:
        """Copy this attempt's lines to a caller that waits for it, until `unlisten`."""
        self._listeners[attempt.id] = sink

    def unlisten(self, attempt: Attempt) -> None:
        """Stop copying, and let go of what is kept for the attempt."""
        self._listeners.pop(attempt.id, None)
        self._progress.pop(attempt.id, None)

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
            queue = _text(request, "queue")
            if queue is None:
                raise ValueError("an enqueue request needs a queue")
            event = queue_event(queue, request, self._clock.now(), parent_id)
            acceptance = await self._accept.accept(event)
        except (FaasdError, ValueError) as error:
            return _error(error)
        return {"id": acceptance.id, "state": acceptance.state}

    async def invoke(self, attempt: Attempt, request: dict[str, Any]) -> dict[str, Any]:
        """Serve `context.invoke`: {"result": …}, {"id": …} when it need not wait, or {"error": …}."""
        try:
            name = _text(request, "function")
            if name is None:
                raise ValueError("an invoke request needs a function")
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
        except (FaasdError, ValueError) as error:
            return _error(error)
        if outcome.is_ok:
            return {"id": invocation_id, "result": decode_json(outcome.result_json or "null")}
        cause = outcome.error.to_json() if outcome.error else {}
        return {"id": invocation_id, "error": {**cause, "outcome": outcome.word}}

    def progress(self, attempt: Attempt, value: dict[str, Any]) -> None:
        """Keep the last thing that the handler said about how far it is."""
        self._progress[attempt.id] = value

    def progress_of(self, attempt: Attempt) -> Any:
        """Return what `progress` kept last, or None."""
        return self._progress.get(attempt.id)


def _error(error: Exception) -> dict[str, Any]:
    return {"error": {"type": type(error).__name__, "message": str(error)}}
