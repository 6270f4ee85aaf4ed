"""What the daemon tells whoever supervises it: that it is ready, how it does, that its loop still turns.

Only systemd asks (NOTIFY_SOCKET); under any other supervisor, or none, nothing here does anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass

from faasd.clock import Clock
from faasd.errors import FaasdError
from faasd.linux import systemd
from faasd.logs import get_logger

__all__ = [
    "Counts",
    "Supervision",
    "beat_interval_s",
    "beat_lines",
    "for_this_process",
    "status_text",
]

_log = get_logger("supervision")
#: How often the status is told anew where no watchdog asks more often.
_STATUS_INTERVAL_S = 10.0
#: How much of a reason stands in one line of `systemctl status`.
_WHY_MAX = 300
#: With every beat, a start or a stop may take this much longer. A loop that hangs gets no more of it.
#: As long as systemd gives a start that says nothing: on a machine so busy that a beat was half a minute
#: late, less made it kill the start, and start anew what was as slow the next time.
_MORE_TIME_S = 90.0


@dataclass(frozen=True)
class Counts:
    """What `systemctl status` says about the daemon's work."""

    functions: int = 0
    running: int = 0
    waiting: int = 0
    dead: int = 0
    problem: str = ""  # In a few words.


def status_text(state: str, counts: Counts) -> str:
    """Return one line for people: the state, and what there is to do."""
    parts = [
        _count(counts.functions, "function"),
        f"{counts.running} running",
        f"{counts.waiting} waiting",
        _count(counts.dead, "dead letter"),
    ]
    problem = f"; {counts.problem}" if counts.problem else ""
    return f"{state}: {', '.join(parts)}{problem}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def beat_interval_s(watchdog_s: float | None) -> float:
    """Return how often to be heard: thrice within the watchdog's time, so that one late beat costs nothing."""
    return min(_STATUS_INTERVAL_S, watchdog_s / 3) if watchdog_s else _STATUS_INTERVAL_S


def beat_lines(state: str) -> list[str]:
    """Return what one beat of the loop says: we live, and where we start or stop, give us more time.

    A migration of a large store, and a drain that the operator allowed an hour, take longer than any
    time that a unit could name beforehand.
    """
    lines = ["WATCHDOG=1"]
    if state != "ready":
        lines.append(f"EXTEND_TIMEOUT_USEC={int(_MORE_TIME_S * 1e6)}")
    return lines


class Supervision:
    """Speaks for the daemon, from its start until its end.

    Made first of all, because it takes what is meant for this process alone out of the environment.
    """

    def __init__(self, environ: MutableMapping[str, str], clock: Clock, pid: int) -> None:
        self.sockets = systemd.take_listen_fds(environ, pid)
        self._watchdog_s = systemd.take_watchdog_interval_s(environ, pid)
        self._address = systemd.take_notify_address(environ)
        self._clock = clock
        self._state = "starting"
        self.has_been_ready = False
        self._counts: Callable[[], Awaitable[Counts]] | None = None
        self._unsent: list[str] = []
        self._status = ""
        self._counted_at: float | None = None
        self._beating: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Say that the daemon starts, and go on saying that its loop turns."""
        if self._address is None:
            return
        self._tell("STATUS=starting: reading the configuration")
        # Not awaited before the first `await` of the caller: a loop that never turns is never heard.
        self._beating = asyncio.create_task(self._beat(), name="supervision")

    def count_with(self, counts: Callable[[], Awaitable[Counts]]) -> None:
        """Take the status from here from now on."""
        self._counts = counts

    async def ready(self) -> None:
        """Say that events are accepted and run."""
        self._state = "ready"
        self.has_been_ready = True
        # In one message: systemd must not show an active unit that still says that it starts.
        self._tell("READY=1", "STATUS=ready")
        await self._tell_status()

    async def changed(self) -> None:
        """Tell the status now rather than with the next beat."""
        await self._tell_status()

    def begin_reload(self) -> None:
        """Say that a new configuration is being read; `ready` ends it, whichever is in force then."""
        self._state = "reloading"
        self._tell(*systemd.reloading(self._clock.monotonic()), "STATUS=reloading")

    async def stopping(self) -> None:
        """Say that the daemon drains and will end."""
        self._state = "stopping"
        self._tell("STOPPING=1", *beat_lines(self._state))
        await self._tell_status()

    def failed(self, why: str) -> None:
        """Say what the daemon ends of; systemd shows it until the next start."""
        first, *more = why.splitlines() or [""]
        self._counts = None  # The next beat must not say something else.
        self._tell(
            f"STATUS=failed: {first[:_WHY_MAX]}" + (f" (and {len(more)} more)" if more else "")
        )

    async def stop(self) -> None:
        """Say nothing more."""
        if self._beating is not None:
            self._beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beating

    async def _beat(self) -> None:
        while True:
            self._tell(*beat_lines(self._state))
            now = self._clock.monotonic()
            if self._counted_at is None or now - self._counted_at >= _STATUS_INTERVAL_S:
                await self._tell_status()
            await asyncio.sleep(beat_interval_s(self._watchdog_s))

    async def _tell_status(self) -> None:
        """Count and tell, if that can be done before the next beat: a slow disk must not silence us."""
        if self._address is None or self._counts is None:
            return
        self._counted_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(beat_interval_s(self._watchdog_s)):
                text = status_text(self._state, await self._counts())
        except (FaasdError, TimeoutError):
            text = f"{self._state}: the store does not answer"
        if text != self._status:
            self._tell(f"STATUS={text}")

    def _tell(self, *assignments: str) -> None:
        """Send; what is not taken now goes with the next beat, where it was not overtaken."""
        if self._address is None:
            return
        for one in assignments:
            if one.startswith("STATUS="):  # What stands there now, whoever said it.
                self._status = one.removeprefix("STATUS=")
        told_anew = {one.partition("=")[0] for one in assignments}
        kept = [one for one in self._unsent if one.partition("=")[0] not in told_anew]
        self._unsent = [*kept, *assignments]
        try:
            systemd.notify(self._address, *self._unsent)
        except systemd.NOT_TAKEN:
            return
        except OSError as error:
            _log.warning("supervisor_unreachable", address=self._address, error=str(error))
        self._unsent = []


def for_this_process(clock: Clock) -> Supervision:
    """Return what speaks for this process, by its environment."""
    return Supervision(os.environ, clock, os.getpid())
