"""Where schedules stand, on SQLite."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.dialects.sqlite import insert

from faasd.interfaces import ScheduleCursor
from faasd.store.readers import Readers
from faasd.store.statements import Hot
from faasd.store.tables import cursors, origin_keys
from faasd.store.writer import Writer

__all__ = ["SqliteScheduleCursors"]

_NEWEST_KEY = select(func.max(origin_keys.c.origin_key)).where(
    origin_keys.c.origin_key > bindparam("after"), origin_keys.c.origin_key <= bindparam("until")
)
_SAVE = Hot(
    insert(cursors).prefix_with("OR REPLACE"), ("name", "seen_until", "fingerprint", "paused")
)
_PORTION = 64


class SqliteScheduleCursors:
    """See `faasd.interfaces.ScheduleCursors` for what each method promises."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def load(self) -> dict[str, ScheduleCursor]:
        """Return every cursor by schedule name."""
        statement = select(
            cursors.c.name, cursors.c.seen_until, cursors.c.fingerprint, cursors.c.paused
        )
        rows = await self._readers.read(lambda c: c.execute(statement).all())
        return {
            name: ScheduleCursor(name, seen_until, fingerprint, bool(paused))
            for name, seen_until, fingerprint, paused in rows
        }

    async def save(self, cursor: ScheduleCursor) -> None:
        """Write one cursor."""
        await self._writer.submit_together(_save_all, cursor)

    async def newest_keys(self, spans: Sequence[tuple[str, str]]) -> list[str | None]:
        """Return, for each span, the greatest origin key that was accepted in it, the first end left out."""
        return await self._readers.read(
            lambda c: [
                c.execute(_NEWEST_KEY, {"after": after, "until": until}).scalar()
                for after, until in spans
            ]
        )


def _save_all(connection: Connection, many: Sequence[ScheduleCursor]) -> list[None]:
    """Write cursors, those of a whole second's schedules by a few statements."""
    rows = [(one.name, one.seen_until, one.fingerprint, int(one.paused)) for one in many]
    for begin in range(0, len(rows), _PORTION):
        _SAVE.run_rows(connection, rows[begin : begin + _PORTION])
    return [None] * len(rows)
