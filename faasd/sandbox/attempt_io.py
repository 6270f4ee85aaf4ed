"""What goes in and out of one sandbox: its channel, its two output pipes, the status of its end.

Everything that comes out is hostile: frames are bounded and checked, reading never waits, and garbage ends
up as `broken_protocol`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from faasd import wire
from faasd.clock import Clock
from faasd.errors import FaasdError, WireError
from faasd.interfaces import AttemptServices
from faasd.model.attempt import Attempt, OutputLine
from faasd.model.event import decode_json
from faasd.sandbox import policy
from faasd.sandbox.masking import Masker
from faasd.sandbox.output import FAR_OVER, Output

__all__ = ["AttemptIo"]

_READ_BYTES = 65536
#: Requests of one sandbox that are served at once; with more, its channel is not read on.
_REQUESTS_MAX = 16


class AttemptIo:
    """The daemon's ends of one sandbox's descriptors, and what has come out of them so far."""

    def __init__(
        self,
        attempt: Attempt,
        services: AttemptServices,
        clock: Clock,
        on_breach: Callable[[str], None],
        masker: Masker | None = None,
    ) -> None:
        self.report: dict[str, Any] | None = None
        self.result_json: str | None = None
        self.broken_protocol: str | None = None
        self.command_output = bytearray()
        self.command_output_is_cut = False
        self.last_error_line = ""
        self._attempt = attempt
        self._services = services
        self._clock = clock
        self._on_breach = on_breach
        self._limits = attempt.function.limits
        self._is_command = attempt.function.handler is None
        self._command_bytes = 0
        self.output = Output(self._limits, clock, self._take_lines, masker)
        self._loop = asyncio.get_running_loop()
        self._frames = wire.FrameReader(policy.frame_bytes_max(attempt.function))
        self._awaits_result = False
        self._progress: dict[str, Any] | None = None
        self._is_reading_channel = False
        self._outbox = bytearray()
        self._requests: set[asyncio.Task[None]] = set()
        self._channel, channel = socket.socketpair()
        self._channel.setblocking(False)
        self._pipes: dict[int, str] = {}
        self.child_fds = [channel.detach()]
        for name in ("stdout", "stderr", "status"):
            read, write = os.pipe()
            os.set_blocking(read, False)
            self._pipes[read] = name
            self.child_fds.append(write)
        self._status_fd = read

    def close_child_fds(self) -> None:
        """Close the sandbox's ends, once it has them."""
        while self.child_fds:
            os.close(self.child_fds.pop())

    def begin(self, *frames: bytes) -> None:
        """Send the first frames and start to read."""
        for fd, name in self._pipes.items():
            if name != "status":
                self._loop.add_reader(fd, self._read_pipe, fd)
        self._resume_channel()
        for frame in frames:
            self._write(frame)

    def finish(self) -> int | None:
        """Take what is left, without waiting, and return the handler's wait status if it was told.

        For after the tree is gone: what it wrote is in the pipes' buffers, and a stray holder of their
        other ends cannot delay us.
        """
        for fd, name in list(self._pipes.items()):
            while name != "status" and fd in self._pipes and self._read_pipe(fd):
                pass
        while self._is_reading_channel and self._read_channel():
            pass
        self.output.finish()
        status = None
        with contextlib.suppress(BlockingIOError, ValueError):
            status = int(os.read(self._status_fd, 16) or b"none")
        if self._frames.is_within_frame or self._awaits_result:
            self.broken_protocol = self.broken_protocol or "its last frame is incomplete"
        return status

    async def close(self) -> None:
        """Close every descriptor; requests that wait for another function are let go of."""
        self.close_child_fds()
        self._stop_channel()
        if self._outbox:
            self._loop.remove_writer(self._channel.fileno())
        self._channel.close()
        for fd in list(self._pipes):
            self._close_pipe(fd)
        for task in self._requests:
            task.cancel()
        if self._requests:
            await asyncio.gather(*self._requests, return_exceptions=True)

    def _take_lines(self, lines: Sequence[OutputLine]) -> None:
        for line in lines:
            if line.stream == "stderr" and line.text.strip():
                self.last_error_line = line.text
        self._services.output(self._attempt, lines)

    # Pipes.

    def _read_pipe(self, fd: int) -> bool:
        """Read once; False when nothing is there, now or for ever."""
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._close_pipe(fd)
            return False
        if self._is_command and self._pipes[fd] == "stdout":
            self._take_command_output(data)
        else:
            self.output.feed(self._pipes[fd], data)
            self._check_output()
        return True

    def _take_command_output(self, data: bytes) -> None:
        limit = self._limits.payload_limit_bytes
        self.command_output += data[: limit - len(self.command_output)]
        self._command_bytes += len(data)
        self.command_output_is_cut = self._command_bytes > limit
        if self._command_bytes > FAR_OVER * max(limit, self._limits.output_limit_bytes):
            self._on_breach("output-limit")

    def _check_output(self) -> None:
        if self.output.is_far_over:
            self._on_breach("output-limit")

    def _close_pipe(self, fd: int) -> None:
        if self._pipes.pop(fd) != "status":
            self._loop.remove_reader(fd)
        os.close(fd)

    # The channel.

    def _resume_channel(self) -> None:
        if not self._is_reading_channel:
            self._is_reading_channel = True
            self._loop.add_reader(self._channel.fileno(), self._read_channel)

    def _stop_channel(self) -> None:
        if self._is_reading_channel:
            self._is_reading_channel = False
            self._loop.remove_reader(self._channel.fileno())

    def _read_channel(self) -> bool:
        """Read once; False when nothing is there, now or for ever."""
        try:
            data = self._channel.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self._stop_channel()
            return False
        try:
            for text in self._frames.feed(data):
                self._take_frame(text)
            if self._progress is not None:
                self._services.progress(self._attempt, self._progress)
                self._progress = None
        except (WireError, KeyError, ValueError, TypeError, RecursionError) as error:
            self.broken_protocol = str(error)
            self._stop_channel()  # It has nothing more to say that we would believe.
            self._on_breach("crashed")
            return False
        return True

    def _take_frame(self, text: bytes) -> None:
        if self._awaits_result:
            result = text.decode()
            decode_json(result)
            self.result_json = result
            self._awaits_result = False
            return
        if self.report is not None:
            raise WireError("a frame came after the report")
        frame = wire.decode(text)
        op = frame.pop("op", None)
        if op == "log":
            at, now = float(frame["at"]), self._clock.now()
            at = at if 0 <= at <= now else now
            self.output.record(at, str(frame["level"])[:50], str(frame["text"]))
            self._check_output()
        elif op == "progress":
            self._progress = (
                frame  # Only the last value is kept, so only the last one is handed on.
            )
        elif op in ("enqueue", "invoke"):
            self._serve(op, frame)
        elif op in ("result", "error", "exit", "init-error", "failed"):
            self.report = {**frame, "op": op}
            self._awaits_result = op == "result"
        else:
            raise WireError(f"a frame says {str(op)[:50]!r}")

    def _serve(self, op: str, request: dict[str, Any]) -> None:
        task = self._loop.create_task(self._reply(op, request))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
        if len(self._requests) >= _REQUESTS_MAX:
            self._stop_channel()

    async def _reply(self, op: str, request: dict[str, Any]) -> None:
        serve = self._services.enqueue if op == "enqueue" else self._services.invoke
        try:
            reply = await serve(self._attempt, request)
        except FaasdError as error:
            reply = {"error": {"type": type(error).__name__, "message": str(error)}}
        except Exception as error:  # noqa: BLE001 - a request's boundary: the handler waits for an answer.
            told = {"message": f"context.{op} failed", "exception": error}
            self._loop.call_exception_handler(told)
            reply = {"error": {"type": "InternalError", "message": f"the daemon failed to {op}"}}
        if self._channel.fileno() >= 0:
            self._write(wire.encode(reply))
            if self.broken_protocol is None:
                self._resume_channel()

    def _write(self, data: bytes) -> None:
        """Send, now or as soon as the sandbox reads; a sandbox that has gone is no error."""
        if not self._outbox:
            with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                data = data[self._channel.send(data) :]
        if data:
            if not self._outbox:
                self._loop.add_writer(self._channel.fileno(), self._flush)
            self._outbox += data

    def _flush(self) -> None:
        try:
            sent = self._channel.send(self._outbox)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            sent = len(self._outbox)  # It has gone; its pidfd tells the rest.
        del self._outbox[:sent]
        if not self._outbox:
            self._loop.remove_writer(self._channel.fileno())
