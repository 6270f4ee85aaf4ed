"""The files triggers in force: implements the seam FileDrops.

The rescan is the truth and the watch is the hint. file_settle.py decides, file_scan.py looks,
file_watch.py hints, file_directory.py runs one trigger; this module keeps the set of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from faasd.clock import Clock
from faasd.errors import NotFound
from faasd.interfaces import (
    Accept,
    FileLedger,
    FileRow,
    History,
    InvocationStore,
    WatchStatus,
)
from faasd.model.function import Function
from faasd.model.invocation import FINAL_STATES, Acceptance
from faasd.model.trigger import FilesTrigger
from faasd.triggers.file_directory import WatchedDirectory
from faasd.triggers.file_explain import explain_in, nearest
from faasd.triggers.file_retry import retry_in
from faasd.triggers.file_services import FileServices, ReportProblem
from faasd.triggers.file_watch import DirectoryWatches

__all__ = ["FileTriggers"]

_SILENCE_S = 2.0


class FileTriggers:
    """Every watched directory of the daemon. All methods belong to the daemon's event loop."""

    def __init__(
        self,
        accept: Accept,
        store: InvocationStore,
        history: History,
        ledger: FileLedger,
        clock: Clock,
        report: ReportProblem,
        *,
        silence_s: float = _SILENCE_S,
    ) -> None:
        """`report(event_name, **fields)` is called with log events: files_problem and such.

        `silence_s` is how long the guard against a function that feeds itself listens for others.
        """
        self._services = FileServices(accept, store, history, ledger, clock, report)
        self._silence_s = silence_s
        self._watches = DirectoryWatches()
        self._directories: dict[str, WatchedDirectory] = {}

    async def start(self, functions: Sequence[Function]) -> None:
        """Begin to watch. What was dropped before is found by the first scan, soon after this returns."""
        await self.reload(functions)

    async def reload(self, functions: Sequence[Function]) -> None:
        """Take over a new set of functions; a trigger that did not change is not disturbed."""
        wanted = {
            trigger.name: (function, trigger)
            for function in functions
            for trigger in function.files
        }
        for name, directory in list(self._directories.items()):
            if not _is_unchanged(directory, wanted.get(name)):
                del self._directories[name]
                await directory.stop()
        for name, (function, trigger) in sorted(wanted.items()):
            current = self._directories.get(name)
            if current is not None:
                current.take_function(function)
                continue
            directory = WatchedDirectory(
                function, trigger, self._services, self._watches, silence_s=self._silence_s
            )
            await directory.start()
            self._directories[name] = directory

    async def stop(self) -> None:
        """End every watch. When this returns, nothing more is accepted and no thread is left."""
        for directory in self._directories.values():
            await directory.stop()
        self._directories.clear()
        self._watches.close()

    def settled(self, invocation_id: str, state: str) -> None:
        """Hear that an invocation has changed its state. Only a hint: a lost one costs time, not truth."""
        if state in FINAL_STATES:
            for directory in self._directories.values():
                if directory.settled(invocation_id):
                    return

    def statuses(self) -> list[WatchStatus]:
        """Return every watch, ordered by trigger name."""
        return [self._directories[name].status() for name in sorted(self._directories)]

    async def files(self, trigger: str | None = None, state: str | None = None) -> list[FileRow]:
        """Return ledger rows, newest first. Raises NotFound for an unknown trigger."""
        directories = self._directories.values() if trigger is None else [self._directory(trigger)]
        rows = [
            row
            for directory in directories
            for row in directory.rows.by_path.values()
            if state is None or row.state == state
        ]
        return sorted(rows, key=lambda row: row.seen_at, reverse=True)

    async def retry(self, path: str) -> list[Acceptance]:
        """Take a file, or every failed file below a directory, as new.

        A failed file that was moved away goes back to where it was dropped. Raises NotFound when no
        trigger knows of such a file, Conflict when its invocation is not final yet.
        """
        wanted = _absolute(path)
        accepted: list[Acceptance] = []
        for name in sorted(self._directories):
            accepted += await retry_in(self._directories[name], wanted)
        if not accepted:
            raise NotFound(
                f"no files trigger knows of a failed file at {path};"
                " `faasd files list --state failed` shows those that can be retried"
            )
        return accepted

    async def explain(self, path: str) -> list[str]:
        """Say in sentences what each watch that could see this path thinks of it.

        When none could, one sentence names the nearest watch; without any in its neighbourhood the
        list is empty.
        """
        wanted = _absolute(path)
        sentences: list[str] = []
        for name in sorted(self._directories):
            sentences += await explain_in(self._directories[name], wanted, self._services)
        return sentences or nearest(wanted, list(self._directories.values()))

    def start_again(self, function: str) -> list[str]:
        """Start the triggers of a function that the guard against self-feeding has stopped; return their names."""
        stopped = [
            name
            for name, directory in sorted(self._directories.items())
            if directory.function.name == function and directory.guard.is_tripped
        ]
        for name in stopped:
            self._directories[name].start_again()
        return stopped

    def _directory(self, trigger: str) -> WatchedDirectory:
        directory = self._directories.get(trigger)
        if directory is None:
            known = ", ".join(sorted(self._directories)) or "none"
            raise NotFound(f"no files trigger is named {trigger}; there are: {known}")
        return directory


def _absolute(path: str) -> bytes:
    return os.path.normpath(os.fsencode(os.path.abspath(path)))


def _is_unchanged(
    directory: WatchedDirectory, wanted: tuple[Function, FilesTrigger] | None
) -> bool:
    if wanted is None:
        return False
    function, trigger = wanted
    # What the guard has stopped for feeding itself begins anew when the function is another one than that.
    if directory.guard.is_tripped and function != directory.function:
        return False
    return trigger == directory.trigger and function.name == directory.function.name
