"""Statements that are written once in SQLAlchemy Core, compiled once, and run as plain SQL.

Running a Core statement costs several times what SQLite needs for it; the hot ones go this way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ClauseElement, Connection
from sqlalchemy.dialects import sqlite

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
        self._fixed: dict[str, Any] = dict(compiled.params)

    def arguments(self, **values: Any) -> tuple[Any, ...]:
        """Return the values in the order in which `sql` takes them."""
        return self._tuple_of(values)

    def rows(self, connection: Connection, **values: Any) -> list[Any]:
        """Run it and return its rows."""
        return list(connection.exec_driver_sql(self.sql, self._tuple_of(values)).fetchall())

    def row(self, connection: Connection, **values: Any) -> Any:
        """Run it and return its first row, or None."""
        return connection.exec_driver_sql(self.sql, self._tuple_of(values)).fetchone()

    def run(self, connection: Connection, **values: Any) -> int:
        """Run it and return how many rows it changed."""
        return connection.exec_driver_sql(self.sql, self._tuple_of(values)).rowcount

    def run_many(self, connection: Connection, many: Iterable[dict[str, Any]]) -> None:
        """Run it for each set of values."""
        arguments = [self._tuple_of(values) for values in many]
        if arguments:
            connection.exec_driver_sql(self.sql, arguments)

    def _tuple_of(self, values: dict[str, Any]) -> tuple[Any, ...]:
        fixed = self._fixed
        return tuple([values[name] if name in values else fixed[name] for name in self.names])


def storable(text: str | None) -> str | None:
    """Return text that UTF-8 can hold: lone surrogates become escapes such as `\\udc80`.

    They come from JSON escapes and from file names that are not UTF-8; SQLite would refuse them.
    """
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
