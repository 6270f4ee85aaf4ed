"""Invocations that were enqueued while nothing was known of the functions get theirs, as if they came now.

On a machine where no daemon has run yet, an enqueue without one knows the queue's name and nothing else.
Such an invocation has no function; the filter, the expiry and the function are made good here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection, bindparam, select, text, update

from faasd.errors import EventRefused
from faasd.model.invocation import Invocation, NewEvent, NewInvocation
from faasd.store.rows import INVOCATION_COLUMNS, moves, read_invocation
from faasd.store.statements import Hot, storable
from faasd.store.tables import invocations, queues

__all__ = ["Prepare", "address"]

#: Raises EventRefused for what intake would not take.
Prepare = Callable[[NewEvent], NewInvocation]

_PORTION = 500
_i = invocations.c
_UNADDRESSED = Hot(
    select(*INVOCATION_COLUMNS)
    .where(_i.function == "", text("state = 'waiting'"), _i.seq > bindparam("after"))
    .order_by(_i.seq)
    .limit(_PORTION)
)
_ADDRESS = Hot(
    update(invocations)
    .where(_i.seq == bindparam("its_seq"))
    .values(function=bindparam("f"), expires_at=bindparam("at"))
)
_CONSUMER = Hot(select(queues.c.function).where(queues.c.queue == bindparam("q")))
_SKIP = Hot(
    update(invocations)
    .where(_i.seq == bindparam("its_seq"), text(moves("waiting", to=["skipped"])))
    .values(
        state="skipped", outcome=bindparam("word"), reason=bindparam("why"), ended_at=_i.created_at
    )
)


def address(connection: Connection, prepare: Prepare, after_seq: int) -> int | None:
    """Address some of them; returns where the next portion begins, None when there is none.

    What nobody consumes goes on waiting. What is too large runs all the same: it was acknowledged.
    """
    rows = [read_invocation(row) for row in _UNADDRESSED.rows(connection, after=after_seq)]
    for row in rows:
        try:
            new = _prepared(row, prepare)
        except EventRefused:
            [consumer] = _CONSUMER.row(connection, q=row.queue) or [None]
            if consumer is not None:
                _ADDRESS.run(connection, its_seq=row.seq, f=consumer, at=row.expires_at)
            continue
        _ADDRESS.run(connection, its_seq=row.seq, f=new.function, at=new.expires_at)
        if new.skip_reason is not None:
            _SKIP.run(
                connection, its_seq=row.seq, word=new.skip_reason, why=storable(new.skip_detail)
            )
    return rows[-1].seq if rows else None


def _prepared(row: Invocation, prepare: Prepare) -> NewInvocation:
    """Return what it would be if it came now, but for its times. Raises EventRefused."""
    began_at = max(row.created_at, row.due_at)
    event = NewEvent(
        "",
        row.queue,
        row.trigger,
        row.source,
        json.loads(row.event_json),
        id=row.id,
        due_at=began_at,
        expires_s=None if row.expires_at is None else row.expires_at - began_at,
    )
    new = prepare(event)
    late_s = max(new.created_at, began_at) - began_at  # `prepare` counts from now.
    at = None if new.expires_at is None else new.expires_at - late_s
    return replace(new, expires_at=at)
