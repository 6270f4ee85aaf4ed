"""Where schedules stand, on SQLite."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.sqlite import insert

from faasd.interfaces import ScheduleCursor
from faasd.store.readers import Readers
from faasd.store.tables import cursors, origin_keys
from faasd.store.writer import Writer

__all__ = ["SqliteScheduleCursors"]

_NEWEST_KEY = select(func.max(origin_keys.c.origin_key)).where(
    origin_keys.c.origin_key > bindparam("after"), origin_keys.c.origin_key <= bindparam("until")
)


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

    async def newest_keys(self, spans: Sequence[tuple[str, str]]) -> list[str | None]:
        """Return, for each span, the greatest origin key that was accepted in it, the first end left out."""
        return await self._readers.read(
            lambda c: [
                c.execute(_NEWEST_KEY, {"after": after, "until": until}).scalar()
                for after, until in spans
            ]
        )
