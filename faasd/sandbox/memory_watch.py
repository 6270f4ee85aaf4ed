"""Watching real memory on hosts without a memory cgroup: a look at each tree every 50 ms while attempts run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from faasd.linux import proc_tree

__all__ = ["MemoryWatch", "WatchedTree"]

_INTERVAL_S = 0.05


@dataclass
class WatchedTree:
    """One process tree and its cap."""

    pid: int
    bytes_max: int
    on_over: Callable[[], None]
    peak_bytes: int = 0


class MemoryWatch:
    """Sums up the memory of watched trees and calls `on_over`, once each, for those above their cap."""

    def __init__(self) -> None:
        self._watched: dict[int, WatchedTree] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, tree: WatchedTree) -> None:
        """Watch a tree until `remove`."""
        self._watched[id(tree)] = tree
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch())

    def remove(self, tree: WatchedTree) -> None:
        """Watch it no longer."""
        self._watched.pop(id(tree), None)

    async def _watch(self) -> None:
        while self._watched:
            trees = list(self._watched.values())
            sizes = await asyncio.to_thread(_measure, [tree.pid for tree in trees])
            for tree, size in zip(trees, sizes, strict=True):
                was_over = tree.peak_bytes > tree.bytes_max
                tree.peak_bytes = max(tree.peak_bytes, size)
                if size > tree.bytes_max and not was_over:
                    tree.on_over()
            await asyncio.sleep(_INTERVAL_S)


def _measure(pids: list[int]) -> list[int]:
    return [proc_tree.memory_bytes({pid} | proc_tree.descendants([pid])) for pid in pids]
