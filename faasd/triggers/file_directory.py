"""One watched directory: one task that scans, settles, accepts and acts, one thing at a time.

Because everything about a trigger happens in its own task, no two of these race for a file.
Whatever blocks runs in the directory's own thread, so that a network file system that hangs stops
this directory and no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from faasd.errors import EventRefused, NotAccepting
from faasd.interfaces import WatchStatus
from faasd.model.function import Function
from faasd.model.invocation import Acceptance
from faasd.model.trigger import FilesTrigger
from faasd.triggers.file_accept import Accepted, FileAcceptor
from faasd.triggers.file_hints import HintInbox
from faasd.triggers.file_look import DirectoryLook, Scanned, say_root_error
from faasd.triggers.file_outcomes import FileOutcomes
from faasd.triggers.file_services import FileServices, Problems
from faasd.triggers.file_settle import Seen, Sifted
from faasd.triggers.file_silence import SilenceTest, loop_sentence
from faasd.triggers.file_state import new_state
from faasd.triggers.file_watch import DirectoryWatches

__all__ = ["WatchedDirectory"]

_T = TypeVar("_T")
_BATCH_MAX = 500
_LOOKS_MAX = 1000
_STOP_S = 5.0
_ABSENT_ROOT_S = 1.0  # How often a root that is not there is looked for.
_ROOT_CHECK_S = 5.0  # How often it is checked that the root is still the one that is watched.
_AGAIN_S = 1.0
_STALE_S = 0.05  # A file found longer ago is looked at once more before it is accepted.
_BACKOFF_S_MAX = 60.0
_SCAN_SHARE = 50  # A scan that takes a second is not repeated within 50.


class WatchedDirectory:
    """One files trigger in force."""

    def __init__(
        self,
        function: Function,
        trigger: FilesTrigger,
        services: FileServices,
        watches: DirectoryWatches,
        *,
        silence_s: float,
    ) -> None:
        state = new_state(trigger, services, grace_s=silence_s / 8)
        self.function = function
        self.trigger = trigger
        self.names = state.names
        self.rows = state.rows
        self.guard = state.guard
        self.backlog = state.backlog
        self.lock = asyncio.Lock()  # Held while anything of this trigger moves.
        self._services = services
        self._clock = services.clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"files-{trigger.name}")
        self._wake = asyncio.Event()
        self._hints = HintInbox(self.names, self._wake, asyncio.get_running_loop())
        self._look = DirectoryLook(state, watches, self._hints)
        self._acceptor = FileAcceptor(function, state)
        self._outcomes = FileOutcomes(state, self._executor, self._look)
        self._to_settle: set[str] = set()
        self._scan_due_s = 0.0
        self._root_check_due_s = 0.0
        self._settle_due_s = 0.0
        self._accept_due_s = 0.0
        self._silence = SilenceTest(self.guard, self.backlog, self._clock, silence_s=silence_s)
        self._failures = 0
        self._problems = Problems(trigger.name, services.report)
        self._last_scan_at: float | None = None
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None

    # ---- its life

    async def start(self) -> None:
        """Load the ledger and begin. Files that are there already are found by the first scan."""
        await self.rows.load()
        for invocation_id in self.rows.invocation_ids("accepted"):
            self.guard.accepted(invocation_id, 0)
        self._task = asyncio.create_task(self._run(), name=f"files {self.trigger.name}")

    async def stop(self) -> None:
        """End after the step that is under way. What is not accepted stays where it is.

        A file system that hangs holds this up for no longer than a few seconds.
        """
        self._is_stopping = True
        self._wake.set()
        self._look.forget()
        try:
            async with asyncio.timeout(_STOP_S):
                if self._task is not None:
                    await self._task
                await self.call(lambda: None)  # The thread is free, so joining it takes no time.
        except TimeoutError:
            self._problems.note("directory", f"{self.trigger.path} does not answer; left behind")
            self._executor.shutdown(wait=False, cancel_futures=True)
            return
        self._look.forget()  # What a scan that was under way has still begun to watch.
        self._executor.shutdown(wait=True)

    async def call(self, blocking: Callable[[], _T]) -> _T:
        """Run something that blocks in this directory's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, blocking)

    async def _run(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            try:
                async with self.lock:
                    is_busy = await self._step()
                self._failures = 0
                self._problems.over("watch-failure")
            except NotAccepting:  # The daemon is stopping; the files wait for its next start.
                self._accept_due_s = self._clock.monotonic() + _ABSENT_ROOT_S
                continue
            except Exception as error:  # noqa: BLE001 - one trigger's trouble must not end its watch
                await self._back_off(error)
                continue
            if is_busy:
                await asyncio.sleep(0)
            else:
                await self._wait(self._idle_until_s())

    async def _step(self) -> bool:
        """Do what is due, each thing once; returns whether there may be more at once."""
        now_s = self._clock.monotonic()
        await self._carry_out(now_s)
        is_busy = await self._take_hints()
        is_busy |= await self._look_again(now_s)
        if now_s >= self._scan_due_s or await self._is_root_changed(now_s):
            await self._scan()
        await self._test_for_loop()
        return await self._accept_some() or is_busy

    async def _wait(self, until_s: float) -> None:
        delay_s = max(0.0, until_s - self._clock.monotonic())
        try:
            async with asyncio.timeout(delay_s):
                await self._wake.wait()
        except TimeoutError:
            return

    def _idle_until_s(self) -> float:
        due = [self._scan_due_s]
        if not self._look.is_polling:
            due.append(self._root_check_due_s)
        if self.backlog.next_look_s is not None:
            due.append(self.backlog.next_look_s)
        if self._silence.until_s is not None:
            due.append(self._silence.until_s)
        if self.backlog.ready:
            due.append(self._accept_due_s)
        if self._to_settle or (self.backlog.held and not self.guard.is_tripped):
            due.append(self._clock.monotonic() + _AGAIN_S)
        return min(due)

    async def _back_off(self, error: Exception) -> None:
        self._failures += 1
        self._scan_due_s = 0.0  # Whatever was taken out to be worked on is found again.
        delay_s = min(2.0 ** (self._failures - 1), _BACKOFF_S_MAX)
        sentence = f"{type(error).__name__}: {error}; tried again in {delay_s:g}s"
        self._problems.note("watch-failure", sentence)
        until_s = self._clock.monotonic() + delay_s
        while not self._is_stopping and self._clock.monotonic() < until_s:
            self._wake.clear()
            await self._wait(until_s)

    # ---- hints and looks

    async def _take_hints(self) -> bool:
        taken = self._hints.take(_LOOKS_MAX)
        if taken.overflowed:
            self._services.report("files_hints_lost", trigger=self.trigger.name)
            self.backlog.hints_were_lost()
            self._scan_due_s = 0.0
        for directory in taken.directories:
            await self._scan_below(directory)
        if taken.files:
            generation = self.guard.generation_of_new(self._clock.monotonic(), by_scan=False)
            looked = await self.call(lambda: self._look.look(taken.files, taken.files))
            self._keep(looked.sifted, generation)
            self.backlog.forget(looked.absent)
        return taken.has_more or taken.overflowed

    async def _scan_below(self, directory: bytes) -> None:
        """Look into a directory that has just appeared; for anything else, at the whole tree."""
        prefix = self.names.root.rstrip(b"/") + b"/"
        relative = directory[len(prefix) :] if directory.startswith(prefix) else b""
        if not relative:
            self._scan_due_s = 0.0
        elif self.names.descends(relative):
            await self._scan(relative)

    async def _look_again(self, now_s: float) -> bool:
        """Look at the files whose time to settle has passed."""
        due = self.backlog.due(now_s, _LOOKS_MAX)
        if due:
            looked = await self.call(lambda: self._look.look(due, {}))
            self._keep(looked.sifted, 0)
            self.backlog.forget(looked.absent)
        return len(due) == _LOOKS_MAX

    def _keep(self, sifted: Sifted, generation: int) -> None:
        self.backlog.take(sifted, generation, self._clock.monotonic(), self._look.epoch_s)

    # ---- scans

    async def _is_root_changed(self, now_s: float) -> bool:
        if self._look.is_polling or now_s < self._root_check_due_s:
            return False
        self._root_check_due_s = now_s + _ROOT_CHECK_S
        return await self.call(self._look.is_root_changed)

    async def _scan(self, start: bytes = b"") -> None:
        began_s = self._clock.monotonic()
        if not start:
            self.guard.scan_began()
        generation = self.guard.generation_of_new(began_s, by_scan=True)
        try:
            scanned = await self.call(lambda: self._look.scan(start))
        except OSError as error:
            self._problems.note("directory", say_root_error(self.trigger.path, error))
            self._scan_due_s = self._clock.monotonic() + min(
                _ABSENT_ROOT_S, self.trigger.rescan_interval_s
            )
            return
        for part in scanned.sifted.parts(_LOOKS_MAX):  # The loop has others to serve meanwhile.
            self._keep(part, generation)
            await asyncio.sleep(0)
        if not start:
            await self._after_full_scan(scanned, began_s)
        elif scanned.found.unread and scanned.problem:
            self._problems.note("directory", scanned.problem)

    async def _after_full_scan(self, scanned: Scanned, began_s: float) -> None:
        if scanned.problem is None:
            self._problems.over("directory")
        else:
            self._problems.note("directory", scanned.problem)
        self.backlog.forget_absent(scanned.found.present, scanned.found.unread)
        await self.rows.forget(scanned.gone)
        self._last_scan_at = self._clock.now()
        now_s = self._clock.monotonic()
        trigger = self.trigger
        interval_s = trigger.poll_interval_s if self._look.is_polling else trigger.rescan_interval_s
        self._scan_due_s = now_s + max(interval_s, _SCAN_SHARE * (now_s - began_s))

    # ---- the guard against a function that feeds itself

    async def _test_for_loop(self) -> None:
        store, name = self._services.store, self.trigger.name
        if await self._silence.step(self._scan, lambda: store.unfinished(name)):
            held_count = len(self.backlog.held)
            sentence = loop_sentence(self.function.name, name, self.trigger.path, held_count)
            self._problems.note("loop", sentence)

    def start_again(self) -> None:
        """Go on after the guard has stopped the trigger, and count its chain anew."""
        self.guard.reset()
        self.backlog.release_held()
        self._problems.over("loop")
        self._wake.set()

    # ---- accepting and acting

    async def _accept_some(self) -> bool:
        """Accept one batch of what is ready; returns whether more is ready."""
        now_s = self._clock.monotonic()
        if not self.backlog.ready or self._is_stopping or now_s < self._accept_due_s:
            return False
        batch = self.backlog.batch(_BATCH_MAX)
        old = [item.seen for item in batch if now_s - item.found_at_s > _STALE_S]
        if old:
            changed = await self._changed_since(old)
            batch = [item for item in batch if item.seen.path not in changed]
        if batch:
            accepted = await self._acceptor.accept([(item.seen, item.generation) for item in batch])
            self.backlog.forget(item.seen.path for item in batch)
            self._after_accept(accepted)
        return bool(self.backlog.ready or self._to_settle)

    async def _changed_since(self, files: Sequence[Seen]) -> set[bytes]:
        """Send files that changed while they waited for their turn back to be settled."""
        paths = [seen.path for seen in files]
        looked = await self.call(lambda: self._look.peek(paths))
        same = {path: seen.identity for path, seen in looked.items()}
        changed = {seen.path for seen in files if same.get(seen.path) != seen.identity}
        self.backlog.unready(changed)
        for path in changed:
            self._hints.look_at(path)
        return changed

    def _after_accept(self, accepted: Accepted) -> None:
        self._to_settle.update(accepted.to_check)
        self.backlog.refuse(accepted.refused, self._clock.monotonic())
        if accepted.refused:
            _, _, sentence = accepted.refused[0]
            count = len(accepted.refused)
            self._problems.note("refused", f"{count} files are refused and tried again: {sentence}")
        elif accepted.acceptances and not self.backlog.refusals:
            self._problems.over("refused")

    async def accept_now(self, path: bytes) -> list[Acceptance]:
        """Accept a file without waiting for anything, also one that was accepted before.

        For `files retry`, which holds the lock. Empty when there is no such file. Raises EventRefused.
        """
        looked = await self.call(lambda: self._look.peek([path]))
        if path not in looked:
            return []
        accepted = await self._acceptor.accept([(looked[path], 0)], is_retry=True)
        if accepted.refused:
            raise EventRefused(accepted.refused[0][2])
        self.backlog.forget([path])
        self._after_accept(accepted)
        self._wake.set()
        return accepted.acceptances

    def take_function(self, function: Function) -> None:
        """Take over a reloaded function; the trigger itself is the same."""
        self.function = function
        self._acceptor.function = function

    def settled(self, invocation_id: str) -> bool:
        """Hear that an invocation may be final; returns whether it is one of this trigger's."""
        if invocation_id not in self.guard.unfinished and not self.rows.of_invocation(
            invocation_id
        ):
            return False
        self._to_settle.add(invocation_id)
        self._wake.set()
        return True

    async def _carry_out(self, now_s: float) -> None:
        """Act on what has been settled; now and then, on everything that could have been."""
        is_round = now_s >= self._settle_due_s
        ids = set(self._to_settle)
        if is_round:
            ids.update(self.rows.invocation_ids("accepted"), self.guard.unfinished)
        if is_round:
            self._settle_due_s = now_s + self.trigger.rescan_interval_s
        if not ids:
            return
        report = await self._outcomes.carry_out(ids)
        # What was said to be final and is not yet in what history reads is asked for once more.
        self._to_settle = set() if is_round else self._to_settle - set(report.final)
        for invocation_id in report.final:
            self.guard.finished(invocation_id, now_s)
        if report.problems:
            self._problems.note("action", report.problems[0])
        elif is_round:
            self._problems.over("action")

    # ---- for people

    def status(self) -> WatchStatus:
        """Say how this watch stands."""
        return WatchStatus(
            trigger=self.trigger.name,
            function=self.function.name,
            path=self.trigger.path,
            mode="polling" if self._look.is_polling else "inotify",
            seen=len(self.rows.by_path),
            pending=self.backlog.count,
            in_flight=self.rows.count("accepted"),
            failed=self.rows.count("failed"),
            last_scan_at=self._last_scan_at,
            problem=self._problems.sentence,
        )
