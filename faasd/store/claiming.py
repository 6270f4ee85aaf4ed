"""Claim: due work of one lane, priority first, then order of acceptance; and what has expired."""

from __future__ import annotations

from contextlib import closing

from sqlalchemy import Connection, bindparam, func, or_, select, text, update

from faasd.model.attempt import Claim
from faasd.model.function import Lane
from faasd.store.groups import GroupGate, block, unblock
from faasd.store.leases import claims_of, next_token
from faasd.store.rows import INVOCATION_COLUMNS, moves
from faasd.store.statements import Hot, storable
from faasd.store.tables import DELAYED, READY, invocations

__all__ = ["CANDIDATES", "TAKE", "Expired", "claim", "expire", "next_due_at"]

#: Function and trigger of one that has expired.
Expired = tuple[str, str]

EXPIRE_MAX = 500
PROMOTE_MAX = 5000

_i = invocations.c

# Only before the first attempt: what has failed once ends as a dead letter with its history, which
# model/retry and dispatch/conclude see to when they decide on another attempt.
_EXPIRED = Hot(
    select(_i.seq, _i.id, _i.queue, _i.group_key, _i.function, _i.trigger)
    .where(text("state = 'waiting'"), _i.expires_at <= bindparam("now"), _i.attempts == 0)
    .order_by(_i.expires_at)
    .limit(bindparam("count_max"))
)
_EXPIRE = Hot(
    update(invocations)
    .where(_i.seq == bindparam("its_seq"), text(moves("waiting", to=["skipped"])))
    .values(
        state="skipped",
        outcome="expired",
        reason="it waited longer than its `expires` allows",
        ended_at=bindparam("now"),
    )
)
_DUE = Hot(
    select(_i.seq)
    .where(text("state = 'waiting'"), _i.queue == bindparam("q"), _i.readiness == DELAYED)
    .where(_i.due_at <= bindparam("now"))
    .order_by(_i.due_at)
    .limit(PROMOTE_MAX)
)
_PROMOTE = Hot(
    update(invocations)
    .where(text("seq IN (SELECT value FROM json_each(:seqs))"), text("state = 'waiting'"))
    .values(readiness=READY)
)
# By readiness, each is one step into the index; together it would walk over all that wait.
_NEXT_DUE = Hot(
    select(func.min(_i.due_at)).where(
        text("state = 'waiting'"),
        _i.queue == bindparam("q"),
        _i.readiness == bindparam("how"),
        _i.due_at > bindparam("now"),
    )
)
# The plus keeps SQLite from another index that has `due_at` and would have it sort the whole queue.
_IS_DUE = text("+due_at <= :now")
CANDIDATES = Hot(
    select(_i.seq, _i.group_key)
    .where(_i.queue == bindparam("q"), text("state = 'waiting' AND readiness = 1"))
    .where(_IS_DUE)
    .where(or_(_i.expires_at.is_(None), _i.expires_at > bindparam("now"), _i.attempts > 0))
    .order_by(_i.priority.desc(), _i.seq)
)
_HAS_DIED = Hot(
    select(_i.seq).where(text("seq IN (SELECT value FROM json_each(:seqs))"), _i.spent_died > 0)
)
TAKE = Hot(
    update(invocations)
    .where(text("seq IN (SELECT value FROM json_each(:seqs))"))
    .where(text(moves("waiting", to=["running"])))
    .values(
        state="running",
        attempts=_i.attempts + 1,
        started_at=bindparam("began_at"),
        lease_token=bindparam("token"),
        lease_expires_at=bindparam("until"),
    )
    .returning(*INVOCATION_COLUMNS)
)


def claim(
    connection: Connection,
    lane: Lane,
    count_max: int,
    lease_s: float,
    now: float,
    expired: list[Expired] | None = None,
    begin_max: int | None = None,
) -> list[Claim]:
    """Claim up to `count_max`. The attempt is counted here, so that a crash leaves its trace.

    `expired` is filled with what has expired in passing. Those beyond `begin_max` are claimed ahead of their slots,
    and have no `started_at`.
    """
    expire(connection, EXPIRE_MAX, now, expired)
    chosen: list[int] = []
    while len(chosen) < count_max:
        promoted = _promote(connection, lane.queue, now)
        chosen = _choose(connection, lane, count_max, now)
        if promoted < PROMOTE_MAX:
            break
    if not chosen:
        return []
    if lane.is_batch and len(chosen) > 1:
        chosen = _apart(chosen, {seq for (seq,) in _HAS_DIED.rows(connection, seqs=str(chosen))})
    token = next_token(connection)
    until = now + lease_s
    rows = []
    for part, began_at in ((chosen[:begin_max], now), (chosen[len(chosen[:begin_max]) :], None)):
        if part:
            rows += TAKE.rows(
                connection, seqs=str(part), began_at=began_at, token=token, until=until
            )
    claims = {each.invocation.seq: each for each in claims_of(rows, token, until)}
    return [claims[seq] for seq in chosen]  # RETURNING promises no order.


def _promote(connection: Connection, queue: str, now: float) -> int:
    """Make those ready that have become due. To ask first costs a twentieth of an update that finds none."""
    due = [seq for (seq,) in _DUE.rows(connection, q=queue, now=now)]
    return _PROMOTE.run(connection, seqs=str(due)) if due else 0


def next_due_at(connection: Connection, queue: str, now: float) -> float | None:
    """Return when the next one becomes due that is not, and that no group holds back."""
    q = storable(queue)
    times = [_NEXT_DUE.row(connection, q=q, how=how, now=now)[0] for how in (DELAYED, READY)]
    return min((at for at in times if at is not None), default=None)


def _apart(chosen: list[int], suspects: set[int]) -> list[int]:
    """Keep what has killed a sandbox out of batches with others: it runs alone, in its turn.

    So the members of a batch that died are found out one by one, and the innocent do not die again.
    """
    count = next((index for index, seq in enumerate(chosen) if seq in suspects), len(chosen))
    return chosen[: max(count, 1)]


def expire(
    connection: Connection, count_max: int, now: float, expired: list[Expired] | None = None
) -> list[str]:
    """Skip waiting invocations, of any queue, that have waited longer than they may."""
    rows = _EXPIRED.rows(connection, now=now, count_max=count_max)
    for seq, _, queue, group_key, *_ in rows:
        _EXPIRE.run(connection, its_seq=seq, now=now)
        unblock(connection, queue, group_key)
    if expired is not None:
        expired[:] = [(row[4], row[5]) for row in rows]  # A work may be run twice.
    return [row[1] for row in rows]


def _choose(connection: Connection, lane: Lane, count_max: int, now: float) -> list[int]:
    """Walk the due ones in order until there are enough."""
    gate = GroupGate(connection, lane, now)
    chosen: dict[int, None] = {}  # Ordered, and quick to ask.
    blocked: list[int] = []
    # Read row by row: there may be a million more behind those that are wanted.
    with closing(CANDIDATES.each(connection, q=lane.queue, now=now)) as candidates:
        for seq, group_key in candidates:
            if seq in chosen:
                continue
            if group_key is None:
                chosen[seq] = None
            elif admitted := gate.admit(seq, group_key, count_max - len(chosen)):
                chosen.update(dict.fromkeys(admitted))
            else:
                blocked.append(seq)
            if len(chosen) >= count_max:
                break
    block(connection, blocked)
    return list(chosen)
