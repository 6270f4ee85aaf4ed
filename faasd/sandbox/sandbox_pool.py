"""The sandboxes that wait: warm ones, which have served an attempt, and spares, forked ahead of need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from faasd.model.function import Function
from faasd.sandbox.sandbox import Sandbox
from faasd.sandbox.zygote_process import Zygote

__all__ = ["SandboxPool"]

#: How long a warm sandbox waits for another attempt.
_IDLE_S = 300.0
_SWEEP_S = 30.0


@dataclass
class _Shelf:
    """What waits for one function's next attempts: renewed ones, spares, then warm ones, the last used last."""

    function: Function  # Held, so that its identity stays its own.
    zygote: Zygote
    sandboxes: list[Sandbox] = field(default_factory=list)


class SandboxPool:
    """Keeps waiting sandboxes by function, and lets go of them when they are idle, ended or in the way."""

    def __init__(self, fresh_max: int = 64) -> None:
        """With `fresh_max` spares and renewed ones of all functions together, each keeps one at most."""
        self._fresh_max = fresh_max
        self._shelves: dict[int, _Shelf] = {}  # By the function's identity.
        self._sweep: asyncio.TimerHandle | None = None
        self._closings: set[asyncio.Future[None]] = set()
        self._is_closed = False
        self._current: dict[str, Function] = {}  # Since the last `retire`, by name.
        self.on_spare_lost: Callable[[Function], None] = lambda _: None

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
            # Secrets that have changed are no longer in a sandbox that was sent them before.
            is_fit = sandbox.may_serve and sandbox.secrets in (None, secrets)
            if is_fit and (sandbox.has_handler or sandbox.begin_again(is_awaited=True)):
                return sandbox
            self.end(sandbox)
        return None

    def put(self, sandbox: Sandbox) -> None:
        """Have a sandbox wait for its function's next attempt, unless one waits for its place already.

        A spare may be in the making when an attempt comes that finds neither it nor room for another.
        """
        zygote = sandbox.zygote
        function = self._current.get(sandbox.function.name, sandbox.function)
        if function is not sandbox.function:  # A reload came between.
            if function != sandbox.function:
                self.end(sandbox)
                return
            sandbox.function = function
        is_in_the_way = zygote.room.is_wanted
        # Its function's only one stays: the next attempt would have one made.
        is_too_many = not sandbox.has_handler and self.fresh(function) > 0 and self._is_full()
        is_useless = zygote.is_retired or not sandbox.may_serve
        if self._is_closed or is_useless or is_in_the_way or is_too_many:
            self.end(sandbox)
            return
        shelf = self._shelves.get(id(function))
        if shelf is not None and shelf.zygote is not zygote:
            self._clear(shelf)
            shelf = None
        if shelf is None:
            shelf = self._shelves[id(function)] = _Shelf(function, zygote)
        if sandbox.served:
            shelf.sandboxes.append(sandbox)
            # A spare goes when its function is in use no more, a warm one by itself.
            loop = asyncio.get_running_loop()
            sandbox.waits_since = loop.time()
            if self._sweep is None:  # One timer, and none for each attempt.
                self._sweep = loop.call_later(_SWEEP_S, self._end_idle)
        else:
            _insert(shelf, sandbox)
        sandbox.wait(self._lost)

    def prepare(self, function: Function) -> bool:
        """Make a spare of a renewed sandbox, if one waits."""
        shelf = self._shelves.get(id(function))
        while shelf is not None and shelf.sandboxes and not shelf.sandboxes[0].has_handler:
            sandbox = shelf.sandboxes.pop(_renewed(shelf) - 1)
            if sandbox.may_serve and sandbox.begin_again(is_awaited=False):
                _insert(shelf, sandbox)
                return True
            self.end(sandbox)
        return False

    def end(self, sandbox: Sandbox) -> asyncio.Future[None]:
        """End a sandbox that nobody uses; `close` waits until nothing of it is left."""
        closing = sandbox.close()
        if not closing.done():
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)
        return closing

    def end_all_of(self, zygote: Zygote) -> list[asyncio.Future[None]]:
        """End everything that waits and was forked from this zygote."""
        shelves = [shelf for shelf in self._shelves.values() if shelf.zygote is zygote]
        return [task for shelf in shelves for task in self._clear(shelf)]

    def retire(self, keep: Sequence[Function]) -> None:
        """End everything that waits for a function of which `keep` has no equal; the rest waits for that."""
        self._current = {function.name: function for function in keep}
        for identity, shelf in list(self._shelves.items()):
            successor = self._current.get(shelf.function.name)
            if successor is None or successor != shelf.function:
                self._clear(shelf)
                continue
            del self._shelves[identity]
            shelf.function = successor
            for sandbox in shelf.sandboxes:
                sandbox.function = successor
            self._shelves[id(successor)] = shelf

    def make_room(self, zygote: Zygote) -> None:
        """End one sandbox of a zygote, which waits while an attempt has no place."""
        for shelf in self._shelves.values():
            if shelf.zygote is zygote and shelf.sandboxes:
                self._lose(shelf.sandboxes[0])
                return

    def spares(self, function: Function) -> int:
        """Return how many wait for this function that have not served anybody, and can begin at once."""
        shelf = self._shelves.get(id(function))
        if shelf is None:
            return 0
        return sum(not one.served and one.has_handler for one in shelf.sandboxes)

    def fresh(self, function: Function) -> int:
        """Return how many wait for this function as new: spares, and renewed ones."""
        shelf = self._shelves.get(id(function))
        return sum(not one.served for one in shelf.sandboxes) if shelf is not None else 0

    def _is_full(self) -> bool:
        count = sum(not one.served for s in self._shelves.values() for one in s.sandboxes)
        return count >= self._fresh_max

    def waiting(self) -> dict[tuple[str, str], int]:
        """Return how many wait, by function and kind: `warm` or `spare`."""
        found: dict[tuple[str, str], int] = {}
        for shelf in self._shelves.values():
            for sandbox in shelf.sandboxes:
                key = (shelf.function.name, "warm" if sandbox.served else "spare")
                found[key] = found.get(key, 0) + 1
        return found

    def end_spares(self, function: Function, count: int) -> None:
        """End so many of this function's spares, renewed ones first."""
        shelf = self._shelves.get(id(function))
        if shelf is not None:
            for sandbox in [one for one in shelf.sandboxes if not one.served][:count]:
                self._lose(sandbox)

    async def close(self) -> None:
        """End all that wait; returns when nothing of them is left."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for shelf in list(self._shelves.values()):
            self._clear(shelf)
        while self._closings:
            await asyncio.wait(set(self._closings))

    def _end_idle(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = None
        warm = [one for s in self._shelves.values() for one in s.sandboxes if one.served]
        idle = [one for one in warm if loop.time() - one.waits_since >= _IDLE_S]
        for sandbox in idle:
            self._lose(sandbox)
        if len(idle) < len(warm):
            self._sweep = loop.call_later(_SWEEP_S, self._end_idle)

    def _lost(self, sandbox: Sandbox) -> None:
        """Hear that one has ended by itself, or was found unfit."""
        self._lose(sandbox)
        if not sandbox.served and sandbox.zygote.is_alive:
            self.on_spare_lost(sandbox.function)

    def _lose(self, sandbox: Sandbox) -> None:
        shelf = self._shelves.get(id(sandbox.function))
        if shelf is not None and sandbox in shelf.sandboxes:
            shelf.sandboxes.remove(sandbox)
            self.end(sandbox)
            if not shelf.sandboxes:
                del self._shelves[id(shelf.function)]

    def _clear(self, shelf: _Shelf) -> list[asyncio.Future[None]]:
        closings = [self.end(sandbox) for sandbox in shelf.sandboxes]
        shelf.sandboxes.clear()
        if self._shelves.get(id(shelf.function)) is shelf:
            del self._shelves[id(shelf.function)]
        return closings


def _renewed(shelf: _Shelf) -> int:
    """Return how many wait without a handler's process; they come first, and so are taken last."""
    return sum(not one.has_handler for one in shelf.sandboxes)


def _insert(shelf: _Shelf, sandbox: Sandbox) -> None:
    shelf.sandboxes.insert(_renewed(shelf), sandbox)
