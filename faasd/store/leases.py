"""Leases: fencing tokens that only grow, renewal, and taking over what another held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, case, null, select, text, update

from faasd.model.attempt import Claim, Lease
from faasd.store.groups import unblock
from faasd.store.rows import INVOCATION_COLUMNS, moves, read_invocation
from faasd.store.statements import Hot
from faasd.store.tables import READY, counters, invocations

__all__ = ["claims_of", "last_token", "next_token", "release", "renew", "take_over"]

_i = invocations.c

_NEXT_TOKEN = Hot(
    update(counters)
    .where(text("name = 'lease_token'"))
    .values(value=counters.c.value + 1)
    .returning(counters.c.value)
)
_LAST_TOKEN = Hot(select(counters.c.value).where(text("name = 'lease_token'")))
_RENEW = Hot(
    update(invocations)
    .where(_i.id == bindparam("its_id"), _i.lease_token == bindparam("token"))
    .where(text("state = 'running'"))
    .values(lease_expires_at=bindparam("until"))
)
_RELEASE = Hot(
    update(invocations)
    .where(_i.id == bindparam("its_id"), _i.lease_token == bindparam("token"))
    .where(text(moves("running", to=["waiting"])))
    .values(
        state="waiting",
        readiness=READY,
        attempts=_i.attempts - 1,
        # When an earlier attempt began is not known any more; that of one that never was, is not.
        started_at=case((_i.attempts > 1, _i.started_at), else_=null()),
        lease_token=null(),
        lease_expires_at=null(),
    )
    .returning(_i.queue, _i.group_key)
)
_HELD = (
    select(_i.seq)
    .where(
        text("state = 'running'"),
        _i.lease_token <= bindparam("token_max"),
        _i.lease_expires_at <= bindparam("expired_by"),
    )
    .limit(bindparam("count_max"))  # In no order: by `seq` it would walk the whole table.
)
_TAKE_OVER = Hot(
    update(invocations)
    .where(_i.seq.in_(_HELD), text("state = 'running'"))
    .values(lease_token=bindparam("token"), lease_expires_at=bindparam("until"))
    .returning(*INVOCATION_COLUMNS)
)


def next_token(connection: Connection) -> int:
    """Return a fencing token greater than all before it."""
    return int(_NEXT_TOKEN.row(connection)[0])


def last_token(connection: Connection) -> int:
    """Return the greatest token given so far."""
    return int(_LAST_TOKEN.row(connection)[0])


def renew(
    connection: Connection, leases: Sequence[Lease], lease_s: float, now: float
) -> list[Lease]:
    """Extend leases from now; those whose token is no longer the invocation's are left out."""
    until = now + lease_s
    return [
        Lease(lease.invocation_id, lease.token, until)
        for lease in leases
        if _RENEW.run(connection, its_id=lease.invocation_id, token=lease.token, until=until)
    ]


def release(connection: Connection, leases: Sequence[Lease]) -> list[Lease]:
    """Undo claims of which nothing has begun; returns those whose token was still the invocation's."""
    released = []
    for lease in leases:
        row = _RELEASE.row(connection, its_id=lease.invocation_id, token=lease.token)
        if row is not None:
            unblock(connection, *row)
            released.append(lease)
    return released


def take_over(
    connection: Connection,
    *,
    token_max: int,
    expired_by: float,
    count_max: int,
    lease_s: float,
    now: float,
) -> list[Claim]:
    """Lease anew running invocations whose token is at most `token_max` and whose lease ended by then.

    Whoever held them can write nothing from now on. The attempt's number stays.
    """
    token = next_token(connection)
    rows = _TAKE_OVER.rows(
        connection,
        token_max=token_max,
        expired_by=expired_by,
        count_max=count_max,
        token=token,
        until=now + lease_s,
    )
    return claims_of(rows, token, now + lease_s)


def claims_of(rows: Sequence[Any], token: int, until: float) -> list[Claim]:
    """Return the claims for rows of INVOCATION_COLUMNS that now hold this token."""
    claims = []
    for row in rows:
        invocation = read_invocation(row)
        lease = Lease(invocation.id, token, until)
        claims.append(Claim(invocation, lease, invocation.attempts))
    return claims
