"""The sandboxes that wait: warm ones, which have served an attempt, and spares, forked ahead of need."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from faasd.model.function import Function
from faasd.sandbox.sandbox import Sandbox
from faasd.sandbox.zygote_process import Zygote

__all__ = ["SandboxPool"]

#: How long a warm sandbox waits for another attempt.
_IDLE_S = 300.0


@dataclass
class _Shelf:
    """What waits for one function's next attempts: spares, then warm ones, the last used last."""

    function: Function  # Held, so that its identity stays its own.
    zygote: Zygote
    sandboxes: list[Sandbox] = field(default_factory=list)


class SandboxPool:
    """Keeps waiting sandboxes by function, and lets go of them when they are idle, ended or in the way."""

    def __init__(self) -> None:
        self._shelves: dict[int, _Shelf] = {}  # By the function's identity.
        self._evictions: dict[Sandbox, asyncio.TimerHandle] = {}
        self._closings: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def take(
        self, function: Function, zygote: Zygote, secrets: Mapping[str, bytes]
    ) -> Sandbox | None:
        """Return a sandbox that waits for this function's next attempt, the last used first."""
        shelf = self._shelves.get(id(function))
        if shelf is None:
            return None
        if shelf.zygote is not zygote:
            self._clear(shelf)  # The function has another one now.
            return None
        while shelf.sandboxes:
            sandbox = shelf.sandboxes.pop()
            self._keep_no_longer(sandbox)
            # Secrets that have changed are no longer in a sandbox that was sent them before.
            if sandbox.may_serve and sandbox.secrets in (None, secrets):
                return sandbox
            self.end(sandbox)
        return None

    def put(self, sandbox: Sandbox) -> None:
        """Have a sandbox wait for its function's next attempt."""
        function, zygote = sandbox.function, sandbox.zygote
        if self._is_closed or zygote.is_retired or not sandbox.may_serve:
            self.end(sandbox)
            return
        shelf = self._shelves.get(id(function))
        if shelf is None:
            shelf = self._shelves[id(function)] = _Shelf(function, zygote)
        elif shelf.zygote is not zygote:
            self._clear(shelf)
            shelf.zygote = zygote
        if sandbox.served:
            shelf.sandboxes.append(sandbox)
            # A spare goes when its function is in use no more, a warm one by itself.
            loop = asyncio.get_running_loop()
            self._evictions[sandbox] = loop.call_later(_IDLE_S, self._lose, shelf, sandbox)
        else:
            shelf.sandboxes.insert(0, sandbox)  # Warm ones first.
        sandbox.wait(lambda: self._lose(shelf, sandbox))

    def end(self, sandbox: Sandbox) -> asyncio.Task[None]:
        """End a sandbox that nobody uses; `close` waits until nothing of it is left."""
        closing = sandbox.close_later()
        if not closing.done():
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)
        return closing

    def end_all_of(self, zygote: Zygote) -> list[asyncio.Task[None]]:
        """End everything that waits and was forked from this zygote."""
        shelves = [shelf for shelf in self._shelves.values() if shelf.zygote is zygote]
        return [task for shelf in shelves for task in self._clear(shelf)]

    def retire(self, keep: Sequence[Function]) -> None:
        """End everything that waits for a function which is not, itself, in `keep`."""
        wanted = {id(function) for function in keep}
        for shelf in list(self._shelves.values()):
            if id(shelf.function) not in wanted:
                self._clear(shelf)

    def make_room(self, zygote: Zygote) -> None:
        """End one sandbox of a zygote, which waits while an attempt has no place."""
        for shelf in self._shelves.values():
            if shelf.zygote is zygote and shelf.sandboxes:
                self._lose(shelf, shelf.sandboxes[0])
                return

    def spares(self, function: Function) -> int:
        """Return how many wait for this function that have not served anybody."""
        shelf = self._shelves.get(id(function))
        return sum(not one.served for one in shelf.sandboxes) if shelf is not None else 0

    def end_spares(self, function: Function, count: int) -> None:
        """End so many of this function's spares."""
        shelf = self._shelves.get(id(function))
        if shelf is not None:
            for sandbox in [one for one in shelf.sandboxes if not one.served][:count]:
                self._lose(shelf, sandbox)

    async def close(self) -> None:
        """End all that wait; returns when nothing of them is left."""
        self._is_closed = True
        for shelf in list(self._shelves.values()):
            self._clear(shelf)
        while self._closings:
            await asyncio.wait(set(self._closings))

    def _keep_no_longer(self, sandbox: Sandbox) -> None:
        eviction = self._evictions.pop(sandbox, None)
        if eviction is not None:
            eviction.cancel()

    def _lose(self, shelf: _Shelf, sandbox: Sandbox) -> None:
        if sandbox in shelf.sandboxes:
            shelf.sandboxes.remove(sandbox)
            self._keep_no_longer(sandbox)
            self.end(sandbox)
        if not shelf.sandboxes and self._shelves.get(id(shelf.function)) is shelf:
            del self._shelves[id(shelf.function)]

    def _clear(self, shelf: _Shelf) -> list[asyncio.Task[None]]:
        closings = []
        for sandbox in shelf.sandboxes:
            self._keep_no_longer(sandbox)
            closings.append(self.end(sandbox))
        shelf.sandboxes.clear()
        if self._shelves.get(id(shelf.function)) is shelf:
            del self._shelves[id(shelf.function)]
        return closings
