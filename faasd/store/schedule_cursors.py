"""Where schedules stand, on SQLite."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from faasd.interfaces import ScheduleCursor
from faasd.store.readers import Readers
from faasd.store.tables import cursors
from faasd.store.writer import Writer

__all__ = ["SqliteScheduleCursors"]


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
        statement = insert(cursors).prefix_with("OR REPLACE")
        values = {
            "name": cursor.name,
            "seen_until": cursor.seen_until,
            "fingerprint": cursor.fingerprint,
            "paused": int(cursor.paused),
        }
        await self._writer.submit(lambda c: c.execute(statement, values))
