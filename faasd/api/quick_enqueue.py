"""The short way of an enqueue: no router, no task and no framework's objects for each request.

Most requests to a busy daemon put a few events on a queue. Such a request, complete in one piece and
usual in every way, is read here; all that come in one turn of the event loop are accepted in one
transaction. Anything else takes the long way through `routes`, whose answers are the same.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import Response

from faasd.api.call import json_object
from faasd.api.handlers.queues import accepted_view, events_of
from faasd.api.replies import error_reply, refused
from faasd.api.services import ApiServices
from faasd.errors import FaasdError, NotAccepting
from faasd.model.event import encode_json
from faasd.model.invocation import NewEvent

__all__ = ["BODY_MAX_BYTES", "EnqueueDesk", "QuickRequest", "as_bytes", "read_quickly"]

_log = logging.getLogger("faasd.api")

#: Beyond this a request takes the long way; so much is also read of all before others have their turn.
BODY_MAX_BYTES = 64 * 2**10
#: While one transaction is on its way to the disk and one behind it waits, what comes gathers for the next.
_IN_FLIGHT_MAX = 2
_HEAD_MAX_BYTES = 2048
#: Every other header takes the long way, where it is understood or refused.
_IDLE_HEADERS = frozenset({b"host", b"content-type", b"accept", b"accept-encoding", b"user-agent"})
_REQUEST_LINE = re.compile(rb"POST /api/v1/queues/([A-Za-z0-9._~-]+)/events HTTP/1\.1")
_BEGIN = b"POST /api/v1/queues/"


@dataclass(frozen=True, slots=True)
class QuickRequest:
    """One enqueue: to which queue, its body, and whether the connection closes after the answer."""

    queue: str
    body: bytes
    closes: bool


def read_quickly(data: bytes, body_max_bytes: int = BODY_MAX_BYTES) -> QuickRequest | None:
    """Read one complete request that is an enqueue and nothing unusual; None for all others."""
    if not data.startswith(_BEGIN):
        return None
    head, end, body = data.partition(b"\r\n\r\n")
    if not end or len(head) > _HEAD_MAX_BYTES or len(body) > body_max_bytes:
        return None
    read = _read_head(head)
    if read is None or read[1] != len(body):
        return None
    return QuickRequest(read[0], body, read[2])


@functools.lru_cache(maxsize=256)  # Senders repeat themselves.
def _read_head(head: bytes) -> tuple[str, int, bool] | None:
    """Return queue, length of the body, and whether the connection closes; None for the long way."""
    lines = head.split(b"\r\n")
    asked = _REQUEST_LINE.fullmatch(lines[0])
    if asked is None or head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
        return None
    length, closes = None, False
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t").lower()
        if name == b"content-length" and length is None and value.isdigit():
            length = int(value[:10])
        elif name == b"connection" and value in (b"close", b"keep-alive"):
            closes = value == b"close"
        elif not colon or name not in _IDLE_HEADERS:
            return None
    return None if length is None else (asked[1].decode("ascii"), length, closes)


#: Takes the bytes of an answer.
Answer = Callable[[bytes], None]


class EnqueueDesk:
    """Takes enqueues from connections and answers each once its events are on disk, or refused."""

    def __init__(self, services: ApiServices, body_limit_bytes: int) -> None:
        self._services = services
        self.body_max_bytes = min(body_limit_bytes, BODY_MAX_BYTES)
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
                events.append(events_of(request.queue, json_object(request.body), now))
            except FaasdError as error:
                answer(as_bytes(error_reply(error)))
            else:
                answers.append(answer)
        if events:
            await self._accept(events, answers)

    async def _accept(self, events: list[list[NewEvent]], answers: list[Answer]) -> None:
        failed: Response
        try:
            accepted = await self._services.accept.accept_each(events)
        except FaasdError as error:
            failed = error_reply(error)
        except asyncio.CancelledError:
            # Only the server's stop cancels, when the drain time is over; the clients are told so.
            failed = error_reply(NotAccepting("the daemon is stopping; try again in a moment"))
        except Exception:  # noqa: BLE001 - the HTTP request boundary: the daemon outlives a request.
            _log.exception("request_failed", extra={"method": "POST", "path": "events"})
            failed = refused(
                500, "internal", "the daemon failed to answer this; its log has the traceback"
            )
        else:
            for answer, one in zip(answers, accepted, strict=True):
                if isinstance(one, FaasdError):
                    answer(as_bytes(error_reply(one)))
                else:
                    answer(_accepted(encode_json(accepted_view(one)).encode("ascii")))
            return
        for answer in answers:
            answer(as_bytes(failed))


def _accepted(body: bytes) -> bytes:
    return (
        b"HTTP/1.1 202 Accepted\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n%b"
    ) % (len(body), body)


_STATUS_LINES = {
    400: b"HTTP/1.1 400 Bad Request\r\n",
    404: b"HTTP/1.1 404 Not Found\r\n",
    413: b"HTTP/1.1 413 Request Entity Too Large\r\n",
    503: b"HTTP/1.1 503 Service Unavailable\r\n",
}


def as_bytes(response: Response) -> bytes:
    """Return an answer as it goes over the wire."""
    status = response.status_code
    line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode("ascii")
    headers = b"".join([b"%b: %b\r\n" % pair for pair in response.raw_headers])
    return b"%b%b\r\n%b" % (line, headers, bytes(response.body))
