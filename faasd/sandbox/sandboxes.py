"""ProcessSandboxes: the implementation of the seam `Sandboxes` that makes real processes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import secrets
import shutil
import sys
from collections.abc import Collection, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from faasd import secret_files
from faasd.clock import Clock
from faasd.errors import SandboxError, ZygoteInitFailed
from faasd.interfaces import AttemptServices
from faasd.linux import proc_tree, rlimits
from faasd.model.attempt import Attempt
from faasd.model.function import Function, ZygoteUse
from faasd.model.outcome import ErrorRecord, Outcome
from faasd.model.walls import MissingWall
from faasd.sandbox import leftovers
from faasd.sandbox.burst import Burst, may_burst
from faasd.sandbox.cgroup_slot import CgroupSlots, find_cgroups
from faasd.sandbox.ends import init_record, not_begun, stopped, with_init_s
from faasd.sandbox.failures import failures_in_report
from faasd.sandbox.file_rules import Premises
from faasd.sandbox.hints import with_hint
from faasd.sandbox.memory_watch import MemoryWatch
from faasd.sandbox.request import Begun
from faasd.sandbox.sandbox import Sandbox
from faasd.sandbox.sandbox_maker import SandboxMaker
from faasd.sandbox.sandbox_pool import SandboxPool
from faasd.sandbox.source_names import outcome_at_source
from faasd.sandbox.spares import Spares
from faasd.sandbox.supervise import Supervision
from faasd.sandbox.walls_asked import ask_for_missing_walls
from faasd.sandbox.workspaces import Workspaces
from faasd.sandbox.zygote_entry import ZygoteLease
from faasd.sandbox.zygote_pool import ZygotePool
from faasd.sandbox.zygote_wait import zygote_or_stop

__all__ = ["ProcessSandboxes"]

T = TypeVar("T")

#: Waiting sandboxes that may be found dead before an attempt has a new one made for it.
_LOSSES_MAX = 3


class ProcessSandboxes:
    """Runs attempts in sandboxes forked from zygotes; used from one asyncio loop.

    `state_dir` holds private temporary directories and, hashed, names what is ours on this host: no two
    daemons may share one. `pid_namespaces` and `cgroups` set to False do without them where the host has
    them, and `without` names more fields of policy.Walls to leave off. A zygote unused for `zygote_idle_s` is ended.
    Functions' secrets are files of `secrets_dir`. No function reaches it, `state_dir` or the paths in
    `hidden`. At most `slots` attempts may run at once.
    """

    def __init__(
        self,
        state_dir: str | Path,
        clock: Clock | None = None,
        *,
        pid_namespaces: bool = True,
        cgroups: bool = True,
        zygote_idle_s: float = 600.0,
        without: Collection[str] = (),
        hidden: Collection[str] = (),
        secrets_dir: str | Path = "",
        slots: int = 16,
    ) -> None:
        self.leftovers_ended = 0  # Processes of a predecessor that `start` found and ended.
        self._state_dir = os.path.realpath(state_dir)
        self._tmp_root = os.path.join(self._state_dir, "tmp")
        self._clock = clock or Clock()
        self._use_namespaces = pid_namespaces
        self._use_cgroups = cgroups
        self._zygote_idle_s = zygote_idle_s
        self._without = without
        self._secrets_dir = str(secrets_dir)
        unreachable = [*hidden, *filter(None, [self._secrets_dir])]
        self._premises = Premises(
            self._state_dir, tuple(map(os.path.realpath, unreachable)), self._tmp_root, slots
        )
        digest = hashlib.sha256(os.fsencode(self._state_dir)).hexdigest()
        self._state_hash = digest[:16]
        self._numbers = itertools.count(1)
        self._running: dict[asyncio.Task[Outcome], Supervision | None] = {}
        self._is_stopping = False
        self._slots: CgroupSlots | None = None
        self._cgroup_problem = ""
        self._namespaces: tuple[str, ...] = ()
        self._watch = MemoryWatch()
        self._workspaces: Workspaces | None = None
        self._pool: ZygotePool | None = None
        self._waiting = SandboxPool()
        self._maker: SandboxMaker | None = None
        self._spares: Spares | None = None

    async def start(self) -> None:
        """End what a predecessor left, then start the default interpreter's root zygote. Raises SandboxError."""
        rlimits.raise_soft("NOFILE", 65536)  # Also for our descriptors to pass when they send many.
        instance = secrets.token_hex(4)
        self.leftovers_ended = await asyncio.to_thread(leftovers.end_marked, self._state_hash + ":")
        found, self._cgroup_problem = find_cgroups(self._state_hash, instance)
        if found is not None:
            self.leftovers_ended += await asyncio.to_thread(found.end_leftovers)
            self._slots = found if self._use_cgroups else None
            if self._slots is None:
                found.remove()
        await asyncio.to_thread(shutil.rmtree, self._tmp_root, True)
        try:
            os.makedirs(self._state_dir, mode=0o700, exist_ok=True)
            os.makedirs(self._tmp_root, mode=0o711)
        except OSError as error:
            raise SandboxError(f"cannot make {self._tmp_root}: {error.strerror}") from error
        self._workspaces = Workspaces(self._tmp_root, self._slots, self._numbers)
        self._waiting = SandboxPool(self._premises.slots)
        self._maker = SandboxMaker(self._workspaces, self._waiting, self._numbers)
        self._pool = ZygotePool(
            f"{self._state_hash}:{instance}",
            self._numbers,
            self._slots,
            self._watch,
            self._clock,
            use_namespaces=self._use_namespaces,
            idle_s=self._zygote_idle_s,
            without=self._without,
            premises=self._premises,
            end_waiting=self._waiting.end_all_of,
        )
        slots = self._premises.slots
        self._spares = Spares(self._pool, self._waiting, self._maker, self._clock, slots)
        self._is_stopping = False
        self._namespaces = (await self._pool.root(sys.executable)).namespaces

    def walls(self) -> dict[str, object]:
        """Say what the sandboxes here are built with, and why not with more."""
        return {
            "namespaces": list(self._namespaces),
            "memory_cgroup": self._slots.version if self._slots is not None else None,
            "memory_cgroup_problem": self._cgroup_problem or None,
            "interpreters": self._pool.known_walls() if self._pool is not None else {},
        }

    async def run(
        self, attempt: Attempt, services: AttemptServices, stop: asyncio.Future[str]
    ) -> Outcome:
        """Run one attempt to its end and say how it ended; see interfaces.Sandboxes."""
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = None
        try:
            outcome = await self._run(attempt, services, stop)
            return outcome_at_source(outcome, attempt.function)
        except ZygoteInitFailed as failure:
            outcome = Outcome(failure.outcome, error=await self._init_error(attempt, failure))
            return outcome_at_source(outcome, attempt.function)
        except (SandboxError, OSError) as error:
            # What the host refuses (descriptors, memory, processes) is not the handler's fault.
            return Outcome("sandbox-failed", error=ErrorRecord(type(error).__name__, str(error)))
        finally:
            self._running.pop(task, None)

    async def run_all(
        self,
        attempts: Sequence[Attempt],
        services: AttemptServices,
        stops: Sequence[asyncio.Future[str]],
    ) -> list[Outcome | None]:
        """Run attempts of one function one after another; see interfaces.Sandboxes."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(attempts) and all(one.is_ok for one in outcomes):
            some, their_stops = attempts[len(outcomes) :], stops[len(outcomes) :]
            found = await self._run_in_burst(some, services, their_stops) if some[1:] else []
            outcomes += found or [await self.run(some[0], services, their_stops[0])]
        left = stops[len(outcomes) :]
        not_run = [not_begun(one, "before it began") if one.done() else None for one in left]
        return [*outcomes, *not_run]

    async def _run_in_burst(
        self,
        attempts: Sequence[Attempt],
        services: AttemptServices,
        stops: Sequence[asyncio.Future[str]],
    ) -> list[Outcome]:
        """Run as many of them as begin in one sandbox that waits: none, when none does, or it had gone."""
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = None
        function = attempts[0].function
        try:
            lease = self._the_pool().ready(function)
            if lease is None:
                return []
            with lease:
                sandbox = self._waiting.take(function, lease.zygote, {})
                if sandbox is None:
                    return []
                if not may_burst(sandbox):
                    self._waiting.put(sandbox)
                    return []
                count = function.reuse - sandbox.served
                supervise = partial(self._supervision, services, sandbox, {})
                burst = Burst(attempts[:count], sandbox, self._clock, supervise)
                found = await self._use(sandbox, burst, burst.run(stops[:count]))
            return [outcome_at_source(one, function) for one in found]
        except (SandboxError, OSError) as error:
            return [Outcome("sandbox-failed", error=ErrorRecord(type(error).__name__, str(error)))]
        finally:
            self._running.pop(task, None)

    async def _init_error(self, attempt: Attempt, failure: ZygoteInitFailed) -> ErrorRecord:
        error = ErrorRecord.from_json(init_record(failure.error))
        function, failures = attempt.function, failures_in_report(failure.error)
        with contextlib.suppress(SandboxError):  # Its interpreter has ended meanwhile.
            walls = await self._the_pool().walls_of(function)
            return await with_hint(error, failures, function, walls, self._premises)
        return error

    async def warm(self, function: Function) -> None:
        """Start the function's zygote now, and have a spare wait. Raises ZygoteInitFailed or SandboxError."""
        with await self._the_pool().zygote(function):
            pass  # Given back at once, its idle time begins.
        if self._spares is not None:
            self._spares.prepare(function)

    async def missing_walls(
        self, functions: Sequence[Function]
    ) -> dict[str, tuple[MissingWall, ...]]:
        """Return, by function, which walls it lacks on this host.

        Functions whose interpreter does not answer within a moment are left out: their attempts say so,
        and are refused by then if need be.
        """
        return await ask_for_missing_walls(functions, self._the_pool().walls_of)

    def zygote_use(self, function: Function) -> ZygoteUse:
        """Say which other functions use its zygote, or why it has its own."""
        return self._pool.use_of(function) if self._pool is not None else ZygoteUse()

    def waiting(self) -> dict[tuple[str, str], int]:
        """Return how many sandboxes wait for an attempt, by function and kind: `warm` or `spare`."""
        return self._waiting.waiting()

    async def memory_now(self) -> dict[str, int]:
        """Return how much memory each running attempt's processes have now, in bytes, by attempt id."""
        found = {one.attempt_id: one.pid for one in self._running.values() if one is not None}
        pids = {attempt_id: pid for attempt_id, pid in found.items() if pid is not None}
        weights = await asyncio.to_thread(proc_tree.memory_bytes_of_trees, set(pids.values()))
        return {attempt_id: weights[pid] for attempt_id, pid in pids.items()}

    async def retire(self, keep: Sequence[Function]) -> None:
        """End the zygotes of everything that is not in `keep`, each after its last attempt."""
        if self._spares is not None:
            self._spares.retire(keep)
        self._waiting.retire(keep)
        await self._the_pool().retire(keep)

    async def stop(self) -> None:
        """End every process. Attempts that still run end as `drained`. When this returns, nothing is left."""
        self._is_stopping = True
        if self._maker is not None:
            self._maker.is_stopping = True
        if self._spares is not None:
            spares, self._spares = self._spares, None
            await spares.close()
        for supervision in self._running.values():
            if supervision is not None:
                supervision.end_now("drained")
        if self._pool is not None:
            pool, self._pool = self._pool, None
            if self._running:
                await asyncio.wait(set(self._running), timeout=5.0)
            await self._waiting.close()
            await pool.stop()
        if self._running:
            await asyncio.wait(set(self._running))
        if self._workspaces is not None:
            workspaces, self._workspaces = self._workspaces, None
            await workspaces.close()
        if self._maker is not None:
            self._maker.close()
        if self._slots is not None:
            self._slots.remove()

    async def _run(
        self, attempt: Attempt, services: AttemptServices, stop: asyncio.Future[str]
    ) -> Outcome:
        pool = self._the_pool()
        lease = None if stop.done() else pool.ready(attempt.function)
        if lease is None:
            found = await zygote_or_stop(pool, attempt, services, stop, lambda: self._is_stopping)
            if isinstance(found, Outcome):
                return found
            lease = found
        with lease:
            outcome = await self._in_sandbox(attempt, services, stop, lease)
        return with_init_s(outcome, lease.zygote.init_s) if lease.is_cold else outcome

    async def _in_sandbox(
        self,
        attempt: Attempt,
        services: AttemptServices,
        stop: asyncio.Future[str],
        lease: ZygoteLease,
    ) -> Outcome:
        """Run the attempt in a sandbox that waits, else in a new one; keep it, if it is to serve others."""
        function = attempt.function
        given = await self._read_secrets(function) if function.permissions.secrets else {}
        for losses in itertools.count():
            sandbox: Sandbox | str | None = None
            if losses < _LOSSES_MAX:
                sandbox = self._waiting.take(function, lease.zygote, given)
            if sandbox is None:
                sandbox = await self._the_maker().make(function, stop, lease)
            if isinstance(sandbox, str):
                return stopped(sandbox, "before there was room for its sandbox")
            init_s = lease.zygote.init_s if lease.is_cold else None
            supervision = self._supervision(services, sandbox, given, attempt, init_s=init_s)
            outcome = await self._use(sandbox, supervision, supervision.run(stop))
            if outcome is not None:
                return outcome  # Else it had gone while it waited, which concerns no attempt.
        raise AssertionError("a new sandbox always has an outcome")

    async def _read_secrets(self, function: Function) -> Mapping[str, bytes]:
        """Read the function's secrets, afresh for each attempt. Raises SecretError."""
        names = function.permissions.secrets
        return await asyncio.to_thread(secret_files.read_secrets, self._secrets_dir, names)

    def _supervision(
        self,
        services: AttemptServices,
        sandbox: Sandbox,
        given: Mapping[str, bytes],
        attempt: Attempt,
        begun: Begun | None = None,
        init_s: float | None = None,
    ) -> Supervision:
        """Return what supervises an attempt of the present task, which may be told to end it."""
        supervision = Supervision(
            attempt,
            services,
            sandbox,
            watch=self._watch,
            premises=self._premises,
            clock=self._clock,
            secrets=given,
            begun=begun,
            init_s=init_s,
        )
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = supervision
        if self._is_stopping:
            supervision.end_now("drained")
        return supervision

    async def _use(
        self, sandbox: Sandbox, user: Supervision | Burst, running: Coroutine[Any, Any, T]
    ) -> T:
        """Run attempts in a sandbox, and let it wait for others afterwards, if it is fit to."""
        is_new, spares = not sandbox.served, self._spares
        if is_new and spares is not None:
            spares.taken(sandbox.function)
        try:
            return await running
        finally:
            if user.keeps_sandbox:
                self._waiting.put(sandbox)
            else:
                await self._waiting.end(sandbox)
            if is_new and spares is not None:
                spares.ended(sandbox.function, leaves_renewed=user.leaves_renewed)

    def _the_maker(self) -> SandboxMaker:
        if self._maker is None:
            raise SandboxError("the sandboxes are not started, or have been stopped")
        return self._maker

    def _the_pool(self) -> ZygotePool:
        if self._pool is None:
            raise SandboxError("the sandboxes are not started, or have been stopped")
        return self._pool
