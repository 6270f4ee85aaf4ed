"""The short way of the most usual requests: one that is complete in one piece, read without a parser.

Putting a few events on a queue and running one event now are what programs ask for most. What is unusual about a
request in any way takes the long way through `routes`, whose answers are the same.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from starlette.responses import Response

__all__ = ["BODY_MAX_BYTES", "Answer", "QuickRequest", "as_bytes", "read_quickly"]

#: Takes the bytes of an answer.
Answer = Callable[[bytes], None]

#: Beyond this a request takes the long way; so much is also read of all before others have their turn.
BODY_MAX_BYTES = 64 * 2**10
_HEAD_MAX_BYTES = 2048
#: Every other header takes the long way, where it is understood or refused.
_IDLE_HEADERS = frozenset({b"host", b"content-type", b"accept", b"accept-encoding", b"user-agent"})
_NAME = rb"([A-Za-z0-9._~-]+)"
_REQUEST_LINE = re.compile(
    rb"POST /api/v1/(?:queues/"
    + _NAME
    + rb"/events|functions/"
    + _NAME
    + rb"/invocations) HTTP/1\.1"
)
_BEGIN = b"POST /api/v1/"


@dataclass(frozen=True, slots=True)
class QuickRequest:
    """One usual request: events for a queue or one for a function, and whether the connection closes after the answer."""

    queue: str | None
    function: str | None
    body: bytes
    closes: bool


def read_quickly(data: bytes, body_max_bytes: int = BODY_MAX_BYTES) -> QuickRequest | None:
    """Read one complete request that is a usual one and nothing else; None for all others."""
    if not data.startswith(_BEGIN):
        return None
    head, end, body = data.partition(b"\r\n\r\n")
    if not end or len(head) > _HEAD_MAX_BYTES or len(body) > body_max_bytes:
        return None
    read = _read_head(head)
    if read is None or read[2] != len(body):
        return None
    return QuickRequest(read[0], read[1], body, read[3])


@functools.lru_cache(maxsize=256)  # Senders repeat themselves.
def _read_head(head: bytes) -> tuple[str | None, str | None, int, bool] | None:
    """Return queue or function, length of the body, and whether the connection closes; None for the long way."""
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
    queue, function = (None if one is None else one.decode("ascii") for one in asked.groups())
    return None if length is None else (queue, function, length, closes)


def as_bytes(response: Response) -> bytes:
    """Return an answer as it goes over the wire."""
    headers = b"".join([b"%b: %b\r\n" % pair for pair in response.raw_headers])
    return b"%b%b\r\n%b" % (_status_line(response.status_code), headers, bytes(response.body))


@functools.cache
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode("ascii")
