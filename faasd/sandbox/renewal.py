"""The daemon's end of what a sandbox's first process hears and tells, where that forks a handler's process for each attempt.

What it tells is as hostile as all that comes out of a sandbox: it is one short message for each attempt, of three numbers
within bounds. It decides what the record of an attempt says was used, and whether the sandbox may have another one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

from faasd import wire
from faasd.sandbox.classify import status_from
from faasd.sandbox.readers import Readers

__all__ = ["HandlerEnd", "Renewal"]

_MESSAGE_BYTES_MAX = 64
_DIGITS_MAX = 18
#: How long a handler's process may take to end after its report, and its first process to make everything as new.
#: Until then it is bounded by what the attempt was, but for its time limit.
_PATIENCE_S = 0.5
#: So that nothing which nobody has thought of can heap up in a first process.
_ATTEMPTS_MAX = 1000


class HandlerEnd(NamedTuple):
    """How a handler's process ended."""

    status: int | None
    cpu_s: float  # Of all that the sandbox has ever run.
    is_renewed: bool  # Everything is as new, and its first process waits.


class Renewal:
    """One sandbox's. `on_breach` hears when it tells what nobody waited for, or has gone."""

    def __init__(self, readers: Readers, on_breach: Callable[[], None]) -> None:
        self.on_end: Callable[[], None] | None = None  # The attempt's, while one runs.
        self.end: HandlerEnd | None = None  # Of the handler's process that was forked last.
        self._attempts = 1
        self._is_unfit = False  # We hear of nothing any more.
        self._heard: asyncio.Future[None] | None = None
        self._readers = readers
        self._on_breach = on_breach
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self.child_fd = theirs.detach()  # The sandbox's end, which is the taker's to close.

    @property
    def is_worn(self) -> bool:
        """Whether it has had as many attempts as one may have, or said what nobody had asked for."""
        return self._is_unfit or self._attempts >= _ATTEMPTS_MAX

    def listen(self) -> None:
        """Begin to hear of ends."""
        self._readers.add(self._socket.fileno(), self._take)

    def stop_listening(self) -> None:
        """Hear of nothing more; what has come is taken by `status`."""
        self._readers.remove(self._socket.fileno())

    def begin(self, fds: Sequence[int], *, is_awaited: bool) -> bool:
        """Have it fork a handler's process with this channel and these pipes; False when it has gone."""
        self.end = None
        self._attempts += 1
        try:
            socket.send_fds(self._socket, [wire.BEGIN if is_awaited else wire.REHEARSE], fds)
        except OSError:
            return False
        return True

    async def has_renewed(self, stop: asyncio.Future[None]) -> bool:
        """Wait until its first process has made everything as new after a report; False when it cannot, or does not.

        Also False with `stop`, which is done when the attempt is to be ended at once: its handler's process may
        go on after its report as long as we wait.
        """
        if self.end is None and not stop.done() and not self._is_unfit:
            loop = asyncio.get_running_loop()
            self._heard = loop.create_future()
            patience = loop.call_later(_PATIENCE_S, self._hear)
            stop.add_done_callback(self._hear)
            try:
                await self._heard
            finally:
                stop.remove_done_callback(self._hear)
                patience.cancel()
                self._heard = None
        return self.end is not None and self.end.is_renewed and not self._is_unfit

    def status(self) -> int | None:
        """Return the handler's wait status, if it was told."""
        if self.end is None:
            self._receive()
        return self.end.status if self.end is not None else None

    def close(self) -> None:
        """Let go of it; again does nothing."""
        if self._socket.fileno() >= 0:
            self.stop_listening()
            self._socket.close()
        self._on_breach = _nothing  # It leads back to us.

    def _take(self, _fd: int) -> None:
        is_asked = self.end is None and self._receive()
        if not is_asked:
            self._is_unfit = True  # It has gone, or speaks unasked.
            self.stop_listening()
        if self._heard is not None:
            self._hear()
        elif is_asked and self.on_end is not None:
            self.on_end()
        else:
            self._on_breach()

    def _hear(self, _: object = None) -> None:
        if self._heard is not None and not self._heard.done():
            self._heard.set_result(None)

    def _receive(self) -> bool:
        try:
            text = self._socket.recv(_MESSAGE_BYTES_MAX)
        except OSError:
            return False
        fields = text.split(b" ")
        if len(fields) != 3 or not all(one.isdigit() and len(one) <= _DIGITS_MAX for one in fields):
            return False
        self.end = HandlerEnd(status_from(fields[0]), int(fields[1]) / 1e6, fields[2] == b"1")
        return True


def _nothing() -> None: ...
