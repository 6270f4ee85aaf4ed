"""The short way of a direct invoke: one task for it, and no router, scope or framework's objects."""

from __future__ import annotations

import asyncio

from faasd.api.call import function_named, json_value
from faasd.api.quick_http import Answer, QuickRequest, as_bytes
from faasd.api.replies import failure_reply
from faasd.api.services import ApiServices
from faasd.api.views import outcome_view
from faasd.model.event import encode_json
from faasd.model.invocation import NewEvent
from faasd.model.outcome import Outcome

__all__ = ["InvokeDesk"]


class InvokeDesk:
    """Takes direct invokes from connections and answers each with its outcome, or why there is none."""

    def __init__(self, services: ApiServices, tasks: set[asyncio.Task[None]]) -> None:
        """`tasks` are what whoever stops the server waits for, or cancels."""
        self._services = services
        self._tasks = tasks

    def take(self, request: QuickRequest, who: str, answer: Answer) -> asyncio.Task[None]:
        """Run an event for a caller. Cancelling the returned task, when he goes away, cancels the attempt."""
        task = asyncio.get_running_loop().create_task(self._serve(request, who, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve(self, request: QuickRequest, who: str, answer: Answer) -> None:
        try:
            reply = await self._invoke(request, who)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - The boundary of the request.
            reply = as_bytes(failure_reply(error, "POST", "invocations"))
        answer(reply)

    async def _invoke(self, request: QuickRequest, who: str) -> bytes:
        function = function_named(self._services.catalog, request.function or "")
        event = NewEvent(
            function=function.name,
            queue="",
            trigger="invoke",
            source=who,
            body=json_value(request.body, {}),
        )
        invocation_id, outcome = await self._services.invoker.invoke(event)
        return _answer_of(function.name, invocation_id, outcome)


def _answer_of(function: str, invocation_id: str, outcome: Outcome) -> bytes:
    body = encode_json(outcome_view(invocation_id, function, outcome)).encode("ascii")
    return (
        b"HTTP/1.1 200 OK\r\nfaasd-outcome: %b\r\nfaasd-invocation: %b\r\n"
        b"content-length: %d\r\ncontent-type: application/json\r\n\r\n%b"
    ) % (outcome.word.encode("ascii"), invocation_id.encode("ascii"), len(body), body)
