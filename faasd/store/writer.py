"""The one writer: a thread with one connection that turns many callers into few commits.

Callers hand it work, a function of the connection. It takes everything that waits, runs it in one
BEGIN IMMEDIATE transaction, commits, and only then answers all of them: an answer means "on disk",
and one fsync pays for many. It is also the only one that checkpoints, which keeps clear of SQLite's
WAL-reset bug (two connections that checkpoint and write at once; fixed in 3.51.3).
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from faasd.errors import StoreError, StoreFull
from faasd.store.database import (
    WAL_KEPT_BYTES,
    driver_of,
    explain,
    is_about_the_database,
    size_of,
)

__all__ = ["AtEnd", "Together", "Work", "Writer"]

P = TypeVar("P")
T = TypeVar("T")
_ALONE = object()
#: Runs inside a transaction that it neither begins nor ends. It may be run twice, so it must change
#: nothing but the database.
Work = Callable[[Connection], T]

INBOX_MAX = 4096
GROUP_MAX = 512
#: Works that can wait are handed over together as soon as they are so many.
GATHER_MAX = 64
CHECKPOINT_EVERY_WORKS = 1000
CHECKPOINT_EVERY_BYTES = 4 * 2**20


#: One work for what many callers hand over: returns what it comes to for each. It may be run again
#: for each of them alone.
Together = Callable[[Connection, Sequence[P]], Sequence[T]]


@dataclass(slots=True, eq=False)
class _Item:
    work: Work[Any] | Together[Any, Any]
    part: Any  # What a work for many is run with; _ALONE for a work of its own.
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    is_trailing: bool = False  # Its caller hears a turn after those of others.
    result: Any = None
    error: BaseException | None = None


class AtEnd(Protocol):
    """What works leave to be written together, as the last of their transaction."""

    def write(self, connection: Connection) -> None:
        """Write it."""

    def forget(self) -> None:
        """Let go of it: the transaction was undone."""


class _Nothing:
    def write(self, connection: Connection) -> None: ...

    def forget(self) -> None: ...


class Writer:
    """Runs works in order, many to a commit. `submit` belongs to one event loop."""

    def __init__(
        self,
        connection: Connection,
        path: Path,
        inbox_max: int = INBOX_MAX,
        at_end: AtEnd | None = None,
    ) -> None:
        self._connection = connection
        self._at_end = at_end or _Nothing()
        self._path = path
        self._wal = os.fspath(path.with_name(path.name + "-wal"))
        self._size: tuple[int, int] | None = None  # Of the database, and what of it is free.
        self._inbox: queue.SimpleQueue[list[_Item] | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(inbox_max)
        self._gathered: list[_Item] = []  # Not yet in the inbox.
        self._gathered_size = 0
        self._gathering: asyncio.TimerHandle | None = None
        self._gathered_at = 0.0  # When the last work that could wait came.
        self._closing = False
        self._works_since_checkpoint = 0
        self._wal_bytes_at_checkpoint = 0
        #: Whether the last group of changes found no room on the disk.
        self.is_full = False
        #: Hears, on the writer's thread, how long a group took, how many works it had, and whether it failed.
        self.on_group: Callable[[float, int, bool], None] | None = None
        #: Hears, on the writer's thread, after each group: bytes in the database, and how many of them are free.
        self.on_size: Callable[[int, int], None] | None = None
        self._thread = threading.Thread(target=self._run, name="faasd-store-writer", daemon=True)
        self._thread.start()

    async def submit(self, work: Work[T]) -> T:
        """Run one work in a transaction; when this returns, its changes are on disk.

        Raises what the work raised, and then the work has changed nothing; StoreFull or StoreError
        when the database failed. Waits while the inbox is full. A caller that is cancelled while
        it waits for the answer does not know whether the work was done.
        """
        item = await self._item(work, _ALONE)
        self._hand_over(item)
        result: T = await item.future
        return result

    async def submit_together(
        self,
        work: Together[P, T],
        part: P,
        *,
        patience_s: float = 0.0,
        size: int = 1,
        waits_alone: bool = False,
        when_taken: Callable[[], None] = lambda: None,
    ) -> T:
        """Run a work that is run once for all who submit the same one at the same time; else as `submit`.

        With `patience_s` it waits so long for others, when they come in quicker succession or it `waits_alone`: one
        commit, and one waking of each side, then pays for many. Nobody else waits for it: works that are submitted
        otherwise go at once, behind what has been gathered. `size` says for how many it counts. `when_taken` is
        called as soon as the work has its place in the order of all.
        """
        item = await self._item(work, part)
        if patience_s:
            item.is_trailing = waits_alone
            self._gather(item, patience_s, size, waits_alone)
        else:
            self._hand_over(item)
        when_taken()
        result: T = await item.future
        return result

    def hurry(self) -> None:
        """Have everything that was submitted by now written, also what waits for others."""
        self._hand_over()

    def _gather(self, item: _Item, patience_s: float, size: int, waits_alone: bool) -> None:
        now = item.loop.time()
        is_lone = not waits_alone and now - self._gathered_at > patience_s
        self._gathered_at = now
        self._gathered_size += size
        if is_lone or self._gathered_size >= GATHER_MAX:
            self._hand_over(item)
            return
        self._gathered.append(item)
        timer = self._gathering
        if timer is None or now + patience_s < timer.when():
            if timer is not None:
                timer.cancel()
            self._gathering = item.loop.call_later(patience_s, self._hand_over)

    async def _item(self, work: Work[Any] | Together[Any, Any], part: Any) -> _Item:
        await self._room.acquire()
        if self._closing:
            self._room.release()
            raise StoreError(f"cannot use {self._path}: the store is closed")
        loop = asyncio.get_running_loop()
        return _Item(work, part, loop, loop.create_future())

    def _hand_over(self, item: _Item | None = None) -> None:
        """Put into the inbox what was gathered, and this behind it."""
        if item is not None:
            self._gathered.append(item)
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        self._gathered_size = 0
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._inbox.put(gathered)

    async def close(self) -> None:
        """Finish what was submitted, fold the WAL into the database file, and close the connection."""
        if not self._closing:
            self._closing = True
            self._hand_over()
            self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        is_open = True
        while is_open:
            group, is_open = self._next_group()
            if not group:
                continue
            began = time.perf_counter()
            failed = False
            try:
                self._commit(group)
                self.is_full = False
            except Exception as error:  # noqa: BLE001 - The loop of a long-lived thread.
                failed = True
                self._fail(group, error)
            took_s = time.perf_counter() - began
            self._answer(group)
            if self.on_group is not None:  # After the answer, which somebody waits for.
                self.on_group(took_s, len(group), failed)
            if self.on_size is not None and self._size is not None:
                self.on_size(*self._size)
            self._checkpoint_if_due(len(group))
        self._close_connection()

    def _next_group(self) -> tuple[list[_Item], bool]:
        """Wait for work, then take all there is. False with it: nothing more will come."""
        group: list[_Item] = []
        items = self._inbox.get()
        while items is not None:
            group += items
            if len(group) >= GROUP_MAX:
                return group, True
            try:
                items = self._inbox.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _commit(self, group: list[_Item]) -> None:
        """Run and commit a group. Savepoints would double its cost, so they come only after a failure."""
        try:
            self._begin()
            for items in _runs(group):
                self._run_together(items)
            self._at_end.write(self._connection)
            # Asked for outside of the transaction, each question locks and unlocks the file.
            if self.on_size is not None:
                self._size = size_of(driver_of(self._connection))
            self._end()
            return
        except Exception as error:
            self._at_end.forget()
            self._roll_back()
            if is_about_the_database(error):
                raise
        # One of them failed by itself. Run them again, each so that it can be undone alone.
        with self._connection.begin():
            for item in group:
                self._run_apart(item)

    def _begin(self) -> None:
        # Past SQLAlchemy, whose own begin and commit cost as much as inserting two rows.
        driver_of(self._connection).execute("BEGIN IMMEDIATE")

    def _end(self) -> None:
        if self._connection.in_transaction():  # A work ran a statement through SQLAlchemy.
            self._connection.commit()
        else:
            driver_of(self._connection).execute("COMMIT")

    def _run_together(self, items: list[_Item]) -> None:
        """Run the one work of these items, which are more than one only where it is the same for all."""
        work: Any = items[0].work
        if items[0].part is _ALONE:
            items[0].result = work(self._connection)
            return
        results = work(self._connection, [item.part for item in items])
        for item, result in zip(items, results, strict=True):
            item.result = result

    def _run_apart(self, item: _Item) -> None:
        item.result = None
        savepoint = self._connection.begin_nested()
        try:
            self._run_together([item])
            self._at_end.write(self._connection)
        except Exception as error:
            self._at_end.forget()
            if is_about_the_database(error):
                raise
            savepoint.rollback()
            item.error = error
        else:
            savepoint.commit()

    def _fail(self, group: list[_Item], error: Exception) -> None:
        """Nothing of the group was committed, so nobody in it may hear otherwise."""
        self._roll_back()
        told = explain(error, self._path)
        self.is_full = isinstance(told, StoreFull)
        if self.is_full:
            self._checkpoint("PASSIVE")  # The WAL can then be written again from its start.
        for item in group:
            # One exception object for many tasks would collect the traces of all of them.
            item.error = type(told)(str(told))
            item.error.__cause__ = error

    def _roll_back(self) -> None:
        """Leave no transaction open. SQLite ends one by itself on some errors, and not on others."""
        if self._connection.in_transaction():
            self._connection.rollback()
        driver = driver_of(self._connection)
        if driver.in_transaction:
            driver.rollback()

    def _answer(self, group: list[_Item]) -> None:
        """Wake the loop once for the whole group; a call per item would cost more than the commit."""
        loop = group[0].loop
        with suppress(RuntimeError):  # The loop was closed: nobody is left who could hear it.
            loop.call_soon_threadsafe(self._resolve, group)

    def _resolve(self, group: list[_Item]) -> None:
        """Answer them; those that nobody waits for a turn later, when what the others go on to do has begun."""
        trailing = [item for item in group if item.is_trailing]
        if not trailing:
            self._tell(group)
            return
        self._tell([item for item in group if not item.is_trailing])
        group[0].loop.call_soon(self._tell, trailing)

    def _tell(self, group: list[_Item]) -> None:
        for item in group:
            self._room.release()
            if item.future.done():
                continue  # Its caller was cancelled meanwhile.
            if item.error is None:
                item.future.set_result(item.result)
            else:
                item.future.set_exception(item.error)

    def _checkpoint_if_due(self, works: int) -> None:
        self._works_since_checkpoint += works
        grown_bytes = self._wal_bytes() - self._wal_bytes_at_checkpoint
        if (
            self._works_since_checkpoint >= CHECKPOINT_EVERY_WORKS
            or grown_bytes >= CHECKPOINT_EVERY_BYTES
        ):
            self._checkpoint("PASSIVE")

    def _checkpoint(self, mode: str) -> None:
        is_complete = False
        # It fails on a full disk, most likely. What was committed is in the WAL; the next one tries again.
        with suppress(sqlite3.Error):
            statement = f"PRAGMA wal_checkpoint({mode})"
            _, frames, moved = driver_of(self._connection).execute(statement).fetchone()
            is_complete = frames == moved
        self._works_since_checkpoint = 0
        # After a complete one SQLite writes the WAL again from its start, cut to WAL_KEPT_BYTES;
        # what is written over shows no growth. While a reader prevents that, it goes on growing.
        size = self._wal_bytes()
        self._wal_bytes_at_checkpoint = min(size, WAL_KEPT_BYTES) if is_complete else size

    def _wal_bytes(self) -> int:
        try:
            return os.stat(self._wal).st_size  # noqa: PTH116 - Path takes as long again.
        except OSError:
            return 0

    def _close_connection(self) -> None:
        self._roll_back()
        self._checkpoint("TRUNCATE")
        self._connection.close()
        self._connection.engine.dispose()


def _runs(group: list[_Item]) -> Iterator[list[_Item]]:
    """Yield a group in its order: what follows each other with the same work for many, together."""
    run: list[_Item] = []
    for item in group:
        if run and (item.part is _ALONE or item.work is not run[0].work):
            yield run
            run = []
        run.append(item)
    if run:
        yield run
