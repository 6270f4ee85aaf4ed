"""Statements that are written once in SQLAlchemy Core, compiled once, and run by the driver.

Running a Core statement costs several times what SQLite needs for it, and even `exec_driver_sql`
costs as much again as an insert; the hot statements go this way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ClauseElement, Connection
from sqlalchemy.dialects import sqlite

from faasd.store.database import driver_of

__all__ = ["Hot", "storable"]

_DIALECT = sqlite.dialect(paramstyle="qmark")


class Hot:
    """One compiled statement. Types are the driver's: what the columns hold needs no conversion."""

    def __init__(self, statement: ClauseElement, columns: Sequence[str] | None = None) -> None:
        """Compile a statement; for an insert, `columns` are those that it is given."""
        keys = None if columns is None else list(columns)
        compiled = statement.compile(dialect=_DIALECT, column_keys=keys)
        self.sql = str(compiled)
        self.names: Sequence[str] = getattr(compiled, "positiontup", None) or ()
        self._sql_for: dict[int, str] = {}  # By how many rows it inserts.
        # Values that the statement itself gives; what the caller gives stands there as None.
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}

    def rows(self, connection: Connection, **values: Any) -> list[Any]:
        """Run it and return its rows, as tuples."""
        return self.each(connection, **values).fetchall()

    def row(self, connection: Connection, **values: Any) -> Any:
        """Run it and return its first row, or None."""
        # All are fetched, since a cursor left in the middle would keep its read open.
        rows = self.each(connection, **values).fetchall()
        return rows[0] if rows else None

    def each(self, connection: Connection, **values: Any) -> sqlite3.Cursor:
        """Run it and return a cursor, which reads its rows one by one; close it if any are left."""
        return driver_of(connection).execute(self.sql, self._arguments(values))

    def run(self, connection: Connection, **values: Any) -> int:
        """Run it and return how many rows it changed."""
        return self.each(connection, **values).rowcount

    def run_rows(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> int:
        """Insert rows, each with its values in the order of `names`, as one statement; returns how many went in.

        SQLite's driver lets other threads run at each step of a statement, and must wait for its turn
        after it: a statement for many rows waits once.
        """
        sql = self._sql_for.get(len(rows))
        if sql is None:
            head, values, tail = self.sql.partition(_one_row(len(self.names)))
            sql = self._sql_for[len(rows)] = f"{head}{', '.join([values] * len(rows))}{tail}"
        arguments = [value for row in rows for value in row]
        return driver_of(connection).execute(sql, arguments).rowcount

    def run_many(self, connection: Connection, many: Iterable[dict[str, Any]]) -> None:
        """Run it for each set of values."""
        arguments = [self._arguments(values) for values in many]
        driver_of(connection).executemany(self.sql, arguments)

    def _arguments(self, values: dict[str, Any]) -> tuple[Any, ...]:
        if self._fixed:
            values = self._fixed | values
        return tuple([values[name] for name in self.names])


def _one_row(count: int) -> str:
    """Return how SQLAlchemy spells the values of one row of an insert."""
    return f"({', '.join('?' * count)})"


def storable(text: str | None) -> str | None:
    """Return text that UTF-8 can hold: lone surrogates become backslash escapes.

    They come from JSON escapes and from file names that are not UTF-8; SQLite would refuse them.
    """
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
