"""The History on SQLite: reads on connections of their own, which never hold up the writer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, bindparam, func, select, text

import faasd
from faasd.clock import Clock, to_iso
from faasd.errors import Conflict
from faasd.interfaces import InvocationFilter, QueueCounts
from faasd.model.attempt import AttemptRecord
from faasd.model.invocation import Invocation
from faasd.model.usage import Usage
from faasd.store.backup import write_backup
from faasd.store.filters import chosen_by
from faasd.store.readers import Readers
from faasd.store.rows import ATTEMPT_COLUMNS, INVOCATION_COLUMNS, read_attempt, read_invocation
from faasd.store.statements import Hot, storable
from faasd.store.tables import BLOCKED, DELAYED, attempts, invocations
from faasd.store.usage import read_usage

__all__ = ["SqliteHistory"]

_i = invocations.c
_LAST_CHARACTER = "\U0010ffff"

# Three partial indexes answer this whatever the number of finished invocations. Direct invokes with
# a waiting caller are in no queue.
_QUEUE_COUNTS = text(
    """
    SELECT queue, sum(waiting), sum(later), sum(in_flight), sum(dead), min(oldest) FROM (
        SELECT queue,
               sum(due_at <= :now) AS waiting,
               sum(due_at > :now) AS later,
               0 AS in_flight,
               0 AS dead,
               min(CASE WHEN due_at <= :now THEN due_at END) AS oldest
          FROM invocations WHERE state = 'waiting' GROUP BY queue
        UNION ALL
        SELECT queue, 0, 0, count(*), 0, NULL
          FROM invocations WHERE state = 'running' GROUP BY queue
        UNION ALL
        SELECT queue, 0, 0, 0, count(*), NULL
          FROM invocations WHERE state = 'dead' GROUP BY queue
        UNION ALL
        SELECT queue, 0, 0, 0, 0, NULL FROM queues
    ) WHERE queue <> '' GROUP BY queue ORDER BY queue
    """
)


_WAITING = select(*INVOCATION_COLUMNS).where(
    text("state = 'waiting'"), _i.queue == bindparam("queue")
)
_FIRST_READY = Hot(
    _WAITING.where(text("readiness = 1")).order_by(_i.priority.desc(), _i.seq).limit(1)
)
_FIRST_DUE = Hot(
    _WAITING.where(_i.readiness == bindparam("readiness")).order_by(_i.due_at).limit(1)
)


_later = attempts.alias()
_LAST_ATTEMPTS = (
    select(_i.id.label("its_id"), *ATTEMPT_COLUMNS)
    .join(invocations, _i.seq == attempts.c.invocation_seq)
    .where(
        text("invocations.id IN (SELECT value FROM json_each(:ids))"),
        attempts.c.number
        == select(func.max(_later.c.number))
        .where(_later.c.invocation_seq == attempts.c.invocation_seq)
        .scalar_subquery(),
    )
)


class SqliteHistory:
    """See `faasd.interfaces.History` for what each method promises."""

    def __init__(self, readers: Readers, clock: Clock) -> None:
        self._readers = readers
        self._clock = clock

    async def invocation(self, id_or_prefix: str) -> Invocation | None:
        """Return one invocation by id, or by a prefix of it that is unique. Raises Conflict."""
        return await self._readers.read(lambda c: _one(c, storable(id_or_prefix) or ""))

    async def invocations(self, which: InvocationFilter) -> list[Invocation]:
        """Return invocations, newest first."""
        statement = chosen_by(which, *INVOCATION_COLUMNS)
        return await self._readers.read(
            lambda c: [read_invocation(row) for row in c.execute(statement)]
        )

    async def next_waiting(self, queue: str) -> Invocation | None:
        """Return what of a queue is claimed next; see the seam."""
        now = self._clock.now()
        return await self._readers.read(lambda c: _next_waiting(c, storable(queue) or "", now))

    async def attempts(self, invocation_id: str) -> list[AttemptRecord]:
        """Return an invocation's attempts, oldest first."""
        statement = (
            select(*ATTEMPT_COLUMNS)
            .join(invocations, _i.seq == attempts.c.invocation_seq)
            .where(_i.id == storable(invocation_id))
            .order_by(attempts.c.number)
        )
        return await self._readers.read(
            lambda c: [read_attempt(row, invocation_id) for row in c.execute(statement)]
        )

    async def last_attempts(self, invocation_ids: Sequence[str]) -> dict[str, AttemptRecord]:
        """Return the last finished attempt of each of these that has one, by the invocation's id."""
        ids = json.dumps([storable(one) for one in invocation_ids])
        return await self._readers.read(
            lambda c: {
                row.its_id: read_attempt(row, row.its_id)
                for row in c.execute(_LAST_ATTEMPTS, {"ids": ids})
            }
        )

    async def queue_counts(self) -> list[QueueCounts]:
        """Return the counts of every queue that holds or held anything, ordered by name."""
        now = self._clock.now()
        return await self._readers.read(lambda c: _queue_counts(c, now))

    async def function_counts(self, since: float) -> dict[str, dict[str, int]]:
        """Return, by function, how many attempts ended with which outcome since then."""
        statement = (
            select(attempts.c.function, attempts.c.outcome, func.count())
            .where(attempts.c.ended_at >= since)
            .group_by(attempts.c.function, attempts.c.outcome)
        )
        counts: dict[str, dict[str, int]] = {}
        rows = await self._readers.read(lambda c: c.execute(statement).all())
        for function, outcome, count in rows:
            counts.setdefault(function, {})[outcome] = count
        return counts

    async def usage(self, month: str | None = None, function: str | None = None) -> list[Usage]:
        """Return what functions used, by month; newest first, then by function."""
        return await read_usage(self._readers, month, function)

    async def backup(self, path: str) -> int:
        """Write a backup to a new file while running; returns its size in bytes.

        Raises Conflict if the file exists, and StoreError; then no file is left.
        """
        made_at = to_iso(self._clock.now())
        manifest = await asyncio.to_thread(
            write_backup,
            self._readers.path.parent,
            Path(path),
            made_by=faasd.__version__,
            made_at=made_at,
        )
        return int(manifest["size_bytes"])


