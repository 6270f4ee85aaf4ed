"""Several short attempts in one sandbox: sent together, run one after another, each judged by itself.

The sandbox does not wait for us between two of them, and we hear of many at once; that is most of what a
short attempt costs. As long as they return, one after another, and print nothing, their results are taken here.
Whatever else one does (prints, fails, asks, takes too long, dies) is a Supervision's to see to, as with
an attempt that was sent alone; so is the last of them, after which the sandbox is looked at for what they left.

Nobody is told of any before that look. What they used is shared among them: the processor time in equal parts,
the peak of memory as it was of all.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
from collections import deque
from collections.abc import Callable, Sequence

from faasd import wire
from faasd.clock import Clock
from faasd.errors import WireError
from faasd.model.attempt import Attempt
from faasd.model.event import decode_json
from faasd.model.outcome import Outcome, Usage
from faasd.sandbox.request import Begun, frames_of_many
from faasd.sandbox.sandbox import Sandbox
from faasd.sandbox.supervise import Supervision

__all__ = ["Burst", "may_burst"]

_READ_BYTES = 65536
#: The report before a result, as our own runtime writes it.
_RESULT = wire.encode({"op": "result"})[4:]
#: What the kernel hands to the sandbox in one piece. So when it dies, it has seen all of them or none.
_BYTES_MAX = 32 * 1024


def may_burst(sandbox: Sandbox) -> bool:
    """Whether this sandbox may be sent several attempts: only where the kernel alone keeps all limits but time."""
    function = sandbox.function
    is_watched = (
        sandbox.slot is None or sandbox.is_on_disk or function.limits.cpu_time_s is not None
    )
    return function.handler is not None and not is_watched and not function.permissions.secrets


class Burst:
    """Attempts of one function in one sandbox, which must be one that waits."""

    def __init__(
        self,
        attempts: Sequence[Attempt],
        sandbox: Sandbox,
        clock: Clock,
        supervise: Callable[[Attempt, Begun], Supervision],
    ) -> None:
        """`supervise` makes the supervision of one of them that has begun."""
        self.keeps_sandbox = False
        self.leaves_renewed = False  # Its sandboxes are warm.
        self._attempts = attempts
        self._sandbox = sandbox
        self._io = sandbox.io
        self._clock = clock
        self._supervise = supervise
        self._loop = asyncio.get_running_loop()
        self._timeout_s = attempts[0].function.limits.timeout_s
        self._stops: Sequence[asyncio.Future[str]] = ()
        self._count = 0  # How many were sent.
        self._outcomes: list[Outcome] = []
        self._returned: list[tuple[str, float]] = []  # Result and time of those not judged yet.
        self._began_at = 0.0  # When the one that runs now began, as far as we have heard.
        self._texts: deque[bytes] = deque()  # Frames that have come and are not taken yet.
        self._report: bytes | None = None  # The frame before the result that is awaited.
        self._was_reset = False
        self._is_oom = False
        self._timer: asyncio.TimerHandle | None = None
        self._turn: asyncio.Future[None] = self._loop.create_future()  # Done: not for us.

    async def run(self, stops: Sequence[asyncio.Future[str]]) -> list[Outcome]:
        """Run as many of them as begin, and say how each ended."""
        self._stops = stops
        try:
            if not self._begin():
                return []
            while len(self._outcomes) < self._count:
                self._look_at_time()
                self._advance()
                await self._turn
                if not await self._run_supervised():
                    break
        finally:
            self._let_go()
        return self._outcomes

    def _begin(self) -> bool:
        """Send them; False when nobody was there to take them."""
        sandbox = self._sandbox
        deadline_at = self._clock.now() + self._timeout_s
        frames = frames_of_many(self._attempts, sandbox, deadline_at, _BYTES_MAX)
        self._count = len(frames)
        if sandbox.served and sandbox.slot is not None:
            sandbox.slot.account.begin()
        sandbox.secrets = {}
        for _ in frames:
            sandbox.serve()
        self._began_at = self._clock.monotonic()
        self._listen()
        sandbox.gone.add_done_callback(self._on_gone)
        for stop in self._stops:
            stop.add_done_callback(self._on_stop)
        return self._io.write(b"".join(frames))

    async def _run_supervised(self) -> bool:
        """Hand the one that runs now to a supervision; False when the sandbox is not there for the next one."""
        place = len(self._outcomes) + len(self._returned)
        texts = [*([self._report] if self._report is not None else []), *self._texts]
        self._report = None
        begun = Begun(
            self._began_at,
            texts,
            is_first=place == 0,
            is_last=place == self._count - 1,
            was_reset=self._was_reset,
            is_oom=self._is_oom,
        )
        supervision = self._supervise(self._attempts[place], begun)
        outcome = await supervision.run(self._stops[place])
        if outcome is None:
            return False
        self.keeps_sandbox = supervision.keeps_sandbox
        self._judge(outcome)
        self._texts = deque(supervision.untaken())
        self._began_at = self._clock.monotonic()
        if self.keeps_sandbox and len(self._outcomes) < self._count:
            self._turn = self._loop.create_future()
            self._listen()
        return self.keeps_sandbox

    def _judge(self, last: Outcome) -> None:
        """Share what was measured since the last look among those that ran since."""
        usage = last.usage
        count = len(self._returned) + 1
        cpu_s = None if usage.cpu_s is None else usage.cpu_s / count
        missing = self._sandbox.missing_walls
        for result, wall_s in self._returned:
            shared = Usage(wall_s, cpu_s, usage.memory_peak_bytes)
            self._outcomes.append(Outcome("ok", result, usage=shared, degraded=missing))
        self._returned.clear()
        shared = dataclasses.replace(usage, cpu_s=cpu_s)
        self._outcomes.append(dataclasses.replace(last, usage=shared))

    # What comes while all goes well.

    def read_pipe(self, _fd: int) -> bool:
        """Leave it to the supervision of the one that printed, which is the one that has not reported."""
        self.read_channel()  # Who reported before it had printed nothing that we had not fetched.
        self._hand_over()
        return False

    def read_channel(self) -> None:
        """Read once, and take the results that are complete."""
        if self._turn.done():
            return
        try:
            data = self._io.channel.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            data = b""
            self._was_reset = error.errno == errno.ECONNRESET
        if not data:
            self._hand_over()
            return
        try:
            self._texts += self._io.frames.feed(data)
        except WireError:
            # What came before it is of those that ran before. Nothing is no frame either, as will be found.
            self._texts += [*self._io.frames.before_error, b""]
        self._advance()

    def _advance(self) -> None:
        """Take results from what has come, up to the first thing that is not ours to take."""
        before = len(self._returned)
        while not self._turn.done():
            place = len(self._outcomes) + len(self._returned)
            if place == self._count - 1 or self._stops[place].done():
                self._hand_over()
            elif not self._texts:
                break
            elif not self._take(self._texts[0]):
                self._hand_over()
        count = len(self._returned) - before
        if count:
            now = self._clock.monotonic()
            each_s = (now - self._began_at) / count
            self._began_at = now
            self._returned[before:] = [(result, each_s) for result, _ in self._returned[before:]]

    def _take(self, text: bytes) -> bool:
        """Take one frame; False, and it stays where it is, when it is nothing usual."""
        try:
            if self._report is None:
                if text != _RESULT and wire.decode(text).get("op") != "result":
                    return False
                self._report = text
            else:
                result = text.decode()
                decode_json(result)
                self._returned.append((result, 0.0))
                self._report = None
        except (WireError, ValueError, RecursionError):
            return False
        self._texts.popleft()
        return True

    def _listen(self) -> None:
        self._io.taker = self
        self._sandbox.on_oom = self._on_oom
        self._io.resume()

    def _hand_over(self) -> None:
        self._io.pause()
        if self._timer is not None:
            self._timer.cancel()
        if not self._turn.done():
            self._turn.set_result(None)

    def _look_at_time(self) -> None:
        """End the patience with one that takes too long; the time of one that began since has begun anew."""
        left_s = self._began_at + self._timeout_s - self._clock.monotonic()
        if left_s <= 0:
            self._hand_over()
        else:
            self._timer = self._loop.call_later(left_s, self._look_at_time)

    def _on_gone(self, _: asyncio.Future[None]) -> None:
        if self._io.taker is self:
            self.read_channel()
            self._hand_over()

    def _on_oom(self) -> None:
        self._is_oom = True
        self.read_channel()
        self._hand_over()

    def _on_stop(self, stop: asyncio.Future[str]) -> None:
        place = len(self._outcomes) + len(self._returned)
        if place < self._count and self._stops[place] is stop and self._io.taker is self:
            self._hand_over()

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._sandbox.gone.remove_done_callback(self._on_gone)
        for stop in self._stops:
            stop.remove_done_callback(self._on_stop)
        if self._io.taker is self:
            self._io.taker = None
            self._sandbox.on_oom = None
