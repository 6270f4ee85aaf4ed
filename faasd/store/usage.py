"""What functions have used by month, added up where attempts are finished; retention leaves it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from faasd.interfaces import Finish
from faasd.model.units import gb_seconds
from faasd.model.usage import Usage
from faasd.store.readers import Readers
from faasd.store.statements import Hot, storable
from faasd.store.tables import usage

__all__ = ["UsageSums", "read_usage"]

_COLUMNS = [column.name for column in usage.c]
_INSERT = insert(usage)
_ADD = Hot(
    _INSERT.on_conflict_do_update(
        index_elements=["month", "function"],
        set_={
            column.name: column + _INSERT.excluded[column.name]
            for column in usage.c
            if not column.primary_key
        },
    ),
    _COLUMNS,
)


class UsageSums:
    """What the attempts of one transaction used; belongs to the writer's thread.

    A write for each attempt would cost a quarter of its finish, so they are added up and written once,
    at the end of the transaction.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], _Sum] = {}
        self._month = _Month("", 0.0, 0.0)

    def add(self, ran: Sequence[Finish]) -> None:
        """Add attempts that ran. The members of a batch share one attempt, which counts once.

        An attempt that died with its daemon counts as a request; how long it ran is not known.
        """
        attempt_id = ""
        for one in ran:
            record = one.record
            # A batch's members follow each other. `sandbox-failed` is ours: no handler ran.
            if record.attempt_id == attempt_id or record.outcome == "sandbox-failed":
                continue
            attempt_id = record.attempt_id
            if not self._month.from_at <= record.ended_at < self._month.until_at:
                self._month = _month_of(record.ended_at)
            key = (self._month.name, record.function)
            found = self._sums.get(key)
            if found is None:
                found = self._sums[key] = _Sum()
            found.requests += 1
            found.errors += record.outcome not in ("ok", "drained", "cancelled")
            found.duration_s += record.wall_s
            found.gb_s += gb_seconds(one.memory_limit_bytes, record.wall_s)
            found.cpu_s += record.cpu_s or 0.0

    def write(self, connection: Connection) -> None:
        """Write what was added since the last time; part of the transaction that finished it."""
        if self._sums:
            for (month, function), its in self._sums.items():
                _ADD.run(connection, month=month, function=storable(function), **vars(its))
            self._sums.clear()

    def forget(self) -> None:
        """Let go of what was added: its transaction was undone."""
        self._sums.clear()


@dataclass
class _Sum:
    requests: int = 0
    errors: int = 0
    duration_s: float = 0.0
    gb_s: float = 0.0
    cpu_s: float = 0.0


@dataclass(frozen=True)
class _Month:
    name: str  # Such as 2026-11.
    from_at: float
    until_at: float


def _month_of(at: float) -> _Month:
    """Return the month of a time, in UTC."""
    first = datetime.fromtimestamp(at, UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    following = (first + timedelta(days=31)).replace(day=1)
    return _Month(first.strftime("%Y-%m"), first.timestamp(), following.timestamp())


async def read_usage(readers: Readers, month: str | None, function: str | None) -> list[Usage]:
    """Return what was used, newest month first, then by function."""
    statement = select(*usage.c).order_by(usage.c.month.desc(), usage.c.function)
    if month is not None:
        statement = statement.where(usage.c.month == month)
    if function is not None:
        statement = statement.where(usage.c.function == storable(function))
    rows = await readers.read(lambda c: c.execute(statement).all())
    return [Usage(*row) for row in rows]