def _one(connection: Connection, prefix: str) -> Invocation | None:
    columns = select(*INVOCATION_COLUMNS)
    row = connection.execute(columns.where(_i.id == prefix)).first()
    if row is None and prefix:
        in_range = (_i.id >= prefix, _i.id < prefix + _LAST_CHARACTER)
        rows = connection.execute(columns.where(*in_range).order_by(_i.id).limit(2)).all()
        if len(rows) > 1:
            raise Conflict(
                f"cannot tell which invocation {prefix!r} means: "
                f"{rows[0].id} and {rows[1].id} begin so; write more of it"
            )
        row = rows[0] if rows else None
    return None if row is None else read_invocation(row)


def _next_waiting(connection: Connection, queue: str, now: float) -> Invocation | None:
    ready = _FIRST_READY.row(connection, queue=queue)
    delayed = _FIRST_DUE.row(connection, queue=queue, readiness=DELAYED)
    blocked = _FIRST_DUE.row(connection, queue=queue, readiness=BLOCKED)
    found = [read_invocation(row) for row in (ready, delayed) if row is not None]
    # What has become due since the last claim is marked as ready by the next one.
    due = [one for one in found if one.due_at <= now]
    if due:
        return min(due, key=lambda one: (-one.priority, one.seq))
    if blocked is not None:
        return read_invocation(blocked)
    return found[0] if found else None


def _queue_counts(connection: Connection, now: float) -> list[QueueCounts]:
    rows = connection.execute(_QUEUE_COUNTS, {"now": now})
    return [
        QueueCounts(queue, waiting, later, in_flight, dead, oldest)
        for queue, waiting, later, in_flight, dead, oldest in rows
    ]
