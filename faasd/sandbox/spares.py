"""Spares: sandboxes forked ahead of need for functions in use, and given back when they are not.

Forking one costs a millisecond or two of a processor; who finds one waiting does not wait for that. A spare
has all its walls, holds a directory and a cgroup, and shares most of its memory with its zygote.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from faasd.clock import Clock
from faasd.errors import SandboxError, ZygoteInitFailed
from faasd.logs import get_logger
from faasd.model.function import Function
from faasd.sandbox.sandbox_maker import SandboxMaker
from faasd.sandbox.sandbox_pool import SandboxPool
from faasd.sandbox.spare_count import Demand, is_memory_short, spares_wanted
from faasd.sandbox.zygote_pool import ZygotePool

__all__ = ["Spares"]

_log = get_logger("sandbox")
#: A new one is forked when the attempt that took one is over, or so long after: the attempt goes first.
_REFILL_DELAY_S = 0.02
_REVIEW_S = 5.0
_MEMORY_LOOK_S = 1.0
#: What one takes to be made, as long as none has been.
_FORK_GUESS_S = 0.005
_PREPARED_S = 60.0
#: How long none is made for a function after one has died while it waited.
_HELD_S = 60.0


@dataclass
class _Kept:
    """One function's spares."""

    function: Function  # Held, so that its identity stays its own.
    demand: Demand = field(default_factory=Demand)
    fork_s: float = _FORK_GUESS_S
    refill: asyncio.Handle | None = None
    task: asyncio.Task[None] | None = None
    is_over: bool = False
    held_until: float = 0.0  # No new one before.


