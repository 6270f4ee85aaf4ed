"""Small in-memory stand-ins for the seams that the files trigger needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from faasd.errors import EventRefused
from faasd.interfaces import FileRow, InvocationFilter
from faasd.model.attempt import AttemptRecord
from faasd.model.event import encode_json
from faasd.model.invocation import Acceptance, Invocation, NewEvent
from faasd.model.outcome import ErrorRecord
from faasd.model.retry import Spent


class FakeIntake:
    """Accept, History and the part of InvocationStore that the files trigger uses, over one dict."""

    def __init__(self) -> None:
        self.events: list[NewEvent] = []
        self.accepted_at: dict[str, float] = {}  # By path: time.perf_counter.
        self.batch_sizes: list[int] = []
        self.refuse: Callable[[NewEvent], bool] = lambda _: False
        self.fail_with: Exception | None = None
        self.on_accept: Callable[[NewEvent], None] = lambda _: None
        self._invocations: dict[str, Invocation] = {}
        self._id_by_origin_key: dict[str, str] = {}
        self._attempts: dict[str, list[AttemptRecord]] = {}

    # ---- Accept

    async def accept(self, event: NewEvent) -> Acceptance:
        return (await self.accept_many([event]))[0]

    async def accept_many(self, events: Sequence[NewEvent]) -> list[Acceptance]:
        if self.fail_with is not None:
            raise self.fail_with
        if any(self.refuse(event) for event in events):
            raise EventRefused("the event is too large")
        self.batch_sizes.append(len(events))
        await asyncio.sleep(0)
        return [self._take(event) for event in events]

    def _take(self, event: NewEvent) -> Acceptance:
        assert event.id is not None
        assert event.origin_key is not None
        first = self._id_by_origin_key.setdefault(event.origin_key, event.id)
        if first != event.id:
            return Acceptance(first, "duplicate", "duplicate")
        event_json = encode_json(event.body)
        self.events.append(event)
        self.accepted_at[event.body["path"]] = time.perf_counter()
        self._invocations[first] = Invocation(
            id=first,
            seq=len(self.events),
            function=event.function,
            queue=event.queue,
            trigger=event.trigger,
            source=event.source,
            event_json=event_json,
            state="skipped" if event.filter else "waiting",
            outcome="filtered" if event.filter else None,
            priority=0,
            created_at=time.time(),
            due_at=time.time(),
            expires_at=None,
            group_key=None,
            scheduled_for=None,
            parent_id=None,
            spent=Spent(),
            attempts=0,
            started_at=None,
            ended_at=None,
            error=None,
            result_json=None,
            reason=None,
        )
        self.on_accept(event)
        state = self._invocations[first].state
        return Acceptance(first, state if state == "skipped" else "waiting")

    # ---- InvocationStore, as far as it is used

    async def unfinished(self, source: str) -> int:
        return sum(
            invocation.source == source and invocation.state in {"waiting", "running"}
            for invocation in self._invocations.values()
        )

    # ---- History

    async def invocation(self, id_or_prefix: str) -> Invocation | None:
        return self._invocations.get(id_or_prefix)

    async def invocations(self, which: InvocationFilter) -> list[Invocation]:
        assert which.ids is not None
        return [self._invocations[i] for i in which.ids if i in self._invocations]

    async def last_attempts(self, invocation_ids: Sequence[str]) -> dict[str, AttemptRecord]:
        raise NotImplementedError

    async def next_waiting(self, queue: str) -> Invocation | None:
        raise NotImplementedError

    async def attempts(self, invocation_id: str) -> list[AttemptRecord]:
        return self._attempts.get(invocation_id, [])

    # ---- what the dispatcher would do

    def end(self, invocation_id: str, outcome: str = "ok", *, state: str | None = None) -> str:
        """Let an invocation end; returns its final state."""
        state = state or ("done" if outcome == "ok" else "dead")
        error = None if outcome == "ok" else ErrorRecord("ValueError", "no such colour")
        self._invocations[invocation_id] = replace(
            self._invocations[invocation_id],
            state=state,
            outcome=outcome,
            error=error,
            attempts=3,
            ended_at=time.time(),
        )
        self._attempts[invocation_id] = [_attempt(invocation_id, outcome)]
        return state

    def lose(self, invocation_id: str) -> None:
        """Forget an invocation, as retention does."""
        del self._invocations[invocation_id]

    def paths(self) -> list[str]:
        return [event.body["path"] for event in self.events]

    def names(self) -> list[str]:
        return [event.body["name"] for event in self.events]

    def id_of(self, path: Any) -> str:
        """Return the newest invocation for a path."""
        return next(
            event.id or "" for event in reversed(self.events) if event.body["path"] == str(path)
        )


class FakeLedger:
    """FileLedger over one dict; outlives a FileTriggers, as the database does."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bytes], FileRow] = {}
        self.fail_with: Exception | None = None

    async def load(self, trigger: str) -> list[FileRow]:
        return [row for (name, _), row in self.rows.items() if name == trigger]

    async def put(self, rows: Sequence[FileRow]) -> None:
        if self.fail_with is not None:
            raise self.fail_with
        self.rows.update({(row.trigger, row.path): row for row in rows})

    async def forget(self, trigger: str, paths: Sequence[bytes]) -> None:
        for path in paths:
            self.rows.pop((trigger, path), None)

    def state_of(self, path: Any, trigger: str = "inbox") -> str | None:
        row = self.rows.get((trigger, str(path).encode()))
        return row.state if row else None


def _attempt(invocation_id: str, outcome: str) -> AttemptRecord:
    return AttemptRecord(
        invocation_id=invocation_id,
        number=3,
        attempt_id="attempt-3",
        function="thumbnail",
        code_version="v1",
        outcome=outcome,
        started_at=1.0,
        ended_at=2.0,
        queue_wait_s=0.0,
        wall_s=1.0,
        cpu_s=None,
        memory_peak_bytes=None,
        init_s=None,
        error_json=None,
        log_tail="the last words",
        batch_size=1,
    )
