"""Finish many at once: what ended in the same moment is written by two statements instead of two for each.

Only for those with nothing beside them: no group to unblock and no follow-ups to enqueue.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from faasd.interfaces import Finish
from faasd.model.invocation import Invocation
from faasd.store.database import driver_of
from faasd.store.rows import attempt_row, moves
from faasd.store.statements import Hot

__all__ = ["PORTIONS", "Changes", "finish_portion", "is_plain"]

#: How many one statement finishes: few texts to compile, and none with too many variables.
PORTIONS = (64, 32, 16, 8, 4, 2, 1)


class Changes(NamedTuple):
    """What a finish writes into its row, by the names of the columns."""

    state: str
    readiness: int
    retry_at: float | None
    outcome: str
    reason: str | None
    started_at: float
    ended_at: float | None
    error_json: str | None
    result_json: str | None
    plus_attempts: int
    plus_lost: int
    plus_sandbox_failed: int
    plus_drained: int
    plus_died: int


#: What a row of the statement holds, in order.
_GIVEN = ("seq", "token", *Changes._fields)


def is_plain(finish: Finish) -> bool:
    """Whether a finish changes its own invocation and nothing else."""
    its = finish.invocation
    return its is not None and its.group_key is None and not finish.follow_ups


def finish_portion(
    connection: Connection,
    finishes: Sequence[Finish],
    changes: Sequence[Changes],
    add_attempts: Hot,
) -> bool:
    """Finish all of these; False, and nothing is changed, when any of their leases was lost.

    There must be as many as one of PORTIONS says.
    """
    arguments: list[Any] = []
    for one, its in zip(finishes, changes, strict=True):
        arguments += (_invocation(one).seq, one.lease.token, *its)
    driver = driver_of(connection)
    driver.execute("SAVEPOINT finishes")
    is_whole = driver.execute(_update(len(finishes)), arguments).rowcount == len(finishes)
    if is_whole:
        rows = [attempt_row(one.record, _invocation(one).seq) for one in finishes]
        add_attempts.run_rows(connection, rows)
    else:
        driver.execute("ROLLBACK TO finishes")
    driver.execute("RELEASE finishes")
    return is_whole


def _invocation(finish: Finish) -> Invocation:
    assert finish.invocation is not None, "`is_plain` was asked"
    return finish.invocation


@functools.cache
def _update(count: int) -> str:
    """Return the statement for so many rows, in the words of `finishing`'s own for one."""
    row = f"({', '.join('?' * len(_GIVEN))})"
    given = ", ".join(f"column{place} AS {name}" for place, name in enumerate(_GIVEN, 1))
    copied = ("state", "readiness", "outcome", "reason", "started_at", "ended_at")
    spent = ("attempts", "lost", "sandbox_failed", "drained", "died")
    sets = [f"{name} = its.{name}" for name in (*copied, "error_json", "result_json")]
    sets += [f"spent_{name} = spent_{name} + its.plus_{name}" for name in spent]
    sets += ["due_at = coalesce(its.retry_at, due_at)"]
    sets += ["lease_token = NULL", "lease_expires_at = NULL"]
    # By its rowid: SQLite finds it in one step, and not through the index of ids.
    parts = (
        "UPDATE invocations SET",
        ", ".join(sets),
        f"FROM (SELECT {given} FROM (VALUES {', '.join([row] * count)})) AS its",  # noqa: S608 - Our own names.
        "WHERE invocations.seq = its.seq AND invocations.lease_token = its.token AND",
        _MOVES.replace("state", "invocations.state"),
    )
    return " ".join(parts)


_MOVES = moves("running", to=["waiting", "done", "dead", "cancelled"])
