"""The short way of an enqueue: no router, no task and no framework's objects for each request.

All that come in one turn of the event loop are accepted in one transaction.
"""

from __future__ import annotations

import asyncio

from faasd.api.call import json_object
from faasd.api.handlers.queues import accepted_view, events_of
from faasd.api.quick_http import BODY_MAX_BYTES, Answer, QuickRequest, as_bytes
from faasd.api.replies import error_reply, failure_reply
from faasd.api.services import ApiServices
from faasd.errors import FaasdError
from faasd.model.event import encode_json
from faasd.model.invocation import NewEvent

__all__ = ["EnqueueDesk"]

#: While one transaction is on its way to the disk and one behind it waits, what comes gathers for the next.
_IN_FLIGHT_MAX = 2


class EnqueueDesk:
    """Takes enqueues from connections and answers each once its events are on disk, or refused."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._is_due = False  # `_begin` will come.
        self._in_flight = 0
        self._waiting: list[tuple[QuickRequest, Answer]] = []
        #: Whoever stops the server waits for these, or cancels them.
        self.tasks: set[asyncio.Task[None]] = set()

    def take(self, request: QuickRequest, answer: Answer) -> None:
        """Accept a request's events together with those of the others in this turn of the loop."""
        self._waiting.append((request, answer))
        self._begin_soon()

    def _begin_soon(self) -> None:
        if self._waiting and not self._is_due and self._in_flight < _IN_FLIGHT_MAX:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """Take as many as are not too much for one turn, and leave the rest for the next."""
        self._is_due = False
        total, count = 0, 0
        for request, _ in self._waiting:
            total += len(request.body)
            count += 1
            if total >= BODY_MAX_BYTES:
                break
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        task = asyncio.get_running_loop().create_task(self._serve(taken))
        self._in_flight += 1
        self.tasks.add(task)
        task.add_done_callback(self._served)
        self._begin_soon()

    def _served(self, task: asyncio.Task[None]) -> None:
        self._in_flight -= 1
        self.tasks.discard(task)
        self._begin_soon()

    async def _serve(self, taken: list[tuple[QuickRequest, Answer]]) -> None:
        events: list[list[NewEvent]] = []
        answers: list[Answer] = []
        now = self._services.clock.now()
        for request, answer in taken:
            try:
                events.append(events_of(request.queue or "", json_object(request.body), now))
            except FaasdError as error:
                answer(as_bytes(error_reply(error)))
            else:
                answers.append(answer)
        if events:
            await self._accept(events, answers)

    async def _accept(self, events: list[list[NewEvent]], answers: list[Answer]) -> None:
        try:
            accepted = await self._services.accept.accept_each(events)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - The boundary of the requests.
            failed = as_bytes(failure_reply(error, "POST", "events"))
            for answer in answers:
                answer(failed)
            return
        for answer, one in zip(answers, accepted, strict=True):
            if isinstance(one, FaasdError):
                answer(as_bytes(error_reply(one)))
            else:
                answer(_accepted(encode_json(accepted_view(one)).encode("ascii")))


def _accepted(body: bytes) -> bytes:
    return (
        b"HTTP/1.1 202 Accepted\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n%b"
    ) % (len(body), body)
