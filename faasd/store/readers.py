"""Reading beside the writer: a few threads with connections that cannot write."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from faasd.errors import StoreError
from faasd.store.database import explain, open_readers

__all__ = ["Readers"]

T = TypeVar("T")
READERS_MAX = 3


class Readers:
    """Runs reads in threads of its own, so that neither the loop nor the writer waits for them."""

    def __init__(self, path: Path, count_max: int = READERS_MAX) -> None:
        self.path = path
        self._engine = open_readers(path, count_max)
        self._threads = ThreadPoolExecutor(count_max, thread_name_prefix="faasd-store-reader")
        self._is_open = True

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run one read; it sees everything that was committed before. Raises StoreError."""
        if not self._is_open:
            raise StoreError(f"cannot read {self.path}: the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)

    async def close(self) -> None:
        """Wait for reads that run, and close their connections."""
        self._is_open = False
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    def _run(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection:
                return work(connection)
        except (DBAPIError, sqlite3.Error) as error:
            raise explain(error, self.path) from error