class Spares:
    """Keeps as many as `spare_count` wants, at most `most` of all functions together. For one event loop."""

    def __init__(
        self,
        pool: ZygotePool,
        waiting: SandboxPool,
        maker: SandboxMaker,
        clock: Clock,
        most: int,
    ) -> None:
        self._pool = pool
        self._waiting = waiting
        self._maker = maker
        self._clock = clock
        self._most = most
        self._kept: dict[int, _Kept] = {}  # By the function's identity.
        self._review: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._looked_at: float | None = None
        self._has_memory = True
        waiting.on_spare_lost = self.lost

    def taken(self, function: Function) -> None:
        """Hear that an attempt has taken a new sandbox: one that waited, or one that was forked for it."""
        if function.spares == 0 or self._is_closed:
            return
        kept = self._of(function)
        kept.demand = kept.demand.after_arrival(self._clock.monotonic())
        self._refill_soon(kept)

    def ended(self, function: Function, *, leaves_renewed: bool) -> None:
        """Hear that an attempt in a new sandbox is over: nobody is in the way of its successor's making.

        Unless it leaves one renewed, which is there for who comes at once.
        """
        kept = self._kept.get(id(function))
        if kept is None and self._waiting.fresh(function) and not self._is_closed:
            # It took longer than its function counts as in use: what it leaves is to be given back.
            self._of(function)
            self._review_later()
        elif kept is not None and kept.refill is not None and not leaves_renewed:
            kept.refill.cancel()
            kept.refill = asyncio.get_running_loop().call_soon(self._refill, kept)

    def prepare(self, function: Function) -> None:
        """Have a spare wait for a function that is about to be used."""
        if function.spares == 0 or self._is_closed:
            return
        kept = self._of(function)
        kept.demand = kept.demand.prepared(self._clock.monotonic() + _PREPARED_S)
        self._refill_soon(kept)

    def retire(self, keep: Sequence[Function]) -> None:
        """Forget every function of which `keep` has no equal; its spares end with it."""
        current = {function.name: function for function in keep}
        for identity, kept in list(self._kept.items()):
            del self._kept[identity]
            successor = current.get(kept.function.name)
            if successor is None or successor != kept.function:
                _stop(kept)
            else:
                kept.function = successor
                self._kept[id(successor)] = kept

    async def close(self) -> None:
        """Fork nothing any more."""
        self._is_closed = True
        if self._review is not None:
            self._review.cancel()
        tasks = [kept.task for kept in self._kept.values() if kept.task is not None]
        for kept in self._kept.values():
            _stop(kept)
        self._kept.clear()
        if tasks:
            await asyncio.wait(tasks)

    def _of(self, function: Function) -> _Kept:
        kept = self._kept.get(id(function))
        if kept is None:
            kept = self._kept[id(function)] = _Kept(function)
        return kept

    def lost(self, function: Function) -> None:
        """Hear that a spare has died by itself: those that replace it would most likely do the same."""
        kept = self._kept.get(id(function))
        if kept is not None:
            kept.held_until = self._clock.monotonic() + _HELD_S
            _log.warning("spare_lost", function=function.name, next_in_s=_HELD_S)

    def _wanted(self, kept: _Kept) -> int:
        now = self._clock.monotonic()
        if now < kept.held_until:
            return 0
        others = sum(
            self._waiting.fresh(one.function) for one in self._kept.values() if one is not kept
        )
        return spares_wanted(
            kept.demand,
            now,
            kept.fork_s + _REFILL_DELAY_S,
            kept.function.spares,
            max(0, self._most - others),
            has_memory=self._look_at_memory(now),
        )

    def _may_want(self, kept: _Kept) -> bool:
        """Whether there is a reason to look at it again: it is in use, or asks for a number and has a zygote."""
        if kept.demand.is_in_use(self._clock.monotonic()):
            return True
        return bool(kept.function.spares) and self._pool.stands(kept.function)

    def _refill_soon(self, kept: _Kept) -> None:
        if kept.refill is None and kept.task is None:
            loop = asyncio.get_running_loop()
            kept.refill = loop.call_later(_REFILL_DELAY_S, self._refill, kept)

    def _refill(self, kept: _Kept) -> None:
        kept.refill = None
        wanted = self._wanted(kept)
        while self._waiting.spares(kept.function) < wanted:
            if not self._waiting.prepare(kept.function):
                break
        if self._waiting.fresh(kept.function) < wanted:
            kept.task = asyncio.get_running_loop().create_task(self._fork_until_enough(kept))
        self._review_later()

    async def _fork_until_enough(self, kept: _Kept) -> None:
        try:
            while not kept.is_over and self._waiting.fresh(kept.function) < self._wanted(kept):
                if not await self._fork_one(kept):
                    return
        except (SandboxError, ZygoteInitFailed, OSError) as error:
            # The next attempt will say so, if it is not over by then.
            _log.debug("spare_failed", function=kept.function.name, error=str(error))
        finally:
            kept.task = None

    async def _fork_one(self, kept: _Kept) -> bool:
        """Fork one, if the function's zygote is there; whether it was."""
        lease = self._pool.standing(kept.function)
        if lease is None:
            return False
        with lease:
            began = self._clock.monotonic()
            sandbox = await self._maker.make_spare(kept.function, lease)
            if sandbox is None:
                return False
            # Until it can be given work; its walls take it about as long again.
            took_s = 2 * (self._clock.monotonic() - began)
            kept.fork_s += (took_s - kept.fork_s) / 8
            if kept.is_over:
                self._waiting.end(sandbox)
            else:
                self._waiting.put(sandbox)
        return True

    def _review_later(self) -> None:
        if self._review is None and not self._is_closed:
            loop = asyncio.get_running_loop()
            self._review = loop.call_later(_REVIEW_S, self._look_through)

    def _look_through(self) -> None:
        """Give back what is too much, and make up what is missing; stops by itself when nothing waits."""
        self._review = None
        for identity, kept in list(self._kept.items()):
            wanted, count = self._wanted(kept), self._waiting.fresh(kept.function)
            if count > wanted:
                self._waiting.end_spares(kept.function, count - wanted)
            elif count < wanted and self._pool.stands(kept.function):
                self._refill_soon(kept)
            elif not count and not self._may_want(kept):
                _stop(self._kept.pop(identity))
        if self._kept:
            self._review_later()

    def _look_at_memory(self, now: float) -> bool:
        if self._looked_at is None or now - self._looked_at >= _MEMORY_LOOK_S:
            self._looked_at = now
            pressure = None
            with contextlib.suppress(OSError), open("/proc/pressure/memory") as file:
                pressure = file.read()
            with contextlib.suppress(OSError), open("/proc/meminfo") as file:
                self._has_memory = not is_memory_short(file.read(), pressure)
        return self._has_memory


def _stop(kept: _Kept) -> None:
    """Fork no other one. A fork that is under way is not torn apart: its zygote would speak to nobody."""
    kept.is_over = True
    if kept.refill is not None:
        kept.refill.cancel()
