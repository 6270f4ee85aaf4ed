"""Between rows and values: what a row of `invocations` or `attempts` is in the model's words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from faasd.model.attempt import AttemptRecord
from faasd.model.invocation import TRANSITIONS, Invocation, NewInvocation, may_become
from faasd.model.outcome import ErrorRecord
from faasd.model.retry import Spent
from faasd.store.statements import storable
from faasd.store.tables import attempts, invocations

__all__ = [
    "ATTEMPT_COLUMNS",
    "INVOCATION_COLUMNS",
    "NEW_COLUMNS",
    "WAITING_COLUMNS",
    "attempt_row",
    "begins_as",
    "moves",
    "new_values",
    "read_attempt",
    "read_invocation",
    "waiting_row",
]

#: The columns that `read_invocation` takes, in its order.
INVOCATION_COLUMNS = tuple(
    invocations.c[name]
    for name in (
        "id",
        "seq",
        "function",
        "queue",
        "trigger",
        "source",
        "event_json",
        "state",
        "outcome",
        "priority",
        "created_at",
        "due_at",
        "expires_at",
        "group_key",
        "scheduled_for",
        "parent_id",
        "spent_attempts",
        "attempts",
        "started_at",
        "ended_at",
        "error_json",
        "result_json",
        "reason",
        "spent_lost",
        "spent_sandbox_failed",
        "spent_drained",
        "spent_died",
    )
)

#: The columns that `waiting_row` gives, in its order, which is that of the table.
WAITING_COLUMNS = (
    "id",
    "function",
    "queue",
    "trigger",
    "source",
    "state",
    "readiness",
    "priority",
    "created_at",
    "due_at",
    "expires_at",
    "group_key",
    "scheduled_for",
    "parent_id",
    "event_json",
)
#: The columns that `new_values` gives.
NEW_COLUMNS = (*WAITING_COLUMNS, "outcome", "reason", "ended_at")

#: The columns that `attempt_row` gives, in its order, which is that of the table.
ATTEMPT_COLUMNS = tuple(column for column in attempts.c if column.name != "seq")


def moves(*befores: str, to: Sequence[str]) -> str:
    """Return the guard of a statement that moves rows from some states to others, as SQL.

    Raises ValueError, when the module that holds the statement is imported, for a move that the
    table of transitions does not allow.
    """
    for before in befores:
        for after in to:
            if not may_become(before, after):
                raise ValueError(f"no invocation goes from {before} to {after}; see {TRANSITIONS}")
    # Spelled as the predicates of the partial indexes are.
    return "(" + " OR ".join(f"state = '{before}'" for before in befores) + ")"


def begins_as(state: str) -> str:
    """Return a state in which an invocation may begin, or raise ValueError."""
    if not may_become(None, state):
        raise ValueError(f"no invocation begins as {state}")
    return state


_WAITING = begins_as("waiting")


def new_values(new: NewInvocation, state: str, readiness: int) -> dict[str, Any]:
    """Return the columns of a new invocation."""
    return {
        "id": storable(new.id),
        "function": new.function,
        "queue": storable(new.queue),
        "trigger": new.trigger,
        "source": storable(new.source),
        "state": begins_as(state),
        "readiness": readiness,
        "priority": new.priority,
        "created_at": new.created_at,
        "due_at": new.due_at,
        "expires_at": new.expires_at,
        "group_key": storable(new.group_key),
        "scheduled_for": new.scheduled_for,
        "parent_id": storable(new.parent_id),
        "event_json": storable(new.event_json),
        "outcome": None,
        "reason": None,
        "ended_at": None,
    }


def waiting_row(new: NewInvocation, readiness: int) -> tuple[Any, ...]:
    """Return the values of WAITING_COLUMNS of a new invocation that waits."""
    return (
        storable(new.id),
        new.function,
        storable(new.queue),
        new.trigger,
        storable(new.source),
        _WAITING,
        readiness,
        new.priority,
        new.created_at,
        new.due_at,
        new.expires_at,
        storable(new.group_key),
        new.scheduled_for,
        storable(new.parent_id),
        storable(new.event_json),
    )


def read_invocation(row: Any) -> Invocation:
    """Read a row of INVOCATION_COLUMNS."""
    # The columns are the fields, but for two, and for what is behind them: to put the fields together from parts
    # of a row took half as long again, for each that is claimed.
    found = Invocation(*row[:23])
    found.spent = Spent(row[16], *row[23:])
    if row[20] is not None:
        found.error = ErrorRecord.from_json(json.loads(row[20]))
    return found


def attempt_row(record: AttemptRecord, invocation_seq: int) -> tuple[Any, ...]:
    """Return the values of ATTEMPT_COLUMNS of one finished attempt."""
    return (
        invocation_seq,
        record.number,
        record.attempt_id,
        record.function,
        record.code_version,
        record.outcome,
        record.started_at,
        record.ended_at,
        record.queue_wait_s,
        record.wall_s,
        record.cpu_s,
        record.memory_peak_bytes,
        record.init_s,
        record.batch_size,
        int(record.output_truncated),
        json.dumps(record.degraded) if record.degraded else "[]",
        storable(record.error_json),
        storable(record.log_tail),
    )


def read_attempt(row: Any, invocation_id: str) -> AttemptRecord:
    """Read a row of ATTEMPT_COLUMNS."""
    return AttemptRecord(
        invocation_id=invocation_id,
        number=row.number,
        attempt_id=row.attempt_id,
        function=row.function,
        code_version=row.code_version,
        outcome=row.outcome,
        started_at=row.started_at,
        ended_at=row.ended_at,
        queue_wait_s=row.queue_wait_s,
        wall_s=row.wall_s,
        cpu_s=row.cpu_s,
        memory_peak_bytes=row.memory_peak_bytes,
        init_s=row.init_s,
        error_json=row.error_json,
        log_tail=row.log_tail,
        batch_size=row.batch_size,
        output_truncated=bool(row.output_truncated),
        degraded=tuple(json.loads(row.degraded_json)),
    )
