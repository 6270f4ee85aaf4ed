"""Finish: what becomes of an invocation after an attempt, written only under its lease."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, null, select, text, update
from sqlalchemy.dialects.sqlite import insert

from faasd.interfaces import Finish, Settled
from faasd.model.retry import DeadLetter, RetryAt, Spent
from faasd.store.enqueueing import enqueue
from faasd.store.finishing_many import PORTIONS, Changes, finish_portion, is_plain
from faasd.store.groups import unblock
from faasd.store.rows import ATTEMPT_COLUMNS, attempt_row, moves
from faasd.store.statements import Hot, storable
from faasd.store.tables import DELAYED, READY, attempts, invocations
from faasd.store.usage import UsageSums

__all__ = ["finish"]

_i = invocations.c

_FINISH = Hot(
    update(invocations)
    .where(_i.id == bindparam("its_id"), _i.lease_token == bindparam("token"))
    .where(text(moves("running", to=["waiting", "done", "dead", "cancelled"])))
    .values(
        state=bindparam("to_state"),
        readiness=bindparam("to_readiness"),
        due_at=func.coalesce(bindparam("retry_at"), _i.due_at),
        outcome=bindparam("word"),
        reason=bindparam("why"),
        started_at=bindparam("began_at"),
        ended_at=bindparam("over_at"),
        error_json=bindparam("error"),
        result_json=bindparam("result"),
        spent_attempts=_i.spent_attempts + bindparam("plus_attempts"),
        spent_lost=_i.spent_lost + bindparam("plus_lost"),
        spent_sandbox_failed=_i.spent_sandbox_failed + bindparam("plus_sandbox_failed"),
        spent_drained=_i.spent_drained + bindparam("plus_drained"),
        spent_died=_i.spent_died + bindparam("plus_died"),
        lease_token=null(),
        lease_expires_at=null(),
    )
    .returning(_i.seq, _i.queue, _i.group_key)
)
# The same attempt cannot end twice; a report that comes again changes nothing.
_ADD_ATTEMPT = Hot(
    insert(attempts).on_conflict_do_nothing(), [column.name for column in ATTEMPT_COLUMNS]
)
_STATE = Hot(select(_i.seq, _i.state, _i.lease_token).where(_i.id == bindparam("its_id")))


def finish(
    connection: Connection, finishes: Sequence[Finish], now: float, sums: UsageSums
) -> list[Settled]:
    """Record the ends of attempts, each by itself: a lost lease stops none of the others."""
    settled = _settle(connection, finishes, now)
    ran = [
        one
        for one, its in zip(finishes, settled, strict=True)
        if not its.lease_lost or its.state == "cancelled"
    ]
    sums.add(ran)
    return settled


def _settle(connection: Connection, finishes: Sequence[Finish], now: float) -> list[Settled]:
    plain = [place for place, one in enumerate(finishes) if is_plain(one)]
    found: dict[int, Settled] = {}
    for size in PORTIONS:
        while len(plain) >= size:
            portion, plain = plain[:size], plain[size:]
            some = [finishes[place] for place in portion]
            changes = [_changes(one, now) for one in some]
            if not finish_portion(connection, some, changes, _ADD_ATTEMPT):
                continue  # One of them has lost its lease; below each is looked at by itself.
            for place, one, its in zip(portion, some, changes, strict=True):
                found[place] = Settled(one.lease.invocation_id, its.state)
    return [
        found[place] if place in found else _finish_one(connection, one, now)
        for place, one in enumerate(finishes)
    ]


def _changes(one: Finish, now: float) -> Changes:
    """Return what a finish writes into its row."""
    word, record, verdict, error = one.outcome.word, one.record, one.verdict, one.outcome.error
    state, readiness, reason = "done", READY, None
    retry_at: float | None = None
    ended_at: float | None = record.ended_at
    if isinstance(verdict, RetryAt):
        state, readiness = "waiting", READY if verdict.at <= now else DELAYED
        retry_at, ended_at = verdict.at, None
    elif isinstance(verdict, DeadLetter):
        state, reason = "dead", storable(verdict.reason)
    elif word == "cancelled":
        state, reason = "cancelled", storable(error.message) if error else None
    plus = _PLUS.get(word) or _PLUS.setdefault(word, Spent().plus(word))
    return Changes(
        state,
        readiness,
        retry_at,
        word,
        reason,
        record.started_at,
        ended_at,
        None if error is None else json.dumps(error.to_json()),
        storable(one.outcome.result_json),
        plus.attempts,
        plus.lost,
        plus.sandbox_failed,
        plus.drained,
        plus.died,
    )


#: What each outcome adds to what an invocation has spent.
_PLUS: dict[str, Spent] = {}


def _finish_one(connection: Connection, one: Finish, now: float) -> Settled:
    its = _changes(one, now)
    row = _FINISH.row(
        connection,
        its_id=one.lease.invocation_id,
        token=one.lease.token,
        to_state=its.state,
        to_readiness=its.readiness,
        retry_at=its.retry_at,
        word=its.outcome,
        why=its.reason,
        began_at=its.started_at,
        over_at=its.ended_at,
        error=its.error_json,
        result=its.result_json,
        plus_attempts=its.plus_attempts,
        plus_lost=its.plus_lost,
        plus_sandbox_failed=its.plus_sandbox_failed,
        plus_drained=its.plus_drained,
        plus_died=its.plus_died,
    )
    if row is None:
        return _lost(connection, one)
    seq, queue, group_key = row
    _ADD_ATTEMPT.run_rows(connection, [attempt_row(one.record, seq)])
    unblock(connection, queue, group_key)
    if one.follow_ups:
        enqueue(connection, one.follow_ups, now)
    return Settled(one.lease.invocation_id, its.state)


def _lost(connection: Connection, one: Finish) -> Settled:
    """Answer for a lease that is no longer good.

    An attempt that was cancelled did run, so history gets it; the invocation stays as it is.
    """
    row = _STATE.row(connection, its_id=one.lease.invocation_id)
    if row is None:
        return Settled(one.lease.invocation_id, "gone", lease_lost=True)
    seq, state, token = row
    if state == "cancelled" and token == one.lease.token:
        _ADD_ATTEMPT.run_rows(connection, [attempt_row(one.record, seq)])
    return Settled(one.lease.invocation_id, state, lease_lost=True)
