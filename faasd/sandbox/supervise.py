"""One attempt in one sandbox: soft signal, grace, kill, and what it all came to.

An end is announced only after the whole process tree is gone (of a renewed sandbox all but its first process); in a warm one, which
stays for the next attempt, after its handler has reported and nothing else that the attempt started is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from faasd.clock import Clock
from faasd.interfaces import AttemptServices
from faasd.model.attempt import Attempt
from faasd.model.outcome import ErrorRecord, Outcome, Usage
from faasd.sandbox import measured, policy
from faasd.sandbox.attempt_io import AttemptIo
from faasd.sandbox.classify import Facts, Verdict, classify
from faasd.sandbox.cpu_watch import CpuWatch
from faasd.sandbox.early_answer import is_result_certain, usage_so_far
from faasd.sandbox.file_rules import Premises
from faasd.sandbox.hinted import hinted
from faasd.sandbox.masking import Masker
from faasd.sandbox.memory_watch import MemoryWatch, WatchedTree
from faasd.sandbox.request import Begun, request_frames
from faasd.sandbox.sandbox import Sandbox
from faasd.sandbox.size_watch import SizeWatch

__all__ = ["Supervision"]

#: How long the sweeping of an attempt that has ended may take; and the wait for a zygote's last word.
_KILL_PATIENCE_S = 0.5
_HARD = frozenset({"oom", "output-limit", "crashed", "tmp-size"})
#: What a sandbox may report and live on; after any other report its process ends.
_STAYS_AFTER = frozenset({"result", "error"})
#: Outcomes that something the kernel refused may have led to.
_HINTED = frozenset({"error", "crashed", "init-error"})


class Supervision:
    """Runs one attempt to its end, in a sandbox that has been forked already."""

    def __init__(
        self,
        attempt: Attempt,
        services: AttemptServices,
        sandbox: Sandbox,
        *,
        watch: MemoryWatch,
        clock: Clock,
        premises: Premises,
        secrets: Mapping[str, bytes],
        init_s: float | None = None,
        begun: Begun | None = None,
    ) -> None:
        """`init_s` is what the zygote took, where the attempt had to wait for it."""
        self._attempt = attempt
        self._services = services
        self._init_s = init_s
        self._limits = attempt.function.limits
        self._sandbox = sandbox
        self._slot = sandbox.slot
        self._memory_watch = watch
        self._clock = clock
        self._premises = premises
        self._loop = asyncio.get_running_loop()
        self._secrets = secrets
        self._begun = begun
        self._others_follow = begun is not None and not begun.is_last
        self._masker = Masker(secrets) if secrets else None
        self._io = AttemptIo(
            attempt,
            services,
            clock,
            sandbox.io,
            on_breach=self.end,
            on_report=self._on_report,
            masker=self._masker,
            others_follow=self._others_follow,
        )
        self._wanted: str | None = None
        self._hard_wanted: asyncio.Future[None] = self._loop.create_future()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._tree: WatchedTree | None = None
        self._cpu_watch: CpuWatch | None = None
        self._size_watch: SizeWatch | None = None
        self._answered: Outcome | None = None  # What a caller was told already.
        # Whether the sandbox is to serve others after this attempt; and whether it is fit to.
        served = sandbox.served + (begun is None)
        is_left = self._others_follow or served < sandbox.function.reuse
        self._stays = is_left and not policy.shares_process_cap(sandbox.walls)
        self._has_reported = False
        self.keeps_sandbox = False

    @property
    def attempt_id(self) -> str:
        """Which attempt this is."""
        return self._attempt.id

    @property
    def leaves_renewed(self) -> bool:
        """Whether its sandbox is as new, and nobody waited: the next event may come before it has rehearsed."""
        is_renewed = self.keeps_sandbox and self._sandbox.renewal is not None
        return is_renewed and not self._attempt.is_sync

    @property
    def pid(self) -> int | None:
        """The first process of the attempt; None when it is gone."""
        return self._sandbox.pid

    def end(self, word: str) -> None:
        """End the attempt with this outcome; the first word counts. Breaches of limits allow no grace.

        What has ended by itself is left its own outcome, although we may not have heard of it yet: a
        daemon that stood still finds its time limits over and the ends of its attempts in one moment.
        """
        if word not in _HARD and self._has_ended():
            return
        if self._wanted is None:
            self._wanted = word
            _resolve(self._over)
        if word in _HARD:
            _resolve(self._hard_wanted)

    def end_now(self, word: str) -> None:
        """End the attempt with this outcome without grace."""
        self.end(word)
        _resolve(self._hard_wanted)

    def _has_ended(self) -> bool:
        if not self._has_reported:
            self._io.look()  # It may have reported without our having heard of it.
        return self._has_reported or self._sandbox.has_ended()

    def _on_report(self) -> None:
        """The handler has had its last word: what is left to do takes no time of its own.

        Without a PID namespace its process has to end by itself, so that its zygote can sweep.
        """
        report = self._io.report
        if report is None or self._wanted is not None:
            if self._others_follow:
                self._on_overdue()  # They are not to begin.
            return
        self._stays = self._stays and report["op"] in _STAYS_AFTER
        if self._stays or self._sandbox.ends_at_once:
            self._has_reported = True
            _resolve(self._over)

    def _on_deadline(self) -> None:
        self.end("timeout")
        if not self._over.done():  # It has ended; should its sweeping hang, we do it.
            self._loop.call_later(_KILL_PATIENCE_S, self._on_overdue)

    def _on_overdue(self) -> None:
        _resolve(self._over)
        _resolve(self._hard_wanted)

    def _on_gone(self, _: asyncio.Future[None]) -> None:
        _resolve(self._over)

    async def run(self, stop: asyncio.Future[str]) -> Outcome | None:
        """Run and judge the attempt; None when the sandbox had gone before it heard of it."""
        try:
            began = self._begun.at if self._begun is not None else self._clock.monotonic()
            if not self._begin():
                return None
            await self._until_over(stop, began + self._limits.timeout_s)
            wall_s = self._clock.monotonic() - began
            if self._was_unheard():
                return None
            if self._has_reported and self._stays:
                self._see_whether_it_stays()
                if self.keeps_sandbox:
                    return await self._judge_warm(wall_s)
                await self._sandbox.kill_until_gone()
            elif self._has_reported:
                await self._answer_early(wall_s)
                if await self._is_renewed():
                    outcome = await self._judge(wall_s)
                    self.keeps_sandbox = self._wanted is None and self._sandbox.renew()
                    return outcome
                await self._sandbox.dismiss()
            self._sandbox.ended_by_itself = self._wanted is None and not self._stays
            return await self._judge(wall_s)
        finally:
            await self._close()

    async def _is_renewed(self) -> bool:
        """Whether its sandbox has been made as new after a plain end, with nothing of the attempt left in it."""
        report, renewal = self._io.report, self._sandbox.renewal
        if renewal is None or report is None or report["op"] not in _STAYS_AFTER:
            return False
        self._sandbox.io.say_no_more()
        return await renewal.has_renewed(self._hard_wanted)

    def _on_handler_end(self) -> None:
        """Its handler's process has ended, and its first one waits instead of ending as well."""
        if not self._has_ended() or self._wanted is not None:
            self._sandbox.kill()  # Without a report, or too late with one.

    def _was_unheard(self) -> bool:
        """Whether it ended between two attempts, and we were too early to know."""
        if self._begun is not None and not self._begun.is_first:
            return False  # All of them were read together.
        is_gone = self._sandbox.gone.done() and self._wanted is None
        return is_gone and self._sandbox.has_waited and self._io.was_unheard()

    def _begin(self) -> bool:
        """Send the event and watch what comes of it; False when nobody was there to take it."""
        limits, sandbox = self._limits, self._sandbox
        if self._begun is not None:
            self._io.take_over(self._begun.texts, was_reset=self._begun.was_reset)
        elif not self._send() and sandbox.has_waited:
            return False
        sandbox.gone.add_done_callback(self._on_gone)
        sandbox.on_oom = self._on_oom
        if sandbox.renewal is not None:
            sandbox.renewal.on_end = self._on_handler_end
        if self._begun is not None and self._begun.is_oom:
            self._on_oom()
        if self._slot is None:
            pid = sandbox.pid or -1
            self._tree = WatchedTree(pid, limits.memory_bytes, lambda: self.end("oom"))
            if pid > 0:
                self._memory_watch.add(self._tree)
        if sandbox.is_on_disk:  # Where nothing else bounds it.
            size_bytes = limits.tmp_size_bytes
            self._size_watch = SizeWatch(sandbox.tmp_dir, size_bytes, lambda: self.end("tmp-size"))
        if limits.cpu_time_s is not None:
            cpu_s = partial(measured.cpu_s, sandbox)
            self._cpu_watch = CpuWatch(limits.cpu_time_s, cpu_s, lambda: self.end("cpu-time"))
        return True

    def _send(self) -> bool:
        sandbox = self._sandbox
        deadline_at = self._clock.now() + self._limits.timeout_s
        is_first = sandbox.served == 0
        secrets = self._secrets if is_first else {}
        request = request_frames(self._attempt, sandbox, deadline_at, secrets, stays=self._stays)
        if self._slot is not None and not is_first:
            self._slot.account.begin()
        sandbox.secrets = self._secrets
        sandbox.serve()
        return self._io.begin(request)

    def untaken(self) -> list[bytes]:
        """Return the frames that have come after the report: the next attempt's."""
        return self._io.untaken()

    def _on_oom(self) -> None:
        self.end("oom")

    async def _until_over(self, stop: asyncio.Future[str], deadline_at: float) -> None:
        """Wait until it has ended, or nothing is left because its time was over or somebody wanted so."""
        left_s = max(0.0, deadline_at - self._clock.monotonic())
        deadline = self._loop.call_later(left_s, self._on_deadline)
        stop.add_done_callback(self._on_stop)
        try:
            await self._over
            if self._has_reported:
                return
            gone = self._sandbox.gone
            if not gone.done() and not self._hard_wanted.done():
                self._sandbox.stop_softly()
                waits = {gone, self._hard_wanted}
                grace_s = self._limits.grace_s
                await asyncio.wait(waits, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            await self._sandbox.kill_until_gone()
        finally:
            deadline.cancel()
            stop.remove_done_callback(self._on_stop)

    def _on_stop(self, stop: asyncio.Future[str]) -> None:
        self.end("cancelled" if stop.cancelled() else stop.result())

    def _see_whether_it_stays(self) -> None:
        """Look at what the attempt, which has reported, has left in its sandbox."""
        if self._others_follow:  # The next one runs already; after the last one it is looked at.
            self._io.finish_warm(())
            self.keeps_sandbox = self._wanted is None and self._io.is_quiet
            return
        readable = self._sandbox.io.readable()  # Also when memory ran out, which is a hard word.
        if self._slot is not None and self._slot.oom_fd in readable:
            self.end("oom")
        self._io.finish_warm(readable)
        recycle_bytes = self._sandbox.function.recycle_memory_bytes
        is_too_large = (
            recycle_bytes is not None and measured.memory_bytes(self._sandbox) > recycle_bytes
        )
        self.keeps_sandbox = (
            self._wanted is None
            and self._io.is_quiet
            and not is_too_large
            and not measured.has_leftovers(self._sandbox)
        )

    async def _answer_early(self, wall_s: float) -> None:
        """Tell a caller who waits a certain result before its sandbox is gone; the outcome stays what was told."""
        if not self._attempt.is_sync or not is_result_certain(self._sandbox, self._io):
            return
        if self._wanted is None:  # It has printed no more than it may.
            usage = usage_so_far(self._sandbox, wall_s, self._init_s)
            self._answered = self._outcome_of(Verdict("ok", self._io.result_json), None, usage)
            self._services.answer(self._attempt, self._answered)
            await asyncio.sleep(0)  # It goes out before we go on.

    async def _judge_warm(self, wall_s: float) -> Outcome:
        """Judge an attempt whose sandbox lives on."""
        sandbox = self._sandbox
        cpu_s = sandbox.cpu_s()
        used_s, sandbox.cpu_s_before = cpu_s - sandbox.cpu_s_before, cpu_s
        if self._slot is not None:
            peak = self._slot.account.peak_bytes()
        else:
            peak = self._tree.peak_bytes if self._tree is not None else None
        usage = Usage(wall_s, used_s, peak)
        report = self._io.report
        if report is not None and report["op"] == "result":
            return await self._outcome(Verdict("ok", self._io.result_json), usage)
        facts = Facts(
            limits=self._limits, status=0, report=report, has_data_limit=self._slot is None
        )
        return await self._outcome(classify(facts), usage)

    async def _judge(self, wall_s: float) -> Outcome:
        """Judge an attempt whose sandbox is gone."""
        usage = await self._sandbox.usage()
        status = self._io.finish()
        if self._has_reported:  # And was ended by us, for what it had left behind.
            status = 0
        peak = measured.memory_peak_bytes(self._sandbox, self._tree, usage)
        zygote = self._sandbox.zygote
        facts = Facts(
            limits=self._limits,
            status=status,
            report=self._io.report,
            result_json=self._io.result_json,
            end_word=self._wanted,
            oom_kills=self._slot.oom_kills() if self._slot is not None else 0,
            cpu_s=self._cpu_watch.used_s if self._cpu_watch is not None else 0.0,
            memory_peak_bytes=peak,
            is_over_memory=measured.is_over_memory(self._sandbox, self._limits, usage),
            has_data_limit=self._slot is None,
            broken_protocol=self._io.broken_protocol,
            zygote_loss=await measured.zygote_loss(zygote),
            zygote_breach=zygote.breach,
            is_command=self._attempt.function.handler is None,
            command_output=bytes(self._io.command_output),
            command_output_is_cut=self._io.command_output_is_cut,
            last_error_line=self._io.error_lines[-1] if self._io.error_lines else "",
        )
        cpu_s = None
        if usage is not None:
            cpu_s = max(0.0, usage["cpu_s"] - self._sandbox.cpu_s_before)
        told = self._answered
        verdict = Verdict(told.word, told.result_json) if told is not None else classify(facts)
        return await self._outcome(verdict, Usage(wall_s, cpu_s, peak))

    async def _outcome(self, verdict: Verdict, usage: Usage) -> Outcome:
        error = await self._with_hint(verdict) if verdict.error is not None else None
        return self._outcome_of(verdict, error, usage)

    def _outcome_of(self, verdict: Verdict, error: ErrorRecord | None, usage: Usage) -> Outcome:
        return Outcome(
            verdict.word,
            result_json=verdict.result_json,
            error=self._masker.error(error) if self._masker else error,
            usage=usage,
            output_truncated=self._io.output.is_truncated,
            degraded=self._sandbox.missing_walls,
        )

    async def _with_hint(self, verdict: Verdict) -> ErrorRecord | None:
        if verdict.error is None or verdict.word not in _HINTED:
            return verdict.error
        sandbox, lines = self._sandbox, self._io.error_lines
        return await hinted(verdict.error, self._io.report, lines, sandbox, self._premises)

    async def _close(self) -> None:
        """Let go of the attempt; when we were interrupted, its tree goes first."""
        for watch in (self._cpu_watch, self._size_watch):
            if watch is not None:
                watch.stop()
        if self._tree is not None:
            self._memory_watch.remove(self._tree)
        self._cpu_watch = self._size_watch = self._tree = None  # They lead back to us.
        self._sandbox.on_oom = None
        if self._sandbox.renewal is not None:
            self._sandbox.renewal.on_end = None
        self._sandbox.gone.remove_done_callback(self._on_gone)
        if not self.keeps_sandbox:
            await self._sandbox.kill_until_gone()
        await self._io.close()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
