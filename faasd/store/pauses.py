"""What people have paused, on SQLite."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from faasd.clock import Clock
from faasd.store.readers import Readers
from faasd.store.tables import pauses
from faasd.store.writer import Writer

__all__ = ["SqlitePauses"]


class SqlitePauses:
    """See `faasd.interfaces.Pauses` for what each method promises."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock

    async def load(self) -> dict[tuple[str, str], float]:
        """Return (kind, name) of everything paused, with the time since when."""
        statement = select(pauses.c.kind, pauses.c.name, pauses.c.since)
        rows = await self._readers.read(lambda c: c.execute(statement).all())
        return {(kind, name): since for kind, name, since in rows}

    async def set(self, kind: str, name: str, paused: bool) -> bool:
        """Pause or resume; returns whether that changed anything."""
        now = self._clock.now()
        return await self._writer.submit(lambda c: _set(c, kind, name, now if paused else None))


def _set(connection: Connection, kind: str, name: str, since: float | None) -> bool:
    if since is None:
        of_it = (pauses.c.kind == kind, pauses.c.name == name)
        return connection.execute(delete(pauses).where(*of_it)).rowcount > 0
    statement = insert(pauses).values(kind=kind, name=name, since=since).on_conflict_do_nothing()
    return connection.execute(statement).rowcount > 0
