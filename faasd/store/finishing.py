"""Finish: what becomes of an invocation after an attempt, written only under its lease."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, null, select, text, update
from sqlalchemy.dialects.sqlite import insert

from faasd.interfaces import Finish, Settled
from faasd.model.retry import DeadLetter, RetryAt, Spent
from faasd.store.enqueueing import enqueue
from faasd.store.groups import unblock
from faasd.store.rows import ATTEMPT_COLUMNS, attempt_values, moves
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
    settled = [_finish_one(connection, one, now) for one in finishes]
    ran = [
        one
        for one, its in zip(finishes, settled, strict=True)
        if not its.lease_lost or its.state == "cancelled"
    ]
    sums.add(ran)
    return settled


def _finish_one(connection: Connection, one: Finish, now: float) -> Settled:
    state, changes = _after(one, now)
    outcome = one.outcome
    plus = Spent().plus(outcome.word)
    row = _FINISH.row(
        connection,
        its_id=one.lease.invocation_id,
        token=one.lease.token,
        to_state=state,
        **changes,
        word=outcome.word,
        began_at=one.record.started_at,
        error=None if outcome.error is None else json.dumps(outcome.error.to_json()),
        result=storable(outcome.result_json),
        plus_attempts=plus.attempts,
        plus_lost=plus.lost,
        plus_sandbox_failed=plus.sandbox_failed,
        plus_drained=plus.drained,
        plus_died=plus.died,
    )
    if row is None:
        return _lost(connection, one)
    seq, queue, group_key = row
    _ADD_ATTEMPT.run(connection, **attempt_values(one.record, seq))
    unblock(connection, queue, group_key)
    if one.follow_ups:
        enqueue(connection, one.follow_ups, now)
    return Settled(one.lease.invocation_id, state)


def _after(one: Finish, now: float) -> tuple[str, dict[str, Any]]:
    """Say what a verdict makes of the row."""
    over_at = one.record.ended_at
    changes: dict[str, Any] = {"to_readiness": READY, "retry_at": None, "why": None}
    if isinstance(one.verdict, RetryAt):
        readiness = READY if one.verdict.at <= now else DELAYED
        changes.update(to_readiness=readiness, retry_at=one.verdict.at, over_at=None)
        return "waiting", changes
    changes["over_at"] = over_at
    if isinstance(one.verdict, DeadLetter):
        changes["why"] = storable(one.verdict.reason)
        return "dead", changes
    if one.outcome.word == "cancelled":
        changes["why"] = storable(one.outcome.error.message) if one.outcome.error else None
        return "cancelled", changes
    return "done", changes


def _lost(connection: Connection, one: Finish) -> Settled:
    """Answer for a lease that is no longer good.

    An attempt that was cancelled did run, so history gets it; the invocation stays as it is.
    """
    row = _STATE.row(connection, its_id=one.lease.invocation_id)
    if row is None:
        return Settled(one.lease.invocation_id, "gone", lease_lost=True)
    seq, state, token = row
    if state == "cancelled" and token == one.lease.token:
        _ADD_ATTEMPT.run(connection, **attempt_values(one.record, seq))
    return Settled(one.lease.invocation_id, state, lease_lost=True)
