"""A FileTriggers over a real directory, with what a test asks of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from faasd.clock import Clock
from faasd.interfaces import WatchStatus
from faasd.model.function import Function
from faasd.model.trigger import FilesTrigger
from faasd.triggers.file_drop import FileTriggers
from faasd.triggers.file_watch import DirectoryWatches
from tests.fakes.files_fakes import FakeIntake, FakeLedger


async def wait_for(condition: Callable[[], Any], what: str = "", deadline_s: float = 10.0) -> Any:
    """Wait until a condition holds; fail with what was waited for."""
    until = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < until, f"waited {deadline_s}s for {what or condition}"
        await asyncio.sleep(0.002)
    return value


class FilesRig:
    """One watched directory, its function, and fakes around them."""

    def __init__(self, base: Path, **settings: Any) -> None:
        self.inbox = base / "inbox"
        self.inbox.mkdir(exist_ok=True)
        self.base = base
        self.outside = base / "outside"
        self.outside.mkdir(exist_ok=True)
        self.intake = FakeIntake()
        self.ledger = FakeLedger()
        self.reports: list[tuple[str, dict[str, Any]]] = []
        defaults: dict[str, Any] = {"name": "inbox", "path": str(self.inbox), "settle_s": 0.2}
        self.trigger = FilesTrigger(**{**defaults, **settings})
        self.functions = [Function("thumbnail", files=(self.trigger,))]
        self.triggers: FileTriggers | None = None
        self.silence_s = 0.05
        self.watches: DirectoryWatches | None = None  # Instead of the real ones.

    async def start(self, **settings: Any) -> FileTriggers:
        """Start, or start again as after a crash: with the same ledger and the same invocations."""
        if settings:
            self.trigger = replace(self.trigger, **settings)
            self.functions = [Function("thumbnail", files=(self.trigger,))]
        self.triggers = FileTriggers(
            self.intake,
            self.intake,  # type: ignore[arg-type]
            self.intake,  # type: ignore[arg-type]
            self.ledger,
            Clock(),
            self.report,
            silence_s=self.silence_s,
        )
        if self.watches is not None:
            self.triggers._watches = self.watches
        await self.triggers.start(self.functions)
        return self.triggers

    async def start_and_scan(self, **settings: Any) -> FileTriggers:
        """Start, and wait for the end of the first scan, so that hints alone tell of what follows."""
        triggers = await self.start(**settings)
        await wait_for(lambda: self.status().last_scan_at, "the first scan")
        return triggers

    def report(self, event_name: str, /, **fields: Any) -> None:
        self.reports.append((event_name, fields))

    async def stop(self) -> None:
        if self.triggers is not None:
            await self.triggers.stop()
            self.triggers = None

    def status(self) -> WatchStatus:
        assert self.triggers is not None
        return self.triggers.statuses()[0]

    def problem(self) -> str:
        return self.status().problem or ""

    def drop(self, name: str, content: bytes = b"x") -> Path:
        """Write a file elsewhere and rename it in."""
        source = self.outside / os.path.basename(name)
        source.write_bytes(content)
        target = self.inbox / name
        source.rename(target)
        return target

    def write_old(self, name: str, content: bytes = b"x") -> Path:
        """Write a file in place; call before start to have it found by the first scan."""
        target = self.inbox / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return target

    async def accepted(self, count: int, deadline_s: float = 10.0) -> list[str]:
        """Wait for so many events; returns the names, in order."""
        await wait_for(
            lambda: len(self.intake.events) >= count, f"{count} accepted events", deadline_s
        )
        return self.intake.names()

    async def in_ledger(self, path: Path, state: str | None) -> None:
        await wait_for(
            lambda: self.ledger.state_of(path, self.trigger.name) == state, f"{path} to be {state}"
        )

    def end(self, path: Path, outcome: str = "ok", *, state: str | None = None) -> str:
        """Let the invocation of a file end and tell the trigger, as the dispatcher does."""
        invocation_id = self.intake.id_of(path)
        state = self.intake.end(invocation_id, outcome, state=state)
        assert self.triggers is not None
        self.triggers.settled(invocation_id, state)
        return invocation_id

    async def quiet(self) -> None:
        """Wait until a scan that began after now has ended, so that what should not happen could have."""
        directory = self.triggers._directories[self.trigger.name]  # type: ignore[union-attr]
        before = self.status().last_scan_at
        directory._scan_due_s = 0.0
        directory._wake.set()
        await wait_for(lambda: self.status().last_scan_at != before, "another scan")
