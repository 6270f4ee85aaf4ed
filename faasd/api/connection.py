"""One connection: who is at its other end, and the short way of usual requests beside uvicorn's own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from faasd.api.access import Peer, peer_of
from faasd.api.quick_enqueue import EnqueueDesk
from faasd.api.quick_http import BODY_MAX_BYTES, Answer, QuickRequest, read_quickly
from faasd.api.quick_invoke import InvokeDesk

__all__ = ["PEER", "Connection", "Desks"]

#: Where a request's scope names who is at the other end.
PEER = "faasd.peer"
#: Beyond these, connections are told to come back; descriptors are needed for sandboxes too.
_CONNECTIONS_MAX = 512
#: So much may come behind a request that is not answered yet before no more is read.
_HELD_MAX_BYTES = 64 * 2**10


class Desks:
    """Where usual requests are answered."""

    def __init__(self, enqueues: EnqueueDesk, invokes: InvokeDesk, body_limit_bytes: int) -> None:
        self._enqueues = enqueues
        self._invokes = invokes
        self.body_max_bytes = min(body_limit_bytes, BODY_MAX_BYTES)

    def take(self, request: QuickRequest, peer: Peer, answer: Answer) -> asyncio.Task[None] | None:
        """Answer a request some time later; returns what to cancel when its sender goes away, if anything."""
        if request.function is not None:
            return self._invokes.take(request, peer.who, answer)
        self._enqueues.take(request, answer)
        return None


class Connection(HttpToolsProtocol):
    """Notes the peer in each request's scope, and hands usual requests to the desks."""

    def __init__(self, desks: Desks, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._desks = desks
        self._work: asyncio.Task[None] | None = None  # For the request that is at the desk.
        self._peer: Peer | None = None
        self._in_message = False  # The parser has begun a request and not ended it.
        self._quick: QuickRequest | None = None  # At the desk.
        self._held = b""  # What came behind it.
        self._leaves = False
        self._used_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel who it is; one connection too many is told so."""
        connection = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # Gone already: an unknown peer may nearly nothing.
            self._peer = peer_of(connection)
        super().connection_made(transport)
        if len(self.connections) > _CONNECTIONS_MAX:
            transport.write(_BUSY)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of what only this client waits for."""
        super().connection_lost(exc)
        if self._work is not None:
            self._work.cancel()

    def data_received(self, data: bytes) -> None:
        """Take the short way where it can be taken."""
        if self._quick is not None:
            self._hold(data)
            return
        if not self._in_message and self._peer is not None and self._is_answered():
            request = read_quickly(data, self._desks.body_max_bytes)
            if request is not None:
                self._quick = request
                self._work = self._desks.take(request, self._peer, self._answer)
                if self._work is not None:  # It may take longer than a connection may be idle.
                    self._unset_keepalive_if_required()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """The parser has met the first byte of a request."""
        self._in_message = True
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope[PEER] = self._peer

    def on_message_complete(self) -> None:
        """The parser has met the last byte of a request."""
        self._in_message = False
        super().on_message_complete()

    def shutdown(self) -> None:
        """Close as soon as nothing is left to answer."""
        if self._quick is None:
            super().shutdown()
        else:
            self._leaves = True

    def _is_answered(self) -> bool:
        """Whether every request of uvicorn's own way has its answer, so that ours is the next."""
        if self.transport.is_closing():
            return False
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request.
        return cycle is None or (cycle.response_complete and not self.pipeline)

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > _HELD_MAX_BYTES:
            self.flow.pause_reading()

    def _answer(self, answer: bytes) -> None:
        request, self._quick, self._work = self._quick, None, None
        held, self._held = self._held, b""
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        if self._leaves or request is None or request.closes:
            self.transport.close()
            return
        self.flow.resume_reading()
        self._used_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._close_when_idle(self.timeout_keep_alive)
        if held:
            self.data_received(held)

    def _close_when_idle(self, after_s: float) -> None:
        """One timer for a connection, not one for each request: it looks again when it comes too early."""
        self.timeout_keep_alive_task = self.loop.call_later(after_s, self._look_if_idle)

    def _look_if_idle(self) -> None:
        self.timeout_keep_alive_task = None
        if self._quick is not None or not self._is_answered():
            return  # Its answer begins a timer anew.
        left_s = self._used_at + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._close_when_idle(left_s)
        else:
            self.transport.close()


_BUSY_BODY = (
    b'{"error":{"kind":"not-accepting","message":"the daemon has too many connections; try again"}}'
)
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
) % (len(_BUSY_BODY), _BUSY_BODY)
