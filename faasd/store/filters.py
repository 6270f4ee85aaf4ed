"""Bulk verbs and listings: which invocations an InvocationFilter means."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, TextClause, select, text, update

from faasd.interfaces import InvocationFilter
from faasd.store.rows import moves
from faasd.store.statements import storable
from faasd.store.tables import READY, invocations

__all__ = ["chosen_by", "drop", "redrive"]

_i = invocations.c


def chosen_by(which: InvocationFilter, *columns: ColumnElement[Any]) -> Select[Any]:
    """Return the selection of these columns, newest first."""
    statement: Select[Any] = select(*columns).where(*_conditions(which)).order_by(_i.seq.desc())
    return statement if which.limit is None else statement.limit(which.limit)


def redrive(connection: Connection, which: InvocationFilter, now: float) -> list[str]:
    """Send dead letters back to waiting, due now, with nothing spent and no expiry.

    The history of attempts stays, and their numbers go on.
    """
    rows = _dead(connection, which)
    connection.execute(
        update(invocations)
        .where(_among(rows), text(moves("dead", to=["waiting"])))
        .values(
            state="waiting",
            readiness=READY,
            due_at=now,
            # Somebody wants it now; an expiry that has passed would skip it at once.
            expires_at=None,
            spent_attempts=0,
            spent_lost=0,
            spent_sandbox_failed=0,
            spent_drained=0,
            spent_died=0,
            ended_at=None,
            reason=None,
        )
    )
    return [each_id for _, each_id in rows]


def drop(connection: Connection, which: InvocationFilter, now: float) -> list[str]:
    """Set dead letters to dropped."""
    rows = _dead(connection, which)
    connection.execute(
        update(invocations)
        .where(_among(rows), text(moves("dead", to=["dropped"])))
        .values(state="dropped", ended_at=now)
    )
    return [each_id for _, each_id in rows]


def _dead(connection: Connection, which: InvocationFilter) -> list[tuple[int, str]]:
    statement = chosen_by(which, _i.seq, _i.id).where(text("state = 'dead'"))
    return [(row[0], row[1]) for row in connection.execute(statement)]


def _among(rows: list[tuple[int, str]]) -> TextClause:
    seqs = json.dumps([seq for seq, _ in rows])
    return text("seq IN (SELECT value FROM json_each(:seqs))").bindparams(seqs=seqs)


def _conditions(which: InvocationFilter) -> list[ColumnElement[bool] | TextClause]:
    """One JSON list instead of many variables: SQLite takes 32,766 of those at most."""
    found: list[ColumnElement[bool] | TextClause] = []
    lists = {"id": which.ids, "state": which.states, "outcome": which.outcomes}
    for name, wanted in lists.items():
        if wanted is not None:
            listed = json.dumps([storable(each) for each in wanted])
            found.append(
                text(f"{name} IN (SELECT value FROM json_each(:{name}s))").bindparams(  # noqa: S608 - Our names.
                    **{f"{name}s": listed}
                )
            )
    for name in ("function", "queue", "trigger", "source", "group_key"):
        value = getattr(which, name)
        if value is not None:
            found.append(_i[name] == storable(value))
    if which.since is not None:
        found.append(_i.created_at >= which.since)
    if which.until is not None:
        found.append(_i.created_at <= which.until)
    if which.path is not None:
        found.append(_i.trigger == "files")
        found.append(
            text("json_extract(event_json, '$.path') = :path").bindparams(path=storable(which.path))
        )
    return found
