"""What one attempt says and is told: the frames of its sandbox's channel, and what it prints.

Everything that comes out is hostile: frames are bounded and checked, reading never waits, and garbage ends
up as `broken_protocol`. What comes too fast is read slower: a channel rests in proportion to the time that it
has cost us, and is not read on while answers wait to be fetched; the sandbox then waits in its own `send`.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from faasd import wire
from faasd.clock import Clock
from faasd.errors import FaasdError, WireError
from faasd.interfaces import AttemptServices
from faasd.model.attempt import Attempt, OutputLine
from faasd.model.context import PROGRESS_BYTES_MAX
from faasd.model.event import decode_json
from faasd.sandbox.masking import Masker
from faasd.sandbox.output import FAR_OVER, Output
from faasd.sandbox.sandbox_io import SandboxIo

__all__ = ["AttemptIo"]

_READ_BYTES = 65536
#: While each line is kept: it may be all newlines, and each of them is work.
_LINES_READ_BYTES = 8192
#: Requests of one sandbox that are served at once; with more, its channel is not read on.
_REQUESTS_MAX = 16
_ERROR_LINES_KEPT = 20
#: Answers that the sandbox has not fetched; with more, no new request is taken.
_OUTBOX_BYTES_MAX = 2**20
#: How long a channel rests for each second that we have worked for it, how often, and in which portions.
_REST_FACTOR = 4
_REST_AFTER_S = 0.002
_FRAMES_AT_ONCE = 100
#: Reads of a channel in one look, which are more than a socket holds.
_LOOKS_MAX = 16


class AttemptIo:
    """What has come out of a sandbox in one attempt so far. `on_report` hears of its end."""

    def __init__(
        self,
        attempt: Attempt,
        services: AttemptServices,
        clock: Clock,
        io: SandboxIo,
        *,
        on_breach: Callable[[str], None],
        on_report: Callable[[], None],
        masker: Masker | None = None,
        others_follow: bool = False,
    ) -> None:
        """With `others_follow`, what comes after its report is the next attempt's, and is left alone."""
        self.report: dict[str, Any] | None = None
        self.result_json: str | None = None
        self.broken_protocol: str | None = None
        self.command_output = bytearray()
        self.command_output_is_cut = False
        self.error_lines: deque[str] = deque(maxlen=_ERROR_LINES_KEPT)
        self._attempt = attempt
        self._services = services
        self._clock = clock
        self._io = io
        self._on_breach = on_breach
        self._on_report = on_report
        self._limits = attempt.function.limits
        self._is_command = attempt.function.handler is None
        self._others_follow = others_follow
        self._command_bytes = 0
        self.output = Output(self._limits, clock, self._take_lines, masker)
        self._loop = asyncio.get_running_loop()
        self._frames = io.frames
        self._awaits_result = False
        self._progress: dict[str, Any] | None = None
        self._texts: deque[bytes] = deque()  # Frames that have come and are not taken yet.
        self._is_finishing = False  # Nobody is left to be answered.
        self._has_replied = False
        self._was_reset = False
        self._is_over = False  # The channel has ended, or is broken.
        self._cost_s = 0.0  # What the channel has cost since its last rest.
        self._rest: asyncio.Handle | None = None
        self._requests: set[asyncio.Task[None]] = set()

    @property
    def has_reported(self) -> bool:
        """Whether its report is complete, and nothing came after it."""
        is_last = not self._texts and not self._frames.is_within_frame
        return (
            self._is_complete and self.broken_protocol is None and (is_last or self._others_follow)
        )

    @property
    def _is_complete(self) -> bool:
        return self.report is not None and not self._awaits_result

    @property
    def is_quiet(self) -> bool:
        """Whether nothing that it has asked for is on its way."""
        return not self._requests and not self._io.unsent_bytes

    def begin(self, request: bytes) -> bool:
        """Send the first frames and take what comes from now on; False when the sandbox has gone."""
        self._io.taker = self
        self._io.when_fetched(self._settle_reading)
        self._settle_reading()
        return self._io.write(request)

    def take_over(self, texts: Sequence[bytes], *, was_reset: bool) -> None:
        """Take what comes from now on in an attempt that was begun before, and these frames, which have come already."""
        self._texts += texts
        self._was_reset = was_reset
        self._io.taker = self
        self._io.when_fetched(self._settle_reading)
        self._settle_reading()

    def untaken(self) -> list[bytes]:
        """Return the frames that have come after its report."""
        return list(self._texts)

    def was_unheard(self) -> bool:
        """Whether the sandbox, which is gone, never read all of the event, so that no handler can have seen it."""
        self._finish_channel()
        return self._was_reset and self.report is None

    def look(self) -> None:
        """Take what has come by now: so that an end which we have not heard of yet counts."""
        if self._io.taker is not self:
            return
        for _ in range(_LOOKS_MAX):  # A result may be larger than one read.
            if not self._receive():
                break
            self._take_frames()
            if self._is_complete:
                break
        self._settle_reading()
        self._tell_of_report()

    def finish(self) -> int | None:
        """Take what is left, without waiting, and return the handler's wait status if it was told.

        For after the tree is gone: what it wrote is in the pipes' buffers, and a stray holder of their
        other ends cannot delay us.
        """
        self._drain(self._io.readable())
        self._finish_channel()
        self.output.finish()
        if self._frames.is_within_frame or self._awaits_result:
            self.broken_protocol = self.broken_protocol or "its last frame is incomplete"
        return self._io.status()

    def finish_warm(self, readable: Sequence[int]) -> None:
        """Take what was printed before the report; the sandbox lives on."""
        if not self._others_follow:  # Else it waited until we had all, and this is the next one's.
            self._drain(readable)
        self.output.finish()

    async def close(self) -> None:
        """Let go of the sandbox; requests that wait for another function are let go of."""
        self._is_over = True
        if self._rest is not None:
            self._rest.cancel()
        if self._io.taker is self:
            self._io.taker = None
            self._io.when_fetched(None)
        for task in self._requests:
            task.cancel()
        if self._requests:
            await asyncio.gather(*self._requests, return_exceptions=True)
        # Else we would lead to each other in a ring, which only a collection takes apart.
        self._on_breach = self._on_report = _nothing
        self.output.close()

    def _take_lines(self, lines: Sequence[OutputLine]) -> None:
        for line in lines:
            if line.stream == "stderr" and line.text.strip():
                self.error_lines.append(line.text)
        self._services.output(self._attempt, lines)

    # Pipes.

    def read_pipe(self, fd: int) -> bool:
        """Read once; False when nothing is there, now or for ever."""
        if self._others_follow and not self._is_finishing:
            self.read_channel()  # Its report was sent before the next one printed anything.
            if self._is_complete:
                return False
        try:
            data = os.read(fd, _READ_BYTES if self.output.is_truncated else _LINES_READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._io.close_pipe(fd)
            return False
        stream = self._io.pipes[fd]
        if self._is_command and stream == "stdout":
            self._take_command_output(data)
        else:
            self.output.feed(stream, data)
            self._check_output()
        return True

    def _drain(self, readable: Sequence[int]) -> None:
        for fd in readable:
            while fd in self._io.pipes and self.read_pipe(fd):
                pass

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

    # The channel.

    def _settle_reading(self) -> None:
        """Go on with the channel, let it rest, or wait for answers to be given and fetched."""
        is_busy = len(self._requests) >= _REQUESTS_MAX or self._io.unsent_bytes > _OUTBOX_BYTES_MAX
        is_left = self._others_follow and self._is_complete
        if self._is_over or self._is_finishing or is_busy or is_left or self._rest is not None:
            self._io.pause()
        elif self._cost_s > _REST_AFTER_S:
            self._io.pause()
            rest_s, self._cost_s = self._cost_s * _REST_FACTOR, 0.0
            self._rest = self._loop.call_later(rest_s, self._end_rest)
        elif self._texts:
            self._io.pause()
            self._rest = self._loop.call_soon(self._end_rest)
        else:
            self._io.resume()

    def _end_rest(self) -> None:
        self._rest = None
        self._take_frames()
        self._settle_reading()
        self._tell_of_report()

    def _stop_channel(self) -> None:
        self._io.pause()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _finish_channel(self) -> None:
        """Take what has come before the end. Who asked for something then is gone, so nobody is answered."""
        self._stop_channel()
        self._is_finishing = True
        while not self._is_over:
            self._take_frames()
            if not self._texts and not self._receive():
                break

    def read_channel(self) -> None:
        """Read once, and take what is complete."""
        if self._receive():
            self._take_frames()
        self._settle_reading()
        self._tell_of_report()

    def _tell_of_report(self) -> None:
        if self.report is not None and self.has_reported:
            self._on_report()

    def _receive(self) -> bool:
        """Read once; False when nothing is there, now or for ever."""
        began = self._clock.monotonic()
        try:
            data = self._io.channel.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            data = b""
            # The kernel says so when it ended with something unread, which can only be the event.
            self._was_reset = error.errno == errno.ECONNRESET and not self._has_replied
        if not data:
            self._is_over = True
            return False
        try:
            self._texts += self._frames.feed(data)
        except WireError as error:
            if self._others_follow:  # It may be the next one's.
                self._texts += [*self._frames.before_error, b""]
            else:
                self._break(error)
        self._cost_s += self._clock.monotonic() - began
        return True

    def _take_frames(self) -> None:
        """Take some of the frames that have come, at most until there is something to wait for."""
        began = self._clock.monotonic()
        try:
            for _ in range(min(len(self._texts), _FRAMES_AT_ONCE)):
                if len(self._requests) >= _REQUESTS_MAX and not self._is_finishing:
                    break
                if self._others_follow and self._is_complete:
                    break
                self._take_frame(self._texts.popleft())
            if self._progress is not None:
                self._services.progress(self._attempt, self._progress)
                self._progress = None
        except (
            WireError,
            KeyError,
            ValueError,
            TypeError,
            ArithmeticError,
            RecursionError,
        ) as error:
            self._break(error)
        self._cost_s += self._clock.monotonic() - began

    def _break(self, error: Exception) -> None:
        self.broken_protocol = str(error) or type(error).__name__
        self._is_over = True  # It has nothing more to say that we would believe.
        self._texts.clear()
        self._on_breach("crashed")

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
            # Only the last value is kept, so only the last one is handed on.
            self._progress = frame if len(text) <= PROGRESS_BYTES_MAX + 100 else None
        elif op in ("enqueue", "invoke"):
            self._serve(op, frame)
        elif op in ("result", "error", "exit", "init-error", "failed"):
            self.report = {**frame, "op": op}
            self._awaits_result = op == "result"
        else:
            raise WireError(f"a frame says {str(op)[:50]!r}")

    def _serve(self, op: str, request: dict[str, Any]) -> None:
        if self._is_finishing:
            return
        task = self._loop.create_task(self._reply(op, request))
        self._requests.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._requests.discard(task)
        self._settle_reading()

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
        self._has_replied = True
        if not self._is_over:
            self._io.write(wire.encode(reply))


def _nothing(_: object = None) -> None: ...
