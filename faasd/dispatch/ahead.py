"""Getting functions ready before they are needed: those of schedules that are about to fire, and those kept warm."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from faasd.dispatch.run_attempt import Spine
from faasd.errors import FaasdError
from faasd.interfaces import Schedules
from faasd.logs import get_logger
from faasd.model.function import Function

__all__ = ["Ahead"]

_log = get_logger("dispatch")
#: A schedule's function is got ready at most this long before it fires, and at least this much less the step.
_LEAD_S = 10.0
_STEP_S = 5.0
#: How often it is seen to that the functions which are kept warm still are.
_KEEP_EVERY_S = 60.0
#: Imports that are started ahead and run at once: attempts have the machine first.
_AT_ONCE = 2


class Ahead:
    """One task with one timer, however many schedules and functions there are."""

    def __init__(
        self,
        spine: Spine,
        schedules: Schedules,
        paused: Collection[str],
        refused: Collection[str],
        most: int,
    ) -> None:
        """`paused` and `refused` name functions that may not run now; at most `most` are got ready in a step."""
        self._sandboxes = spine.sandboxes
        self._catalog = spine.catalog
        self._clock = spine.clock
        self._schedules = schedules
        self._paused = paused
        self._refused = refused
        self._most = most
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Begin. The returned task ends only with `stop`, or by a mistake of ours."""
        self._task = asyncio.create_task(self._loop(), name="ahead")
        return self._task

    async def stop(self) -> None:
        """Get nothing ready any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def step(self, *, keeps: bool) -> None:
        """Get ready what fires soon; with `keeps`, also what is kept warm. Returns when it is."""
        names = list(self._schedules.firing_before(self._clock.now() + _LEAD_S))
        functions = {one.name: one for one in self._catalog.all() if keeps and one.keep_warm}
        for name in names[: self._most]:
            function = self._catalog.get(name)
            if function is not None:
                functions[name] = function
        await self._warm([one for one in functions.values() if not self._is_held(one.name)])

    def _is_held(self, name: str) -> bool:
        return name in self._paused or name in self._refused

    async def _loop(self) -> None:
        kept_at: float | None = None
        while True:
            now = self._clock.monotonic()
            keeps = kept_at is None or now - kept_at >= _KEEP_EVERY_S
            if keeps:
                kept_at = now
            await self.step(keeps=keeps)
            await asyncio.sleep(_STEP_S)

    async def _warm(self, functions: Sequence[Function]) -> None:
        turn = asyncio.Semaphore(_AT_ONCE)

        async def warm(function: Function) -> None:
            async with turn:
                try:
                    await self._sandboxes.warm(function)
                except (FaasdError, OSError) as error:
                    # Its next attempt will say so, where people look for it.
                    _log.debug("warming_failed", function=function.name, error=str(error))

        async with asyncio.TaskGroup() as group:
            for function in functions:
                group.create_task(warm(function))
