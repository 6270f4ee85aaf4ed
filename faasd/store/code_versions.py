"""Which versions of code functions had in service, are pinned to, and have names for, on SQLite."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, delete, insert, select

from faasd.model.code import KnownVersions, ServedVersion
from faasd.store.readers import Readers
from faasd.store.tables import aliases, pins, served_versions
from faasd.store.writer import Writer

__all__ = ["SqliteCodeVersions"]


class SqliteCodeVersions:
    """What is known of versions of code, over restarts."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def load(self) -> KnownVersions:
        """Return everything that is known."""
        return await self._readers.read(_load)

    async def served(self, versions: Sequence[ServedVersion], gone: Collection[str] = ()) -> None:
        """Write down that these are in service since then, and forget what `gone` functions had."""
        rows = [vars(one) for one in versions]

        def write(connection: Connection) -> None:
            if gone:
                of_them = served_versions.c.function.in_(sorted(gone))
                connection.execute(delete(served_versions).where(of_them))
            if rows:
                connection.execute(insert(served_versions).prefix_with("OR REPLACE"), rows)

        if rows or gone:
            await self._writer.submit(write)

    async def forget(self, versions: Collection[str]) -> None:
        """Forget versions that are not kept any more."""
        if versions:
            of_them = served_versions.c.version.in_(sorted(versions))
            await self._writer.submit(lambda c: c.execute(delete(served_versions).where(of_them)))

    async def pin(self, function: str, version: ServedVersion | None) -> None:
        """Pin a function to a version, or, with None, to none any more."""
        if version is None:
            of_it = pins.c.function == function
            await self._writer.submit(lambda c: c.execute(delete(pins).where(of_it)))
            return
        values = {
            "function": function,
            "version": version.version,
            "source": version.source,
            "since": version.served_at,
        }
        statement = insert(pins).prefix_with("OR REPLACE")
        await self._writer.submit(lambda c: c.execute(statement, values))

    async def name(self, function: str, alias: str, version: ServedVersion | None) -> None:
        """Give a version of a function a name, or, with None, take the name away."""
        if version is None:
            of_it = (aliases.c.function == function, aliases.c.alias == alias)
            await self._writer.submit(lambda c: c.execute(delete(aliases).where(*of_it)))
            return
        values = {
            "function": function,
            "alias": alias,
            "version": version.version,
            "source": version.source,
        }
        statement = insert(aliases).prefix_with("OR REPLACE")
        await self._writer.submit(lambda c: c.execute(statement, values))


def _load(connection: Connection) -> KnownVersions:
    served = [ServedVersion(*row) for row in connection.execute(_SERVED)]
    pinned = [ServedVersion(*row) for row in connection.execute(_PINNED)]
    named = {
        (function, alias): ServedVersion(function, version, source, 0.0)
        for function, alias, version, source in connection.execute(_NAMED)
    }
    return KnownVersions(tuple(served), {one.function: one for one in pinned}, named)


_SERVED = select(
    served_versions.c.function,
    served_versions.c.version,
    served_versions.c.source,
    served_versions.c.served_at,
).order_by(served_versions.c.served_at.desc())
_PINNED = select(pins.c.function, pins.c.version, pins.c.source, pins.c.since)
_NAMED = select(aliases.c.function, aliases.c.alias, aliases.c.version, aliases.c.source)
