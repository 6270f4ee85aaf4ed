"""The daemon's ends of one sandbox's descriptors: its channel, its two output pipes, the status of its end.

They last as long as the sandbox; attempts come and go. What comes while no attempt runs is nobody's: output
is dropped, within bounds, and a frame means that the sandbox is not to be trusted with another attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import Callable
from typing import Protocol

from faasd import wire
from faasd.sandbox.classify import status_from
from faasd.sandbox.readers import Readers
from faasd.sandbox.renewal import Renewal

__all__ = ["SandboxIo", "Taker"]

_READ_BYTES = 65536
#: What threads that outlived their attempt may print before the next one begins.
_IDLE_BYTES_MAX = 2**20


class Taker(Protocol):
    """The attempt that runs: takes what comes out of its sandbox."""

    def read_pipe(self, fd: int) -> bool:
        """Read once from an output pipe; False when nothing is there."""

    def read_channel(self) -> None:
        """Read once from the channel."""


class SandboxIo:
    """Descriptors and their readers; `on_idle_breach` hears of what nobody may say while no attempt runs."""

    def __init__(
        self,
        frame_bytes_max: int,
        readers: Readers,
        on_idle_breach: Callable[[], None],
        renewal: Renewal | None = None,
    ) -> None:
        """With `renewal` that has the status, and not a pipe."""
        self.frames = wire.FrameReader(frame_bytes_max)
        self.taker: Taker | None = None
        self._on_idle_breach = on_idle_breach
        self._readers = readers
        self._loop = asyncio.get_running_loop()
        self._idle_bytes = 0
        self._is_reading = False
        self._outbox = bytearray()
        self._on_fetched: Callable[[], None] | None = None
        self._readable = select.poll()
        self.channel, channel = socket.socketpair()
        self.channel.setblocking(False)
        self.pipes: dict[int, str] = {}
        self.child_fds = [channel.detach()]
        self._renewal = renewal
        for name in ("stdout", "stderr", *(("status",) if renewal is None else ())):
            read, write = os.pipe()
            os.set_blocking(read, False)
            self.pipes[read] = name
            self.child_fds.append(write)
            if name != "status":
                self._readable.register(read, select.POLLIN)
        self._status_fd = read

    def close_child_fds(self) -> None:
        """Close the sandbox's ends, once it has them."""
        while self.child_fds:
            os.close(self.child_fds.pop())

    def give_pipes_to(self, uid: int, gid: int) -> None:
        """Let another user open his output by name, as a shell's `>/dev/stderr` does. Raises OSError."""
        for fd in self.child_fds[1:]:
            os.fchown(fd, uid, gid)

    def listen(self) -> None:
        """Begin to read, for whichever attempt runs."""
        for fd, name in self.pipes.items():
            if name != "status":
                self._readers.add(fd, self._on_pipe)
        self.resume()

    def stop_listening(self) -> None:
        """Leave in pipes and channel what comes, for whoever reads them when nothing of the sandbox is left."""
        self.pause()
        for fd in self.pipes:
            self._readers.remove(fd)
        if self._renewal is not None:
            self._renewal.stop_listening()

    def resume(self) -> None:
        """Read the channel."""
        if not self._is_reading and self.channel.fileno() >= 0:
            self._is_reading = True
            self._readers.add(self.channel.fileno(), self._on_channel)

    def pause(self) -> None:
        """Leave in the channel what comes."""
        if self._is_reading:
            self._is_reading = False
            self._readers.remove(self.channel.fileno())

    def readable(self) -> list[int]:
        """Return which output pipes, and which other descriptor, hold something at this moment."""
        return [fd for fd, _ in self._readable.poll(0)]

    def look_at(self, fd: int) -> None:
        """Have `readable` look at one more descriptor, which stays its owner's."""
        self._readable.register(fd, select.POLLIN)

    def write(self, data: bytes) -> bool:
        """Send, now or as soon as the sandbox reads; False when it has gone."""
        if not self._outbox:
            try:
                data = data[self.channel.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                return False
        if data:
            if not self._outbox:
                self._loop.add_writer(self.channel.fileno(), self._flush)
            self._outbox += data
        return True

    def say_no_more(self) -> None:
        """Let a sandbox that has reported hear that nothing follows, for which its handler's process may wait."""
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_WR)

    @property
    def unsent_bytes(self) -> int:
        """How much the sandbox has not fetched yet."""
        return len(self._outbox)

    def when_fetched(self, call: Callable[[], None] | None) -> None:
        """Call this whenever all that was written has been fetched."""
        self._on_fetched = call

    def status(self) -> int | None:
        """Return the handler's wait status, if it was told."""
        if self._renewal is not None:
            return self._renewal.status()
        with contextlib.suppress(BlockingIOError):
            return status_from(os.read(self._status_fd, 16))
        return None

    def close_pipe(self, fd: int) -> None:
        """Let go of a pipe, which has ended."""
        if self.pipes.pop(fd) != "status":
            self._readable.unregister(fd)
            self._readers.remove(fd)
        os.close(fd)

    def close(self) -> None:
        """Close every descriptor."""
        self.close_child_fds()
        self.pause()
        if self._outbox:
            self._loop.remove_writer(self.channel.fileno())
            self._outbox.clear()
        self.channel.close()
        for fd in list(self.pipes):
            self.close_pipe(fd)
        self._on_idle_breach = _nothing  # It leads to its sandbox, which leads to us.

    def _on_pipe(self, fd: int) -> None:
        if self.taker is not None:
            self.taker.read_pipe(fd)
            return
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self.close_pipe(fd)
        self._idle_bytes += len(data)
        if self._idle_bytes > _IDLE_BYTES_MAX:
            self._on_idle_breach()

    def _on_channel(self, _fd: int) -> None:
        if self.taker is not None:
            self.taker.read_channel()
            return
        self.pause()
        self._on_idle_breach()  # It speaks unasked, or has ended.

    def _flush(self) -> None:
        try:
            sent = self.channel.send(self._outbox)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            sent = len(self._outbox)  # It has gone; its pidfd tells the rest.
        del self._outbox[:sent]
        if not self._outbox:
            self._loop.remove_writer(self.channel.fileno())
            if self._on_fetched is not None:
                self._on_fetched()


def _nothing() -> None: ...
