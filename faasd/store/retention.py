"""Retention: finished invocations are forgotten by age and by count, a few at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sqlalchemy import Connection, bindparam, delete, select, text

from faasd.store.readers import Readers
from faasd.store.statements import Hot
from faasd.store.tables import IS_FINISHED, attempts, dedup_keys, invocations, origin_keys
from faasd.store.writer import Writer

__all__ = ["Retention", "forget_oldest", "retain"]

DAY_S = 86400.0
#: About a millisecond of the writer's time; claims and enqueues come in between.
PORTION = 200

_i = invocations.c


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept, as [daemon] says. None means for ever."""

    finished_s: float | None = None  # After their end: done, cancelled, skipped, dropped.
    finished_count_max: int | None = None  # The newest of them.
    dead_s: float | None = None  # Dead letters wait for people.
    # They bridge a crash between accepting a tick or a file and writing its cursor or its row. A schedule
    # each second makes 30 million in a year, so they go soon.
    origin_keys_s: float | None = DAY_S

    def while_up(self, up_s: float) -> Retention:
        """Return what may go when the daemon has run for so long.

        However long nobody ran: what was accepted before a crash is found again within an hour, and until then
        its key is needed.
        """
        return self if up_s >= 3600 else replace(self, origin_keys_s=None)


_OLD_FINISHED = Hot(
    select(_i.seq)
    .where(text(IS_FINISHED), _i.ended_at < bindparam("before"))
    .order_by(_i.ended_at)
    .limit(PORTION)
)
_OLD_DEAD = Hot(
    select(_i.seq).where(text("state = 'dead'"), _i.ended_at < bindparam("before")).limit(PORTION)
)
_DELETE = Hot(delete(invocations).where(text("seq IN (SELECT value FROM json_each(:seqs))")))
_DELETE_ATTEMPTS = Hot(
    delete(attempts).where(text("invocation_seq IN (SELECT value FROM json_each(:seqs))"))
)
_DELETE_DEDUP = Hot(
    delete(dedup_keys).where(
        text(
            "(queue, dedup_key) IN"
            " (SELECT queue, dedup_key FROM dedup_keys WHERE until_at <= :now LIMIT :portion)"
        )
    )
)
_DELETE_ORIGIN = Hot(
    delete(origin_keys).where(
        text(
            "origin_key IN"
            " (SELECT origin_key FROM origin_keys WHERE accepted_at < :before LIMIT :portion)"
        )
    )
)
_NEWEST_SURPLUS = Hot(
    select(_i.ended_at)
    .where(text(IS_FINISHED))
    .order_by(_i.ended_at.desc())
    .limit(1)
    .offset(bindparam("kept"))
)


async def retain(writer: Writer, readers: Readers, retention: Retention, now: float) -> int:
    """Delete what is past its time; returns how many invocations went."""
    before = await _finished_before(readers, retention, now)
    count = 0
    if before is not None:
        count += await _delete_old(writer, _OLD_FINISHED, before)
    if retention.dead_s is not None:
        count += await _delete_old(writer, _OLD_DEAD, now - retention.dead_s)
    while await writer.submit(lambda c: _DELETE_DEDUP.run(c, now=now, portion=PORTION)):
        pass
    if retention.origin_keys_s is not None:
        limit = now - retention.origin_keys_s
        while await writer.submit(lambda c: _DELETE_ORIGIN.run(c, before=limit, portion=PORTION)):
            pass
    return count


async def forget_oldest(writer: Writer) -> int:
    """Delete some finished invocations that ended first, however young; returns how many."""
    return await writer.submit(lambda c: _delete_portion(c, _OLD_FINISHED, math.inf))


async def _finished_before(readers: Readers, retention: Retention, now: float) -> float | None:
    """Return when the newest finished invocation ended that need not be kept, and a hair more."""
    limits = []
    if retention.finished_s is not None:
        limits.append(now - retention.finished_s)
    kept = retention.finished_count_max
    if kept is not None:
        surplus = await readers.read(lambda c: _NEWEST_SURPLUS.row(c, kept=kept))
        if surplus is not None:
            limits.append(surplus[0] + 1e-6)
    return max(limits, default=None)


async def _delete_old(writer: Writer, old: Hot, before: float) -> int:
    count = 0
    while True:
        deleted = await writer.submit(lambda c: _delete_portion(c, old, before))
        count += deleted
        if deleted < PORTION:
            return count


def _delete_portion(connection: Connection, old: Hot, before: float) -> int:
    seqs = [row[0] for row in old.rows(connection, before=before)]
    if seqs:
        _DELETE_ATTEMPTS.run(connection, seqs=str(seqs))
        _DELETE.run(connection, seqs=str(seqs))
    return len(seqs)
