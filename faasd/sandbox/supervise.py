"""One attempt in one sandbox, from the fork until nothing of it is left.

Soft signal, grace, kill. An end is announced only after the whole process tree is gone: in a PID
namespace the first process's pidfd says so; elsewhere its zygote sweeps first, and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from typing import Any

from faasd import wire
from faasd.clock import Clock
from faasd.interfaces import AttemptServices
from faasd.linux import process
from faasd.model.attempt import Attempt
from faasd.model.outcome import ErrorRecord, Outcome, Usage
from faasd.sandbox import policy
from faasd.sandbox.attempt_io import AttemptIo
from faasd.sandbox.cgroup_slot import CgroupSlot
from faasd.sandbox.classify import Facts, Verdict, classify, describe_status
from faasd.sandbox.cpu_watch import CpuWatch, cpu_s_of_tree
from faasd.sandbox.failures import failures_in_lines, failures_in_report
from faasd.sandbox.file_rules import Premises
from faasd.sandbox.hints import with_hint
from faasd.sandbox.masking import Masker
from faasd.sandbox.memory_watch import MemoryWatch, WatchedTree
from faasd.sandbox.missing_walls import names_of_missing_walls
from faasd.sandbox.policy import Walls
from faasd.sandbox.size_watch import SizeWatch
from faasd.sandbox.zygote_process import Zygote

__all__ = ["Supervision"]

#: How long a kill may take before it is sent again; and the wait for a zygote's last word.
_KILL_PATIENCE_S = 0.5
_ENDED_PATIENCE_S = 2.0
_HARD = frozenset({"oom", "output-limit", "crashed", "tmp-size"})
#: Outcomes that something the kernel refused may have led to.
_HINTED = frozenset({"error", "crashed", "init-error"})


class Supervision:
    """Runs one attempt to its end."""

    def __init__(
        self,
        attempt: Attempt,
        services: AttemptServices,
        *,
        number: int,
        zygote: Zygote,
        slot: CgroupSlot | None,
        walls: Walls,
        watch: MemoryWatch,
        tmp_dir: str,
        clock: Clock,
        premises: Premises,
        secrets: Mapping[str, bytes],
    ) -> None:
        self._attempt = attempt
        self._limits = attempt.function.limits
        self._number = number
        self._zygote = zygote
        self._slot = slot
        self._walls = walls
        self._memory_watch = watch
        self._tmp_dir = tmp_dir
        self._clock = clock
        self._premises = premises
        self._loop = asyncio.get_running_loop()
        self._secrets = secrets
        self._masker = Masker(secrets) if secrets else None
        self._io = AttemptIo(attempt, services, clock, self.end, self._masker)
        if walls.identity is not None:
            self._io.give_pipes_to(walls.identity.uid, walls.identity.gid)
        self._wanted: asyncio.Future[str] = self._loop.create_future()
        self._hard_wanted: asyncio.Future[None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._gone_or_wanted: asyncio.Future[None] = self._loop.create_future()
        self._pidfd = -1
        self._tree: WatchedTree | None = None
        self._cpu_watch: CpuWatch | None = None
        self._size_watch: SizeWatch | None = None
        self.ended_by_itself = (
            False  # And not because we, or the kernel for want of memory, ended it.
        )

    @property
    def attempt_id(self) -> str:
        """Which attempt this is."""
        return self._attempt.id

    @property
    def pid(self) -> int | None:
        """The first process of the attempt; None before it is forked and when it is gone."""
        pid = process.pid_of_pidfd(self._pidfd) if self._pidfd >= 0 else None
        return pid if pid is not None and pid > 0 else None

    def end(self, word: str) -> None:
        """End the attempt with this outcome; the first word counts. Breaches of limits allow no grace.

        What has ended by itself is left its own outcome, although we may not have heard of it yet: a
        daemon that stood still finds its time limits over and the ends of its attempts in one moment.
        """
        if word not in _HARD and self._has_ended():
            return
        if not self._wanted.done():
            self._wanted.set_result(word)
            _resolve(self._gone_or_wanted)
        if word in _HARD:
            _resolve(self._hard_wanted)

    def end_now(self, word: str) -> None:
        """End the attempt with this outcome without grace."""
        self.end(word)
        _resolve(self._hard_wanted)

    def _has_ended(self) -> bool:
        if self._gone.done():
            return True
        return self._pidfd >= 0 and process.has_ended(self._pidfd)

    def _on_deadline(self) -> None:
        self.end("timeout")
        if not self._gone_or_wanted.done():  # It has ended; should its sweeping hang, we do it.
            self._loop.call_later(_KILL_PATIENCE_S, self._on_overdue)

    def _on_overdue(self) -> None:
        _resolve(self._gone_or_wanted)
        _resolve(self._hard_wanted)

    async def run(self, stop: asyncio.Future[str], uid_tasks: int) -> Outcome:
        """Run and judge the attempt. Raises SandboxError when it cannot even be forked."""
        try:
            ended = await self._fork(uid_tasks)
            began = self._clock.monotonic()
            self._begin()
            await self._until_gone(stop)
            wall_s = self._clock.monotonic() - began
            self.ended_by_itself = not self._wanted.done()
            return await self._judge(ended, wall_s)
        finally:
            await self._close()

    async def _fork(self, uid_tasks: int) -> asyncio.Future[dict[str, Any] | None]:
        asked = policy.attempt_policy(self._attempt.function, self._walls, uid_tasks, self._tmp_dir)
        fds = [*self._io.child_fds, *(self._slot.fds if self._slot else ())]
        try:
            self._pidfd, ended = await self._zygote.fork(self._number, asked, fds)
        finally:
            self._io.close_child_fds()
        if self._zygote.has_pid_namespace:
            self._loop.add_reader(self._pidfd, self._on_gone)
        else:
            ended.add_done_callback(self._on_swept)
        return ended

    def _on_gone(self) -> None:
        self._loop.remove_reader(self._pidfd)
        _resolve(self._gone)
        _resolve(self._gone_or_wanted)

    def _on_swept(self, end: asyncio.Future[dict[str, Any] | None]) -> None:
        """Without a PID namespace: the zygote has swept; if it died instead, the root zygote does so."""
        if end.result() is not None and process.has_ended(self._pidfd):
            self._on_gone()
        else:
            self._zygote.kill()  # It lies about a process that runs, or is dead already.
            self._zygote.exited.add_done_callback(lambda _: self._on_gone())

    def _begin(self) -> None:
        limits = self._limits
        deadline_at = self._clock.now() + limits.timeout_s
        env = policy.attempt_environment(
            self._attempt, os.environ, self._tmp_dir, deadline_at, self._walls.identity
        )
        event = policy.event_json(self._attempt)
        header = policy.attempt_header(
            self._attempt, env, limits.timeout_s, len(event), self._secrets
        )
        self._io.begin(wire.encode(header), wire.encode_raw(event))
        if self._slot is not None and self._slot.oom_fd is not None:
            self._loop.add_reader(self._slot.oom_fd, self._on_oom_event)
        elif self._slot is None:
            pid = process.pid_of_pidfd(self._pidfd)
            pid = -1 if pid is None else pid
            self._tree = WatchedTree(pid, limits.memory_bytes, lambda: self.end("oom"))
            if pid > 0:
                self._memory_watch.add(self._tree)
        if self._zygote.private_dir is not None:  # On disk, where nothing else bounds it.
            size_bytes = limits.tmp_size_bytes
            self._size_watch = SizeWatch(self._tmp_dir, size_bytes, lambda: self.end("tmp-size"))
        if limits.cpu_time_s is not None:
            self._cpu_watch = CpuWatch(limits.cpu_time_s, self._cpu_s, lambda: self.end("cpu-time"))

    def _cpu_s(self) -> float:
        used_s = self._slot.cpu_s() if self._slot is not None else None
        if used_s is not None:
            return used_s
        pid = process.pid_of_pidfd(self._pidfd)
        return cpu_s_of_tree(pid) if pid is not None and pid > 0 else 0.0

    def _on_oom_event(self) -> None:
        assert self._slot is not None
        assert self._slot.oom_fd is not None
        self._loop.remove_reader(self._slot.oom_fd)
        self.end("oom")  # cgroup v1 kills one process of the tree; the rest is for us.

    async def _until_gone(self, stop: asyncio.Future[str]) -> None:
        """Wait until nothing is left, ending it when its time is over or somebody wants so."""
        deadline = self._loop.call_later(self._limits.timeout_s, self._on_deadline)
        stop.add_done_callback(self._on_stop)
        try:
            await self._gone_or_wanted
            if not self._gone.done() and not self._hard_wanted.done():
                process.send_signal(self._pidfd, signal.SIGTERM)
                waits = {self._gone, self._hard_wanted}
                grace_s = self._limits.grace_s
                await asyncio.wait(waits, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            await self._kill_until_gone()
        finally:
            deadline.cancel()
            stop.remove_done_callback(self._on_stop)

    def _on_stop(self, stop: asyncio.Future[str]) -> None:
        self.end("cancelled" if stop.cancelled() else stop.result())

    async def _kill_until_gone(self) -> None:
        tries = 0
        while not self._gone.done():
            tries += 1
            if self._slot is not None:
                self._slot.kill()  # First: from here on nobody in it forks.
            if self._zygote.has_pid_namespace:
                process.send_signal(self._pidfd, signal.SIGKILL)
            else:
                self._zygote.kill_sandbox(self._number)
            if tries > 4 and not self._zygote.has_pid_namespace:
                # It does not answer; the root zygote sweeps what it leaves. A namespace's processes are
                # the kernel's to end, with or without it: killing it would cost all its other attempts.
                self._zygote.kill()
            await asyncio.wait({self._gone}, timeout=_KILL_PATIENCE_S)
        # Only a process that left its namespace's or its zygote's sight can still be in the cgroup.
        while self._slot is not None and not self._slot.is_empty():
            self._slot.kill()
            await asyncio.sleep(0.002)

    async def _judge(self, ended: asyncio.Future[dict[str, Any] | None], wall_s: float) -> Outcome:
        await asyncio.wait({ended}, timeout=_ENDED_PATIENCE_S)
        usage = ended.result() if ended.done() else None
        status = self._io.finish()
        peak = self._memory_peak(usage)
        facts = Facts(
            limits=self._limits,
            status=status,
            report=self._io.report,
            result_json=self._io.result_json,
            end_word=self._wanted.result() if self._wanted.done() else None,
            oom_kills=self._slot.oom_kills() if self._slot is not None else 0,
            cpu_s=self._cpu_watch.used_s if self._cpu_watch is not None else 0.0,
            memory_peak_bytes=peak,
            is_over_memory=self._is_over_memory(usage),
            has_data_limit=self._slot is None,
            broken_protocol=self._io.broken_protocol,
            zygote_loss=await self._zygote_loss(),
            zygote_breach=self._zygote.breach,
            is_command=self._attempt.function.handler is None,
            command_output=bytes(self._io.command_output),
            command_output_is_cut=self._io.command_output_is_cut,
            last_error_line=self._io.error_lines[-1] if self._io.error_lines else "",
        )
        verdict = classify(facts)
        error = await self._with_hint(verdict)
        return Outcome(
            verdict.word,
            result_json=verdict.result_json,
            error=self._masker.error(error) if self._masker else error,
            usage=Usage(wall_s, usage["cpu_s"] if usage else None, peak),
            output_truncated=self._io.output.is_truncated,
            degraded=names_of_missing_walls(self._attempt.function, self._walls),
        )

    async def _with_hint(self, verdict: Verdict) -> ErrorRecord | None:
        if verdict.error is None or verdict.word not in _HINTED:
            return verdict.error
        function = self._attempt.function
        told = self._io.report.get("error") if self._io.report is not None else None
        failures = failures_in_report(told)
        failures += failures_in_lines(self._io.error_lines, function.code_dir)
        return await with_hint(
            verdict.error, failures, function, self._walls, self._premises, self._tmp_dir
        )

    def _memory_peak(self, usage: dict[str, Any] | None) -> int | None:
        if self._slot is not None:
            return self._slot.memory_peak_bytes()
        seen = [self._tree.peak_bytes] if self._tree is not None else []
        if usage is not None:
            seen.append(int(usage["memory_bytes"]))
        return max(seen, default=None)

    def _is_over_memory(self, usage: dict[str, Any] | None) -> bool:
        """Whether it went over its cap between two looks of the watch."""
        if self._slot is not None or usage is None:
            return False
        # The largest resident size of any one process, of which it had the zygote's part from birth.
        own = int(usage["memory_bytes"]) - self._zygote.memory_bytes
        return own > self._limits.memory_bytes

    async def _zygote_loss(self) -> str | None:
        if self._zygote.is_alive:
            return None
        await asyncio.wait({self._zygote.exited}, timeout=_ENDED_PATIENCE_S)
        exited = self._zygote.exited.result() if self._zygote.exited.done() else None
        return describe_status(exited["status"]) if exited else "with the root zygote"

    async def _close(self) -> None:
        """Let go of everything; when we were interrupted, the tree goes first."""
        for watch in (self._cpu_watch, self._size_watch):
            if watch is not None:
                watch.stop()
        if self._pidfd >= 0:
            if not self._gone.done():
                await self._kill_until_gone()
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        if self._tree is not None:
            self._memory_watch.remove(self._tree)
        if self._slot is not None and self._slot.oom_fd is not None:
            self._loop.remove_reader(self._slot.oom_fd)
        for future in (self._wanted, self._hard_wanted, self._gone, self._gone_or_wanted):
            future.cancel()
        with contextlib.suppress(OSError):
            await self._io.close()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
