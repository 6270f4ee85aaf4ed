"""The silence test of the guard in file_loop.py: holds files back, listens, lets go or stops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from faasd.clock import Clock
from faasd.triggers.file_backlog import Backlog
from faasd.triggers.file_loop import GENERATIONS_MAX, ROUNDS_MAX, LoopGuard

__all__ = ["SilenceTest", "loop_sentence"]


class SilenceTest:
    """Runs while files are held back."""

    def __init__(
        self, guard: LoopGuard, backlog: Backlog, clock: Clock, *, silence_s: float
    ) -> None:
        self.until_s: float | None = None  # Monotonic; None while there is no silence to wait for.
        self._guard = guard
        self._backlog = backlog
        self._clock = clock
        self._silence_s = silence_s

    async def step(
        self, scan: Callable[[], Awaitable[None]], unfinished: Callable[[], Awaitable[int]]
    ) -> bool:
        """Do what is due; returns whether the trigger has just been found to feed itself."""
        is_off = not self._backlog.held or self._guard.is_tripped
        if is_off or not self._guard.is_idle or await unfinished():
            self.until_s = None
        elif self.until_s is None:
            await scan()  # What it finds may have been written before the silence.
            self.until_s = self._clock.monotonic() + self._silence_s
        elif self._clock.monotonic() >= self.until_s:
            await scan()  # What it finds was written in the silence, and lets go what is held.
            self.until_s = None
            if self._backlog.held:
                return self._end()
        return False

    def _end(self) -> bool:
        if self._guard.was_silent():
            self._backlog.release_held()
            return False
        return True


def loop_sentence(function: str, trigger: str, path: str, held_count: int) -> str:
    """Say that a function seems to feed its own trigger, and what to do."""
    return (
        f"{function} seems to feed its own trigger: new files in {path} appeared only while its own"
        f" invocations ran, {GENERATIONS_MAX + ROUNDS_MAX} times in a row; {held_count} files wait."
        f" Let it write somewhere else, or exclude what it writes; trigger {trigger} goes on with the"
        f" reload that brings the change, or with `faasd functions resume {function}`"
    )
