"""The zygotes that exist: started when first wanted, once however many want them; ended when idle or retired."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from faasd.clock import Clock
from faasd.errors import FunctionRefused, SandboxError, ZygoteInitFailed
from faasd.model.attempt import OutputLine
from faasd.model.function import Function, ZygoteUse
from faasd.model.walls import refusal
from faasd.sandbox import policy
from faasd.sandbox.cgroup_slot import CgroupSlots
from faasd.sandbox.file_rules import Premises, given_paths
from faasd.sandbox.host_walls import HostWalls
from faasd.sandbox.landmarks import Landmarks
from faasd.sandbox.memory_watch import MemoryWatch
from faasd.sandbox.missing_walls import missing_walls
from faasd.sandbox.policy import Walls
from faasd.sandbox.root_zygotes import RootZygotes
from faasd.sandbox.zygote_entry import Entry, Needs, Wanted, ZygoteLease
from faasd.sandbox.zygote_process import MARK, RootZygote, Zygote
from faasd.sandbox.zygote_sharing import Sharing
from faasd.sandbox.zygote_start import ZygoteStart, slot_limits

__all__ = ["ZygotePool"]

_ASKED_MAX = 1000


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
        self._numbers = numbers
        self._slots = slots
        self._watch = watch
        self._clock = clock
        self._idle_s = idle_s
        self._host = HostWalls(slots, without)
        self._sharing = Sharing(premises.slots)
        self._roots = RootZygotes(mark, numbers, use_namespaces=use_namespaces)
        self._entries: dict[str, Entry] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.Task[Zygote], int] = {}  # How many wait for its start.
        self._evictions: dict[Zygote, asyncio.TimerHandle] = {}
        self._asked: dict[int, Wanted] = {}  # By the function's identity.

    async def root(self, python: str) -> RootZygote:
        """Return an interpreter's root zygote, started anew if it has died. Raises SandboxError."""
        return await self._roots.get(python)

    async def zygote(self, function: Function) -> ZygoteLease:
        """Return the function's zygote for one use. Raises ZygoteInitFailed, FunctionRefused or SandboxError."""
        root = await self.root(function.python or sys.executable)
        walls = self._host.around(function, root)
        reason = refusal(function.permissions.containment, missing_walls(function, walls))
        if reason is not None:  # Here, before anything of the function's is imported.
            raise FunctionRefused(f"function {function.name!r} is refused: {reason}")
        await self._landmarks.look(given_paths(function))
        wanted, asked = self._wanted(function, walls, root)
        entry, is_cold = self._entry(wanted, asked, self._key_now(wanted))
        if entry.owner == wanted.own:
            zygote = await self._wait_for(entry.task)
        else:
            found = await self._join(entry)
            if found is None:
                entry.users.discard(function.name)
                entry, is_cold = self._entry(wanted, asked, wanted.own)
                found = await self._wait_for(entry.task)
            zygote = found
        zygote.is_kept = zygote.is_kept or function.keep_warm  # Of all that use it.
        return self._lease(zygote, walls, is_cold=is_cold)

    def _key_now(self, wanted: Wanted) -> str:
        """Return the key of the zygote that a function is to use: its own only if that is there, or there is no other."""
        own = self._entries.get(wanted.own)
        if wanted.shared is None or (own is not None and not own.is_spent(self._clock.monotonic())):
            return wanted.own
        if own is not None:
            del self._entries[wanted.own]
            own.task.add_done_callback(self._retire_one)
        return wanted.shared

    def _entry(self, wanted: Wanted, asked: dict[str, Any], key: str) -> tuple[Entry, bool]:
        """Return the zygote of this key, started if need be; and whether one has to wait for it."""
        entry = self._entries.get(key)
        is_new = entry is None or entry.is_spent(self._clock.monotonic())
        if entry is None or is_new:
            entry = self._start(wanted, key, asked)
        entry.users.add(wanted.function.name)
        return entry, is_new or not entry.task.done()

    async def _join(self, entry: Entry) -> Zygote | None:
        """Wait for a zygote that is started for another function; None when it turns out to be that one's alone."""
        try:
            zygote = await self._wait_for(entry.task)
        except (ZygoteInitFailed, SandboxError):
            return None  # The function has a try of its own, and hears of its own failure.
        if entry.is_shared:
            return zygote
        if entry.task not in self._waiting and not zygote.active:
            zygote.active += 1
            self.give_back(zygote)  # Its idle time begins: who had it started waits no more.
        return None

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
        entry = self._entry_of(asked)
        if entry is None or entry.has_news_for(function):
            return None
        return self.standing(function)

    def standing(self, function: Function) -> ZygoteLease | None:
        """Return the function's zygote for one use if there is one; what its walls know may be a moment old."""
        asked = self._asked.get(id(function))
        if asked is None or not self.stands(function):
            return None
        entry = self._entry_of(asked)
        return self._lease(entry.task.result(), asked.walls, is_cold=False) if entry else None

    def stands(self, function: Function) -> bool:
        """Whether the function has a zygote that lives, without using it."""
        asked = self._asked.get(id(function))
        root = self._roots.started(function.python or sys.executable)
        if asked is None or asked.function is not function or root is None:
            return False
        if asked.root is not root or asked.premises is not self._landmarks.premises:
            return False
        entry = self._entry_of(asked)
        if entry is None or not entry.is_made() or not asked.root.is_alive:
            return False
        return entry.task.result().is_alive

    def _entry_of(self, wanted: Wanted) -> Entry | None:
        entry = self._entries.get(wanted.own)
        if entry is None and wanted.shared is not None:
            entry = self._entries.get(wanted.shared)
        return entry

    def take_init_lines(self, function: Function) -> list[OutputLine]:
        """Return what the function's import printed, to the first attempt at it that asks."""
        found = (entry.tell(function) for entry in self._entries.values())
        return next((lines for lines in found if lines), [])

    def give_back(self, zygote: Zygote) -> None:
        """End a lease: the last one of a retired zygote ends it, of another begins its idle time."""
        zygote.active -= 1
        if zygote.active:
            return
        entry = self._entries.get(zygote.key)
        is_current = entry is not None and entry.is_of(zygote)
        if zygote.is_retired or not is_current:
            self._end_later(zygote)
            return
        zygote.last_used = asyncio.get_running_loop().time()
        self._evict_later(zygote, self._idle_s)

    async def retire(self, keep: Sequence[Function]) -> None:
        """End every zygote that no function in `keep` uses, each after its last attempt. There are no others now."""
        self._asked.clear()
        self._host.forget()
        self._sharing.know(keep)
        wanted = self._wanted_by(keep) if self._entries else {}
        for key, entry in list(self._entries.items()):
            if key not in wanted or entry.slots < wanted[key].slots:
                del self._entries[key]
                entry.task.add_done_callback(self._retire_one)
            elif entry.is_made():
                zygote = entry.task.result()
                zygote.is_kept = wanted[key].is_kept
                if not zygote.active:
                    self._evict_later(zygote, self._idle_s)

    def _wanted_by(self, functions: Sequence[Function]) -> dict[str, Needs]:
        """Return the keys of the zygotes that these use, and what they need of each."""
        found: dict[str, Needs] = {}
        for function in functions:
            root = self._roots.started(function.python or sys.executable)
            if root is None:
                continue
            # Of a user who is no more: it has no zygote.
            with contextlib.suppress(SandboxError):
                wanted, _ = self._wanted(function, self._host.around(function, root), root)
                needs = found.setdefault(wanted.own, Needs())
                needs.is_kept |= function.keep_warm
                if wanted.shared is not None:
                    needs = found.setdefault(wanted.shared, Needs(self._sharing.slots(function)))
                    needs.is_kept |= function.keep_warm
        return found

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
        await self._roots.stop()

    async def walls_of(self, function: Function) -> Walls:
        """Return what this host builds for the function's interpreter. Raises SandboxError."""
        return self._host.around(function, await self.root(function.python or sys.executable))

    def known_walls(self) -> dict[str, dict[str, Any]]:
        """Return, as JSON, what this host builds for each interpreter that has been started."""
        roots = self._roots.all_started()
        return {python: dataclasses.asdict(self._host.of(root)) for python, root in roots.items()}

    def use_of(self, function: Function) -> ZygoteUse:
        """Say which other functions use this one's zygote, or why it has its own; as far as that is known by now."""
        others = self._sharing.others(function)
        root = self._roots.started(function.python or sys.executable)
        if not others or root is None:
            return ZygoteUse()
        names = []
        with contextlib.suppress(SandboxError):  # Of a user who is no more.
            wanted, asked = self._wanted(function, self._host.around(function, root), root)
            if wanted.shared is None:
                why = self._sharing.why_not(function, wanted.walls, asked)
                return ZygoteUse(own_because=why)
            for other in others:
                its, _ = self._wanted(other, self._host.around(other, root), root)
                names += [other.name] if its.shared == wanted.shared else []
        return ZygoteUse(tuple(names))

    def _lease(self, zygote: Zygote, walls: Walls, *, is_cold: bool) -> ZygoteLease:
        zygote.active += 1
        return ZygoteLease(zygote, walls, is_cold, self.give_back)

    def _wanted(
        self, function: Function, walls: Walls, root: RootZygote
    ) -> tuple[Wanted, dict[str, Any]]:
        """Return which zygote the function needs, and the policy of one that is its alone."""
        premises = self._landmarks.premises
        asked = policy.zygote_policy(function, walls, os.environ, premises)
        asked["env"] = {**asked["env"], MARK: root.mark}
        own = policy.zygote_key(function, asked)
        shared = self._sharing.key(function, walls, asked)
        if len(self._asked) >= _ASKED_MAX:
            self._asked.clear()
        wanted = Wanted(function, root, premises, own, shared, walls)
        self._asked[id(function)] = wanted
        return wanted, asked

    def _start(self, wanted: Wanted, key: str, asked: dict[str, Any]) -> Entry:
        previous = self._entries.get(key)
        if previous is not None:
            previous.task.add_done_callback(self._retire_one)
        function, root = wanted.function, wanted.root
        private_dir = os.path.join(wanted.premises.tmp_root, key[:16])
        asked = {**asked, "private_dir": private_dir}
        if key == wanted.shared:
            asked.update(is_shared=True, slots=self._sharing.slots(function))
        number = next(self._numbers)
        slot = None
        if self._slots is not None:
            try:
                slot = self._slots.make(f"z{number}", slot_limits(function, asked))
            except OSError as error:
                raise SandboxError(f"cannot make a cgroup for a zygote: {error}") from error
        identity = self._host.around(function, root).identity
        start = ZygoteStart(
            function, asked, key, number, root, slot, self._watch, self._clock, identity
        )
        task = asyncio.create_task(start.run(), name=function.name)
        entry = Entry(task, start.lines, wanted.own, asked["is_shared"], asked["slots"])
        task.add_done_callback(lambda _: self._look_at(entry, key, start.alone))
        self._entries[key] = entry
        return entry

    def _look_at(self, entry: Entry, key: str, alone: str) -> None:
        """See how a start ended. One that failed, or that depends on whose it is, is its starter's alone."""
        task = entry.task
        if task.cancelled():
            return
        if task.exception() is not None:
            entry.failed_at = self._clock.monotonic()
        elif not alone:
            return
        else:
            self._sharing.found_alone(key, alone)
        if entry.is_shared:
            entry.is_shared = False
            self._give_to_owner(entry, key)

    def _give_to_owner(self, entry: Entry, key: str) -> None:
        if self._entries.get(key) is not entry:
            return  # Retired meanwhile.
        del self._entries[key]
        previous = self._entries.get(entry.owner)
        if previous is not None:
            previous.task.add_done_callback(self._retire_one)
        self._entries[entry.owner] = entry
        if entry.is_made():
            entry.task.result().key = entry.owner

    def _evict_later(self, zygote: Zygote, delay_s: float) -> None:
        """Look later whether it is idle still: one timer for each zygote, and none for each attempt."""
        if not zygote.is_kept and zygote not in self._evictions:
            loop = asyncio.get_running_loop()
            self._evictions[zygote] = loop.call_later(delay_s, self._evict, zygote)

    def _evict(self, zygote: Zygote) -> None:
        del self._evictions[zygote]
        entry = self._entries.get(zygote.key)
        if zygote.is_kept or zygote.active or entry is None or not entry.is_of(zygote):
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


async def _end(zygote: Zygote, waiting: Sequence[asyncio.Future[None]]) -> None:
    if waiting:
        await asyncio.wait(waiting)
    await zygote.stop()
    zygote.release()
