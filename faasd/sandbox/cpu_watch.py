"""Watching the processor time of one attempt's processes together: looks as seldom as the limit allows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from faasd.linux import proc_tree

__all__ = ["CpuWatch", "cpu_s_of_tree"]

#: How late it may notice, and how often it looks at most.
_INTERVAL_S_MIN = 0.05


class CpuWatch:
    """Calls `on_over`, once, when what `measure` returns has passed the limit.

    With all processors busy the time still left cannot be used up before a part of it has passed on the
    clock; so that is when it looks next. `measure` runs in a thread; OSError means that nothing is left to measure.
    """

    def __init__(self, limit_s: float, measure: Callable[[], float], on_over: Callable[[], None]):
        self.used_s = 0.0
        self._limit_s = limit_s
        self._measure = measure
        self._on_over = on_over
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def stop(self) -> None:
        """Watch no longer."""
        self._task.cancel()

    async def _watch(self) -> None:
        processors = len(os.sched_getaffinity(0))
        while True:
            left_s = self._limit_s - self.used_s
            await asyncio.sleep(max(_INTERVAL_S_MIN, left_s / processors))
            try:
                used_s = await asyncio.to_thread(self._measure)
            except OSError:
                return
            self.used_s = max(self.used_s, used_s)
            if self.used_s > self._limit_s:
                self._on_over()
                return


def cpu_s_of_tree(pid: int) -> float:
    """Return the time of a process, of those below it, and of all their children that were waited for.

    What a process made with SIGCHLD ignored has used is lost once it has ended: only a cgroup counts that.
    """
    return proc_tree.cpu_s({pid} | proc_tree.descendants([pid]))
