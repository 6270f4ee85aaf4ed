"""In-memory stand-ins for what schedules hand their ticks and cursors to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from faasd.interfaces import ScheduleCursor
from faasd.model.invocation import Acceptance, NewEvent


class RecordingAccept:
    """Accepts like intake and store together: an origin key is taken once, all of a call or nothing."""

    def __init__(self) -> None:
        self.events: list[NewEvent] = []
        self.duplicates: list[NewEvent] = []
        self.error: Exception | None = None
        self.refused_functions: set[str] = set()
        self.calls = 0
        self.grown = asyncio.Event()
        self.origins: dict[str, str] = {}

    async def accept(self, event: NewEvent) -> Acceptance:
        [acceptance] = await self.accept_many([event])
        return acceptance

    async def accept_many(self, events: Sequence[NewEvent]) -> list[Acceptance]:
        self.calls += 1
        await asyncio.sleep(0)
        if self.error is not None and (
            not self.refused_functions or self.refused_functions & {one.function for one in events}
        ):
            raise self.error
        return [self._take(event) for event in events]

    def _take(self, event: NewEvent) -> Acceptance:
        assert event.id is not None
        if event.origin_key is not None and event.origin_key in self.origins:
            self.duplicates.append(event)
            return Acceptance(self.origins[event.origin_key], "duplicate")
        if event.origin_key is not None:
            self.origins[event.origin_key] = event.id
        self.events.append(event)
        self.grown.set()
        return Acceptance(event.id, "waiting" if event.skip_reason is None else "skipped")

    @property
    def runs(self) -> list[NewEvent]:
        """What would run, in order."""
        return [event for event in self.events if event.skip_reason is None]

    @property
    def records(self) -> list[NewEvent]:
        """What is only recorded, in order."""
        return [event for event in self.events if event.skip_reason is not None]

    async def wait_for_runs(self, count: int, within_s: float = 10.0) -> None:
        """Return when there are at least so many runs."""
        async with asyncio.timeout(within_s):
            while len(self.runs) < count:
                self.grown.clear()
                await self.grown.wait()


class MemoryCursors:
    """Cursors that survive as long as this object, beside the store that takes the ticks."""

    def __init__(self, accept: RecordingAccept) -> None:
        self._accept = accept
        self.saved: dict[str, ScheduleCursor] = {}
        self.error: Exception | None = None

    async def load(self) -> dict[str, ScheduleCursor]:
        return dict(self.saved)

    async def save(self, cursor: ScheduleCursor) -> None:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.saved[cursor.name] = cursor

    async def newest_keys(self, spans: Sequence[tuple[str, str]]) -> list[str | None]:
        return [
            max((key for key in self._accept.origins if after < key <= until), default=None)
            for after, until in spans
        ]
