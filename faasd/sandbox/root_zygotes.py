"""The root zygotes that exist: one for each interpreter, started when first wanted, and anew when it has died."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from faasd.sandbox import leftovers
from faasd.sandbox.zygote_process import RootZygote

__all__ = ["RootZygotes"]


class RootZygotes:
    """Root zygotes by interpreter."""

    def __init__(self, mark: str, numbers: Iterator[int], *, use_namespaces: bool) -> None:
        self._mark = mark
        self._numbers = numbers
        self._use_namespaces = use_namespaces
        self._tasks: dict[str, asyncio.Task[RootZygote]] = {}

    async def get(self, python: str) -> RootZygote:
        """Return an interpreter's root zygote, started anew if it has died. Raises SandboxError."""
        task = self._tasks.get(python)
        lost = None
        if task is not None and task.done():
            found = None if task.cancelled() or task.exception() else task.result()
            if found is None or not found.is_alive:
                task, lost = None, found
        if task is None:
            task = asyncio.create_task(self._start(python, lost))
            self._tasks[python] = task
        return await asyncio.shield(task)

    def started(self, python: str) -> RootZygote | None:
        """Return an interpreter's root zygote if it was started; it may have died since."""
        task = self._tasks.get(python)
        is_made = task is not None and task.done() and not task.cancelled() and not task.exception()
        return task.result() if task is not None and is_made else None

    def all_started(self) -> dict[str, RootZygote]:
        """Return all that were started, by interpreter."""
        found = {python: self.started(python) for python in self._tasks}
        return {python: root for python, root in found.items() if root is not None}

    async def stop(self) -> None:
        """End all, and with them what descends from them."""
        for task in self._tasks.values():
            task.cancel()
        for found in await asyncio.gather(*self._tasks.values(), return_exceptions=True):
            if isinstance(found, RootZygote):
                await found.stop()
                found.close()
        self._tasks.clear()

    async def _start(self, python: str, lost: RootZygote | None) -> RootZygote:
        if lost is not None:
            await self._bury(lost)
        mark = f"{self._mark}.{next(self._numbers)}."
        root = RootZygote(python, mark, use_namespaces=self._use_namespaces)
        await root.start()
        return root

    async def _bury(self, root: RootZygote) -> None:
        """End what a root zygote that died has left behind."""
        await root.stop()
        root.close()
        await asyncio.to_thread(leftovers.end_marked, root.mark)
