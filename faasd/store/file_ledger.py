"""Which files have been seen, on SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from faasd.interfaces import FileRow
from faasd.store.readers import Readers
from faasd.store.statements import Hot, storable
from faasd.store.tables import files
from faasd.store.writer import Writer

__all__ = ["SqliteFileLedger"]

_COLUMNS = tuple(column.name for column in files.c)
_PUT = Hot(insert(files).prefix_with("OR REPLACE"), _COLUMNS)
_FORGET = Hot(
    delete(files).where(files.c.trigger == bindparam("its_trigger"), files.c.path == bindparam("p"))
)


class SqliteFileLedger:
    """See `faasd.interfaces.FileLedger` for what each method promises."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def load(self, trigger: str) -> list[FileRow]:
        """Return all rows of one trigger, ordered by path."""
        statement = select(*files.c).where(files.c.trigger == trigger).order_by(files.c.path)
        return await self._readers.read(lambda c: [_read(row) for row in c.execute(statement)])

    async def put(self, rows: Sequence[FileRow]) -> None:
        """Insert or replace rows; the key is (trigger, path)."""
        many = [_values(row) for row in rows]
        await self._writer.submit(lambda c: _PUT.run_many(c, many))

    async def forget(self, trigger: str, paths: Sequence[bytes]) -> None:
        """Remove rows."""
        many = [{"its_trigger": trigger, "p": path} for path in paths]
        await self._writer.submit(lambda c: _FORGET.run_many(c, many))


def _values(row: FileRow) -> dict[str, Any]:
    return {
        "trigger": row.trigger,
        "path": row.path,
        "device": _signed(row.device),
        "inode": _signed(row.inode),
        "mtime_ns": row.mtime_ns,
        "size": row.size,
        "state": row.state,
        "invocation_id": row.invocation_id,
        "seen_at": row.seen_at,
        "detail": storable(row.detail),
    }


def _read(row: Any) -> FileRow:
    return FileRow(
        trigger=row.trigger,
        path=row.path,
        device=row.device % 2**64,
        inode=row.inode % 2**64,
        mtime_ns=row.mtime_ns,
        size=row.size,
        state=row.state,
        invocation_id=row.invocation_id,
        seen_at=row.seen_at,
        detail=row.detail,
    )


def _signed(number: int) -> int:
    """SQLite's integers are signed; some file systems use the top bit of an inode number."""
    return number - 2**64 if number >= 2**63 else number
