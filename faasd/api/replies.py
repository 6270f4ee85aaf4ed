"""Answers: JSON objects, errors with the status that their kind means, and streams of JSON lines."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from faasd import errors
from faasd.model.event import encode_json

__all__ = [
    "ClientGone",
    "LineStream",
    "end",
    "error_reply",
    "error_statuses",
    "failure_reply",
    "json_reply",
    "kind_of",
    "no_method",
    "no_route",
    "refused",
    "unless_gone",
]

_log = logging.getLogger("faasd.api")
T = TypeVar("T")

#: Status and Retry-After by the class of an error; the first base class that stands here decides.
_STATUSES: dict[type[Exception], tuple[int, int | None]] = {
    errors.UnknownFunction: (404, None),
    errors.UnknownQueue: (404, None),
    errors.NotFound: (404, None),
    errors.PayloadTooLarge: (413, None),
    errors.NotAccepting: (503, 5),
    errors.FunctionRefused: (409, None),
    errors.EventRefused: (400, None),
    errors.InvalidSetting: (400, None),
    errors.Conflict: (409, None),
    errors.VersionError: (409, None),
    errors.LeaseLost: (409, None),
    errors.StoreFull: (503, 30),
}
_OURS = (500, None)


class ClientGone(Exception):
    """The client has closed its end before the answer was complete; nobody is left to be told."""


class LineStream(Response):
    """A stream of JSON objects, one a line, which ends early when the client goes away.

    `work` is what the lines tell of; it is cancelled, and its end awaited, when the stream ends.
    """

    media_type = "application/x-ndjson"

    def __init__(
        self, lines: AsyncIterator[dict[str, Any]], work: asyncio.Future[Any] | None = None
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._lines = lines
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the lines as they come."""
        try:
            await unless_gone(receive, self._send_lines(send))
        except ClientGone:
            pass
        except asyncio.CancelledError:
            # Only the server's stop cancels requests; a stream that just broke off would say nothing.
            error = {"kind": "not-accepting", "message": "the daemon is stopping"}
            body = encode_json({"type": "error", "error": error}).encode() + b"\n"
            await send({"type": "http.response.body", "body": body, "more_body": False})
        finally:
            if self._work is not None:
                await end(self._work)

    async def _send_lines(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async with contextlib.aclosing(self._lines) as lines:  # type: ignore[type-var]
            async for value in lines:
                body = encode_json(value).encode() + b"\n"
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end, or cancel it and raise ClientGone when the client closes its end."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        await end(gone)
        await end(task)


async def end(work: asyncio.Future[Any]) -> None:
    """Cancel work and wait for its own clean-up: a sandbox that must be killed outlives no request."""
    work.cancel()
    await asyncio.wait((work,))
    if not work.cancelled():
        work.exception()  # Told already, or nobody is left to tell; but it was looked at.


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def json_reply(value: Any, status: int = 200, *, headers: dict[str, str] | None = None) -> Response:
    """Answer with one JSON value."""
    return Response(encode_json(value), status, headers, media_type="application/json")


def kind_of(error: BaseException) -> str:
    """Return an error's kind: its class's name in kebab case, from which clients find the class again."""
    return _kebab(type(error).__name__)


def error_statuses() -> list[tuple[str, int, int | None]]:
    """Return kind, status and Retry-After of every class of error, but for those of faasd's own mistakes."""
    every = [one for name in errors.__all__ if issubclass(one := getattr(errors, name), Exception)]
    answers = [(one, _answer_of(one)) for one in every]
    known = [(_kebab(one.__name__), *answer) for one, answer in answers if answer != _OURS]
    return sorted(known, key=lambda row: (row[1], row[0]))


def _kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def _answer_of(error: type[Exception]) -> tuple[int, int | None]:
    return next((_STATUSES[base] for base in error.__mro__ if base in _STATUSES), _OURS)


def error_reply(error: errors.FaasdError) -> Response:
    """Answer with an error in the status that its class means."""
    status, retry_after_s = _answer_of(type(error))
    headers = None if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return refused(status, kind_of(error), str(error), headers)


def failure_reply(error: BaseException, method: str, path: str) -> Response:
    """Answer what a request's work raised, at its boundary: the daemon outlives it, and whoever asked is told."""
    if isinstance(error, errors.FaasdError):
        return error_reply(error)
    if isinstance(error, asyncio.CancelledError):
        # Only a server's stop cancels those whose client still listens, when the drain time is over.
        return error_reply(errors.NotAccepting("the daemon is stopping; try again in a moment"))
    _log.error("request_failed", exc_info=error, extra={"method": method, "path": path})
    return refused(500, "internal", "the daemon failed to answer this; its log has the traceback")


def refused(
    status: int, kind: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    """Answer with an error."""
    return json_reply({"error": {"kind": kind, "message": message}}, status, headers=headers)


async def no_route(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Answer that there is nothing at this path."""
    return refused(404, "not-found", f"nothing answers at {request.url.path}")


async def no_method(request: Request, error: Exception) -> Response:
    """Answer that this path does not take the method."""
    headers = dict(getattr(error, "headers", None) or {})
    message = f"{request.url.path} does not take {request.method}"
    return refused(405, "method-not-allowed", message, headers)
