"""One trigger's ledger rows in memory, written through to the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from faasd.interfaces import FileLedger, FileRow

__all__ = ["FileRows"]


class FileRows:
    """The rows of one trigger. The ledger is written first: memory never knows more than the disk."""

    def __init__(self, ledger: FileLedger, trigger: str) -> None:
        self.by_path: dict[bytes, FileRow] = {}
        self._path_by_invocation: dict[str, bytes] = {}
        self._counts: Counter[str] = Counter()
        self._ledger = ledger
        self._trigger = trigger

    async def load(self) -> None:
        """Read what the ledger holds."""
        for row in await self._ledger.load(self._trigger):
            self._remember(row)

    async def put(self, rows: Sequence[FileRow]) -> None:
        """Insert or replace rows by path."""
        if rows:
            await self._ledger.put(rows)
            for row in rows:
                self._remember(row)

    async def forget(self, paths: Sequence[bytes]) -> None:
        """Remove rows."""
        if paths:
            await self._ledger.forget(self._trigger, paths)
            for path in paths:
                self._drop(path)

    def of_invocation(self, invocation_id: str) -> FileRow | None:
        """Return the row that this invocation was made for; None when another file has its path now."""
        path = self._path_by_invocation.get(invocation_id)
        return None if path is None else self.by_path.get(path)

    def count(self, state: str) -> int:
        """Return how many rows are in a state."""
        return self._counts[state]

    def invocation_ids(self, state: str) -> list[str]:
        """Return the invocations of all rows in a state."""
        rows = self.by_path.values()
        return [row.invocation_id for row in rows if row.state == state and row.invocation_id]

    def _remember(self, row: FileRow) -> None:
        self._drop(row.path)
        self.by_path[row.path] = row
        self._counts[row.state] += 1
        if row.invocation_id is not None:
            self._path_by_invocation[row.invocation_id] = row.path

    def _drop(self, path: bytes) -> None:
        row = self.by_path.pop(path, None)
        if row is None:
            return
        self._counts[row.state] -= 1
        if self._path_by_invocation.get(row.invocation_id or "") == path:
            del self._path_by_invocation[row.invocation_id or ""]
