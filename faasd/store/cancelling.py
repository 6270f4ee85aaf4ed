"""Cancel: waiting and running invocations end at once; a running one's lease is dead with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, null, select, text, update

from faasd.store.groups import unblock
from faasd.store.rows import moves
from faasd.store.statements import Hot, storable
from faasd.store.tables import IS_OPEN, invocations

__all__ = ["Open", "cancel", "cancel_rows", "open_of_source"]

_i = invocations.c
_WANTED = (_i.seq, _i.id, _i.state, _i.queue, _i.group_key, _i.created_at)


class Open(NamedTuple):
    """A waiting or running invocation, as far as cancelling and overlap rules need it."""

    seq: int
    id: str
    state: str
    queue: str
    group_key: str | None
    created_at: float


_OPEN_OF_SOURCE = Hot(
    select(*_WANTED).where(_i.source == bindparam("s"), text(IS_OPEN)).order_by(_i.seq)
)
_OPEN_OF_IDS = Hot(
    select(*_WANTED)
    .where(text("id IN (SELECT value FROM json_each(:ids))"), text(IS_OPEN))
    .order_by(_i.seq)
)
# The lease token stays: it tells the attempt that was cancelled from any other that reports late.
_CANCEL = Hot(
    update(invocations)
    .where(_i.seq == bindparam("its_seq"), text(moves("waiting", "running", to=["cancelled"])))
    .values(
        state="cancelled",
        outcome="cancelled",
        reason=bindparam("why"),
        ended_at=bindparam("now"),
        lease_expires_at=null(),
    )
)


def cancel(connection: Connection, ids: Sequence[str], reason: str, now: float) -> list[str]:
    """Cancel those of these invocations that wait or run; returns their ids."""
    listed = json.dumps([storable(each) for each in ids])
    rows = [Open(*row) for row in _OPEN_OF_IDS.rows(connection, ids=listed)]
    cancel_rows(connection, rows, reason, now)
    return [row.id for row in rows]


def open_of_source(connection: Connection, source: str) -> list[Open]:
    """Return the waiting and running invocations of a source, oldest first."""
    return [Open(*row) for row in _OPEN_OF_SOURCE.rows(connection, s=storable(source))]


def cancel_rows(connection: Connection, rows: Sequence[Open], reason: str, now: float) -> None:
    """Cancel rows that were read in this transaction."""
    for row in rows:
        _CANCEL.run(connection, its_seq=row.seq, why=storable(reason), now=now)
        unblock(connection, row.queue, row.group_key)
