"""Callers on a Unix socket: the same few lines of HTTP/1.1 against our daemon and against a peer's server.

Connections are kept open and each has one request on its way, so the callers cost as little as they can.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

from benchmarks.model import CouldNotMeasure

__all__ = ["latencies_s", "request_bytes", "seconds_for"]

_ANSWER_S = 120.0


def request_bytes(method: str, path: str, body: bytes = b"") -> bytes:
    """Return one request as it goes over the wire."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


def latencies_s(path: str, request: bytes, count: int, pause_s: float = 0.0) -> list[float]:
    """Send requests one after the other on one connection; returns how long each answer took.

    After each answer the caller waits for `pause_s` before it sends again.
    """
    found = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_S)
        connection.connect(path)
        for _ in range(count):
            began = time.perf_counter()
            connection.sendall(request)
            answer = connection.recv(65536)
            while not _is_whole(answer):
                more = connection.recv(65536)
                if not more:
                    raise CouldNotMeasure(f"the server closed the connection: {answer[:200]!r}")
                answer += more
            found.append(time.perf_counter() - began)
            _check(answer)
            if pause_s:
                time.sleep(pause_s)
    return found


def seconds_for(path: str, request: bytes, count: int, callers: int) -> float:
    """Send requests from many callers at once, each waiting for its answer; returns the wall time of all."""
    return asyncio.run(_call_all(path, request, count, callers))


async def _call_all(path: str, request: bytes, count: int, callers: int) -> float:
    loop = asyncio.get_running_loop()
    to_send = iter(range(count))
    done: asyncio.Future[None] = loop.create_future()
    state = _State(count, done)
    protocols = []
    for _ in range(callers):
        _, protocol = await loop.create_unix_connection(
            lambda: _Caller(request, to_send, state), path
        )
        protocols.append(protocol)
    began = time.perf_counter()
    for protocol in protocols:
        protocol.send_next()
    try:
        await asyncio.wait_for(done, _ANSWER_S)
    finally:
        for protocol in protocols:
            protocol.close()
    return time.perf_counter() - began


class _State:
    """How many answers are still to come."""

    def __init__(self, count: int, done: asyncio.Future[None]) -> None:
        self.left = count
        self.done = done

    def fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(CouldNotMeasure(why))


class _Caller(asyncio.Protocol):
    """One connection: sends, waits for the answer, sends again."""

    def __init__(self, request: bytes, to_send: Iterator[int], state: _State) -> None:
        self._request = request
        self._to_send = to_send
        self._state = state
        self._answer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send_next(self) -> None:
        """Send one more, unless all are sent."""
        if next(self._to_send, None) is not None:
            assert self._transport is not None
            self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not _is_whole(self._answer):
            return
        answer, self._answer = self._answer, b""
        try:
            _check(answer)
        except CouldNotMeasure as error:
            self._state.fail(str(error))
            return
        self._state.left -= 1
        if self._state.left == 0 and not self._state.done.done():
            self._state.done.set_result(None)
        self.send_next()

    def connection_lost(self, error: Exception | None) -> None:
        if self._state.left:
            self._state.fail(f"the server closed a connection: {error}")

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


def _is_whole(answer: bytes) -> bool:
    """Whether head and body are there. The length is given by every server here."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    raise CouldNotMeasure(f"an answer without a length: {head[:200]!r}")


def _check(answer: bytes) -> None:
    """Raise CouldNotMeasure for an answer that is no success: it is no measurement either."""
    status = answer[9:12]
    if not status.startswith(b"2"):
        raise CouldNotMeasure(f"the server answered {answer[:300]!r}")
