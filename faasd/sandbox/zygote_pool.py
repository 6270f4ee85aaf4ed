"""The zygotes that exist: started when first wanted, once however many want them; ended when idle or retired."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from faasd.clock import Clock
from faasd.errors import FunctionRefused, SandboxError
from faasd.model.attempt import OutputLine
from faasd.model.function import Function
from faasd.model.walls import refusal
from faasd.sandbox import leftovers, policy
from faasd.sandbox.cgroup_slot import CgroupSlots, SlotLimits
from faasd.sandbox.file_rules import Premises, given_paths
from faasd.sandbox.host_walls import HostWalls
from faasd.sandbox.landmarks import Landmarks
from faasd.sandbox.memory_watch import MemoryWatch
from faasd.sandbox.missing_walls import missing_walls
from faasd.sandbox.policy import Walls
from faasd.sandbox.zygote_process import MARK, RootZygote, Zygote
from faasd.sandbox.zygote_start import ZygoteStart

__all__ = ["ZygoteLease", "ZygotePool"]

#: A failed import is not tried again for so long: a burst of attempts shares one failure.
_FAILURE_KEPT_S = 1.0
_ASKED_MAX = 1000
#: Sandboxes that a zygote has forked and that are not in a group of their own yet.
_FORKS_UNDERWAY = 256


@dataclass
class _Entry:
    """One zygote: being started, ready, or failed a moment ago."""

    task: asyncio.Task[Zygote]
    lines: list[OutputLine]
    failed_at: float | None = None


@dataclass(frozen=True)
class _Asked:
    """Which zygote a function was found to need; the function is held so that its identity stays its own."""

    function: Function
    root: RootZygote
    premises: Premises
    key: str
    walls: Walls


@dataclass
class ZygoteLease:
    """The use of a zygote for one attempt; a zygote in use is not ended."""

    zygote: Zygote
    walls: Walls
    is_cold: bool
    pool: ZygotePool = field(repr=False)

    def __enter__(self) -> Zygote:
        return self.zygote

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.pool.give_back(self.zygote)


class ZygotePool:
    """Root zygotes by interpreter, zygotes by key."""

    def __init__(
        self,
        mark: str,
        numbers: Iterator[int],
        slots: CgroupSlots | None,
        watch: MemoryWatch,
        clock: Clock,
        *,
        use_namespaces: bool,
        idle_s: float,
        without: Collection[str] = (),
        premises: Premises = Premises(),  # noqa: B008 - frozen.
        end_waiting: Callable[[Zygote], Sequence[asyncio.Future[None]]] = lambda _: (),
    ) -> None:
        """`end_waiting` ends the sandboxes that a zygote has forked and that wait; it goes after them."""
        self._end_waiting = end_waiting
        self._landmarks = Landmarks(premises, clock)
        self._mark = mark
        self._numbers = numbers
        self._slots = slots
        self._watch = watch
        self._clock = clock
        self._use_namespaces = use_namespaces
        self._idle_s = idle_s
        self._host = HostWalls(slots, without)
        self._roots: dict[str, asyncio.Task[RootZygote]] = {}
        self._entries: dict[str, _Entry] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.Task[Zygote], int] = {}  # How many wait for its start.
        self._evictions: dict[Zygote, asyncio.TimerHandle] = {}
        self._asked: dict[int, _Asked] = {}  # By the function's identity.

    async def root(self, python: str) -> RootZygote:
        """Return an interpreter's root zygote, started anew if it has died. Raises SandboxError."""
        task = self._roots.get(python)
        lost = None
        if task is not None and task.done():
            found = None if task.cancelled() or task.exception() else task.result()
            if found is None or not found.is_alive:
                task, lost = None, found
        if task is None:
            task = asyncio.create_task(self._start_root(python, lost))
            self._roots[python] = task
        return await asyncio.shield(task)

    async def zygote(self, function: Function) -> ZygoteLease:
        """Return the function's zygote for one use. Raises ZygoteInitFailed, FunctionRefused or SandboxError."""
        root = await self.root(function.python or sys.executable)
        walls = self._host.around(function, root)
        reason = refusal(function.permissions.containment, missing_walls(function, walls))
        if reason is not None:  # Here, before anything of the function's is imported.
            raise FunctionRefused(f"function {function.name!r} is refused: {reason}")
        await self._landmarks.look(given_paths(function))
        key, asked = self._key(function, walls, root)
        entry = self._entries.get(key)
        is_cold = entry is None or not entry.task.done() or self._is_spent(entry)
        if entry is None or self._is_spent(entry):
            entry = self._start(function, root, key, asked)
        zygote = await self._wait_for(entry.task)
        zygote.is_kept = zygote.is_kept or function.keep_warm  # Commands share theirs.
        return self._lease(zygote, walls, is_cold=is_cold)

    async def _wait_for(self, task: asyncio.Task[Zygote]) -> Zygote:
        """Wait for a zygote to start. One that is retired meanwhile is not ended before it was of use."""
        self._waiting[task] = self._waiting.get(task, 0) + 1
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # Whoever else waits has it; else nobody will give it back.
            if self._waiting[task] == 1 and task.done() and not task.cancelled():
                asyncio.get_running_loop().call_soon(self._end_unused, task)
            raise
        finally:
            self._waiting[task] -= 1
            if not self._waiting[task]:
                del self._waiting[task]

    def ready(self, function: Function) -> ZygoteLease | None:
        """Return the function's zygote for one use if nobody has to wait for it, or hear of its start."""
        asked = self._asked.get(id(function))
        if asked is None or not self._landmarks.is_fresh():
            return None
        entry = self._entries.get(asked.key)
        return None if entry is None or entry.lines else self.standing(function)

    def standing(self, function: Function) -> ZygoteLease | None:
        """Return the function's zygote for one use if there is one; what its walls know may be a moment old."""
        asked = self._asked.get(id(function))
        if asked is None or not self.stands(function):
            return None
        return self._lease(self._entries[asked.key].task.result(), asked.walls, is_cold=False)

    def stands(self, function: Function) -> bool:
        """Whether the function has a zygote that lives, without using it."""
        asked = self._asked.get(id(function))
        task = self._roots.get(function.python or sys.executable)
        if asked is None or asked.function is not function or task is None or not _is_made(task):
            return False
        if asked.root is not task.result() or asked.premises is not self._landmarks.premises:
            return False
        entry = self._entries.get(asked.key)
        is_made = entry is not None and _is_made(entry.task) and asked.root.is_alive
        return is_made and entry is not None and entry.task.result().is_alive

    def take_init_lines(self, function: Function) -> list[OutputLine]:
        """Return what the function's import printed, to the first who asks."""
        for entry in self._entries.values():
            if entry.task.done() and entry.lines and entry.task.get_name() == function.name:
                lines, entry.lines[:] = list(entry.lines), []
                return lines
        return []

    def give_back(self, zygote: Zygote) -> None:
        """End a lease: the last one of a retired zygote ends it, of another begins its idle time."""
        zygote.active -= 1
        if zygote.active:
            return
        entry = self._entries.get(zygote.key)
        is_current = entry is not None and _is_of(entry, zygote)
        if zygote.is_retired or not is_current:
            self._end_later(zygote)
            return
        zygote.last_used = asyncio.get_running_loop().time()
        self._evict_later(zygote, self._idle_s)

    async def retire(self, keep: Sequence[Function]) -> None:
        """End every zygote that no function in `keep` uses, each after its last attempt."""
        self._asked.clear()
        self._host.forget()
        wanted = set()
        for function in keep:
            task = self._roots.get(function.python or sys.executable)
            if task is not None and task.done() and not task.exception():
                root = task.result()
                # Of a user who is no more: it has no zygote.
                with contextlib.suppress(SandboxError):
                    wanted.add(self._key(function, self._host.around(function, root), root)[0])
        for key in set(self._entries) - wanted:
            entry = self._entries.pop(key)
            entry.task.add_done_callback(self._retire_one)

    async def stop(self) -> None:
        """End every zygote and root zygote, and with them every sandbox."""
        for eviction in self._evictions.values():
            eviction.cancel()
        for entry in self._entries.values():
            entry.task.cancel()
            entry.task.add_done_callback(self._retire_one)
        await asyncio.gather(*(e.task for e in self._entries.values()), return_exceptions=True)
        self._entries.clear()
        while self._endings:
            await asyncio.wait(self._endings)
        for task in self._roots.values():
            task.cancel()
        for found in await asyncio.gather(*self._roots.values(), return_exceptions=True):
            if isinstance(found, RootZygote):
                await found.stop()
                found.close()
        self._roots.clear()

    async def walls_of(self, function: Function) -> Walls:
        """Return what this host builds for the function's interpreter. Raises SandboxError."""
        return self._host.around(function, await self.root(function.python or sys.executable))

    def known_walls(self) -> dict[str, dict[str, Any]]:
        """Return, as JSON, what this host builds for each interpreter that has been started."""
        roots = {python: task for python, task in self._roots.items() if task.done()}
        return {
            python: dataclasses.asdict(self._host.of(task.result()))
            for python, task in roots.items()
            if not task.cancelled() and not task.exception()
        }

    def _lease(self, zygote: Zygote, walls: Walls, *, is_cold: bool) -> ZygoteLease:
        zygote.active += 1
        return ZygoteLease(zygote, walls, is_cold, self)

    def _key(
        self, function: Function, walls: Walls, root: RootZygote
    ) -> tuple[str, dict[str, Any]]:
        premises = self._landmarks.premises
        asked = policy.zygote_policy(function, walls, os.environ, premises)
        asked["env"] = {**asked["env"], MARK: root.mark}
        key = policy.zygote_key(function, asked)
        asked["private_dir"] = os.path.join(premises.tmp_root, key[:16])
        if len(self._asked) >= _ASKED_MAX:
            self._asked.clear()
        self._asked[id(function)] = _Asked(function, root, premises, key, walls)
        return key, asked

    def _is_spent(self, entry: _Entry) -> bool:
        """Whether a new zygote must be started: this one died, or failed long enough ago."""
        if not entry.task.done():
            return False
        if entry.task.cancelled():
            return True
        if entry.task.exception() is None:
            return not entry.task.result().is_alive
        failed_at = entry.failed_at or 0.0
        return self._clock.monotonic() - failed_at >= _FAILURE_KEPT_S

    def _start(
        self, function: Function, root: RootZygote, key: str, asked: dict[str, Any]
    ) -> _Entry:
        previous = self._entries.get(key)
        if previous is not None:
            previous.task.add_done_callback(self._retire_one)
        number = next(self._numbers)
        slot = None
        if self._slots is not None:
            try:
                slot = self._slots.make(f"z{number}", _slot_limits(function, asked))
            except OSError as error:
                raise SandboxError(f"cannot make a cgroup for a zygote: {error}") from error
        identity = self._host.around(function, root).identity
        start = ZygoteStart(
            function, asked, key, number, root, slot, self._watch, self._clock, identity
        )
        entry = _Entry(asyncio.create_task(start.run(), name=function.name), start.lines)

        def on_done(task: asyncio.Task[Zygote]) -> None:
            if not task.cancelled() and task.exception() is not None:
                entry.failed_at = self._clock.monotonic()

        entry.task.add_done_callback(on_done)
        self._entries[key] = entry
        return entry

    async def _start_root(self, python: str, lost: RootZygote | None) -> RootZygote:
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

    def _evict_later(self, zygote: Zygote, delay_s: float) -> None:
        """Look later whether it is idle still: one timer for each zygote, and none for each attempt."""
        if not zygote.is_kept and zygote not in self._evictions:
            loop = asyncio.get_running_loop()
            self._evictions[zygote] = loop.call_later(delay_s, self._evict, zygote)

    def _evict(self, zygote: Zygote) -> None:
        del self._evictions[zygote]
        entry = self._entries.get(zygote.key)
        if zygote.is_kept or zygote.active or entry is None or not _is_of(entry, zygote):
            return  # Kept since; in use, and then looked at again when it is given back; or a predecessor.
        idle_s = asyncio.get_running_loop().time() - zygote.last_used
        if idle_s < self._idle_s:
            self._evict_later(zygote, self._idle_s - idle_s)
            return
        del self._entries[zygote.key]
        self._end_later(zygote)

    def _retire_one(self, task: asyncio.Task[Zygote]) -> None:
        if task.cancelled() or task.exception() is not None:
            return
        zygote = task.result()
        if not zygote.is_retired:
            zygote.is_retired = True
            self._end_unused(task)

    def _end_unused(self, task: asyncio.Task[Zygote]) -> None:
        """End a retired zygote that nobody uses, and nobody waits for."""
        if task.exception() is None and task not in self._waiting:
            zygote = task.result()
            if zygote.is_retired and not zygote.active:
                self._end_later(zygote)

    def _end_later(self, zygote: Zygote) -> None:
        eviction = self._evictions.pop(zygote, None)
        if eviction is not None:
            eviction.cancel()
        ending = asyncio.create_task(_end(zygote, self._end_waiting(zygote)))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)


def _slot_limits(function: Function, asked: Mapping[str, Any]) -> SlotLimits:
    """Return the caps of a zygote, which runs a handler's module as well: its import, its threads afterwards."""
    if asked["module"] is None:
        return SlotLimits(function.limits.memory_bytes)
    processes = int(asked["processes"]) + _FORKS_UNDERWAY
    return SlotLimits(function.limits.memory_bytes, processes, asked["cpu"])


def _is_made(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and not task.exception()


def _is_of(entry: _Entry, zygote: Zygote) -> bool:
    """Whether this entry's zygote is this one, and not a successor with the same key."""
    return _is_made(entry.task) and entry.task.result() is zygote


async def _end(zygote: Zygote, waiting: Sequence[asyncio.Future[None]]) -> None:
    if waiting:
        await asyncio.wait(waiting)
    await zygote.stop()
    zygote.release()
