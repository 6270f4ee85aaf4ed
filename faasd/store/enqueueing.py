"""Enqueue: duplicates, overlap and the insert, in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select, text
from sqlalchemy.dialects.sqlite import insert

from faasd.clock import to_iso
from faasd.errors import Conflict
from faasd.model.attempt import Claim
from faasd.model.invocation import Acceptance, NewInvocation
from faasd.store.cancelling import cancel_rows, open_of_source
from faasd.store.leases import claims_of, last_token
from faasd.store.rows import (
    INVOCATION_COLUMNS,
    NEW_COLUMNS,
    WAITING_COLUMNS,
    new_values,
    waiting_row,
)
from faasd.store.statements import Hot, storable
from faasd.store.tables import DELAYED, READY, dedup_keys, invocations, origin_keys, queues

__all__ = ["begin", "enqueue"]

_i = invocations.c

_INSERT = Hot(insert(invocations).on_conflict_do_nothing(index_elements=["id"]), NEW_COLUMNS)
#: Without what only a record has that never runs.
_INSERT_WAITING = Hot(
    insert(invocations).on_conflict_do_nothing(index_elements=["id"]), WAITING_COLUMNS
)
_SEQS = Hot(select(_i.id, _i.seq).where(text("id IN (SELECT value FROM json_each(:ids))")))
#: How many rows one statement inserts: few texts to compile, and none with too many variables.
_PORTIONS = (64, 16, 4, 1)
_INSERT_RUNNING = Hot(
    insert(invocations)
    .on_conflict_do_nothing(index_elements=["id"])
    .returning(*INVOCATION_COLUMNS),
    (*NEW_COLUMNS, "attempts", "lease_token", "lease_expires_at", "started_at"),
)
_BY_ID = Hot(select(_i.seq).where(_i.id == bindparam("its_id")))
_ORIGIN = Hot(select(origin_keys.c.invocation_id).where(origin_keys.c.origin_key == bindparam("k")))
_ADD_ORIGIN = Hot(insert(origin_keys), ("origin_key", "invocation_id", "accepted_at"))
_DEDUP = Hot(
    select(dedup_keys.c.invocation_id).where(
        dedup_keys.c.queue == bindparam("q"),
        dedup_keys.c.dedup_key == bindparam("k"),
        dedup_keys.c.until_at > bindparam("now"),
    )
)
# One whose window has passed may still stand there, until retention takes it away.
_ADD_DEDUP = Hot(
    insert(dedup_keys).prefix_with("OR REPLACE"),
    ("queue", "dedup_key", "invocation_id", "until_at"),
)
_ADD_QUEUE = Hot(insert(queues).on_conflict_do_nothing(), ("queue",))


def enqueue(
    connection: Connection,
    new: Sequence[NewInvocation],
    now: float,
    queues_known: Collection[str] = (),
) -> list[Acceptance]:
    """Accept invocations in order. `queues_known` need not be noted as queues any more."""
    for queue in {one.queue for one in new if one.queue not in queues_known}:
        _ADD_QUEUE.run(connection, queue=storable(queue))
    accepted: list[Acceptance] = []
    plain: list[NewInvocation] = []
    for one in new:
        if _is_plain(one):
            plain.append(one)
            continue
        accepted += _insert_plain(connection, plain, now)
        plain = []
        accepted.append(_enqueue_one(connection, one, now))
    return accepted + _insert_plain(connection, plain, now)


def begin(connection: Connection, new: NewInvocation, lease_s: float, now: float) -> Claim:
    """Accept one invocation that runs from its first moment. Raises Conflict if its id is taken."""
    # It was never leased before, so the last token fences as well as a new one, for which a page more is written.
    token = last_token(connection)
    values = new_values(new, "running", READY)
    row = _INSERT_RUNNING.row(
        connection,
        **values,
        attempts=1,
        lease_token=token,
        lease_expires_at=now + lease_s,
        started_at=now,
    )
    if row is None:
        raise Conflict(f"cannot begin invocation {new.id}: that id was accepted before")
    [claim] = claims_of([row], token, now + lease_s)
    return claim


def _is_plain(new: NewInvocation) -> bool:
    """Whether nothing but its id can be in its way."""
    return (
        new.origin_key is None
        and new.dedup_key is None
        and new.skip_reason is None
        and new.overlap in ("allow", "queue")
    )


def _insert_plain(
    connection: Connection, new: Sequence[NewInvocation], now: float
) -> list[Acceptance]:
    """Insert many, as few statements as may be."""
    accepted: list[Acceptance] = []
    begin = 0
    for portion in _PORTIONS:
        while len(new) - begin >= portion:
            accepted += _insert_portion(connection, new[begin : begin + portion], now)
            begin += portion
    return accepted


def _insert_portion(
    connection: Connection, new: Sequence[NewInvocation], now: float
) -> list[Acceptance]:
    rows = [waiting_row(one, READY if one.due_at <= now else DELAYED) for one in new]
    inserted = _INSERT_WAITING.run_rows(connection, rows)
    ids: list[str] = [row[0] for row in rows]
    if inserted == len(rows):
        return [Acceptance(id_, "waiting") for id_ in ids]
    # Some were there before. The rows that went in are the newest of all that have one of these ids.
    found = sorted(_SEQS.rows(connection, ids=json.dumps(ids)), key=lambda row: -row[1])
    fresh = {id_ for id_, _ in found[:inserted]}
    accepted = []
    for one, id_ in zip(new, ids, strict=True):
        accepted.append(Acceptance(id_, "waiting") if id_ in fresh else _same_id(one))
        fresh.discard(id_)  # The same id a second time in one request is a duplicate too.
    return accepted


def _enqueue_one(connection: Connection, new: NewInvocation, now: float) -> Acceptance:
    origin_key = storable(new.origin_key)
    if origin_key is not None:
        first = _ORIGIN.row(connection, k=origin_key)
        if first is not None:
            return Acceptance(first[0], "duplicate", "the same origin key was accepted before")
    if new.skip_reason is not None:
        accepted = _skip(connection, new, new.skip_reason, new.skip_detail)
    elif new.dedup_key is None and new.overlap in ("allow", "queue"):
        accepted = _insert(connection, new, now)
    else:
        accepted = _insert_checked(connection, new, now)
    if origin_key is not None and accepted.state != "duplicate":
        _ADD_ORIGIN.run(
            connection, origin_key=origin_key, invocation_id=accepted.id, accepted_at=now
        )
    return accepted


def _insert_checked(connection: Connection, new: NewInvocation, now: float) -> Acceptance:
    """Insert one that has a dedup key or an overlap rule to pass first."""
    if _BY_ID.row(connection, its_id=storable(new.id)):
        return _same_id(new)
    if new.dedup_key is not None:
        key: dict[str, Any] = {"q": storable(new.queue), "k": storable(new.dedup_key)}
        first = _DEDUP.row(connection, **key, now=now)
        if first is not None:
            _skip(connection, new, "duplicate", f"invocation {first[0]} has the same dedup key")
            return Acceptance(first[0], "duplicate", "the same dedup key is within its window")
    replaced: tuple[str, ...] = ()
    if new.overlap in ("skip", "replace"):
        others = open_of_source(connection, new.source)
        if others and new.overlap == "skip":
            other = others[0]
            since = to_iso(other.created_at)
            detail = f"invocation {other.id}, accepted at {since}, was still {other.state}"
            return _skip(connection, new, "skipped-overlap", detail)
        cancel_rows(connection, others, f"replaced by invocation {new.id}", now)
        replaced = tuple(other.id for other in others if other.state == "running")
    accepted = _insert(connection, new, now)
    if new.dedup_key is not None:
        _ADD_DEDUP.run(
            connection,
            queue=storable(new.queue),
            dedup_key=storable(new.dedup_key),
            invocation_id=accepted.id,
            until_at=now + new.dedup_window_s,
        )
    return Acceptance(accepted.id, accepted.state, replaced=replaced)


def _insert(connection: Connection, new: NewInvocation, now: float) -> Acceptance:
    values = new_values(new, "waiting", READY if new.due_at <= now else DELAYED)
    if not _INSERT.run(connection, **values):
        return _same_id(new)
    return Acceptance(values["id"], "waiting")


def _skip(connection: Connection, new: NewInvocation, word: str, detail: str | None) -> Acceptance:
    """Record one that never runs."""
    values = new_values(new, "skipped", READY)
    values.update(outcome=word, reason=storable(detail), ended_at=new.created_at)
    if not _INSERT.run(connection, **values):
        return _same_id(new)
    return Acceptance(values["id"], "skipped", word)


def _same_id(new: NewInvocation) -> Acceptance:
    return Acceptance(new.id, "duplicate", "the same id was accepted before")
