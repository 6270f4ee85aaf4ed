"""The store as a whole: what the daemon opens at its start and closes at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import Connection

from faasd.clock import Clock
from faasd.model.function import Function
from faasd.store.addressing import Prepare, address
from faasd.store.code_versions import SqliteCodeVersions
from faasd.store.database import DATABASE_NAME, open_writer, prepare_state_dir
from faasd.store.file_ledger import SqliteFileLedger
from faasd.store.history import SqliteHistory
from faasd.store.intake_rules import keep_rules
from faasd.store.invocation_logs import FileInvocationLogs
from faasd.store.invocation_store import SqliteInvocationStore
from faasd.store.log_files import LogBudget
from faasd.store.migrations import migrate
from faasd.store.offline_tally import Tally, take_tally
from faasd.store.pauses import SqlitePauses
from faasd.store.readers import Readers
from faasd.store.restore import finish_interrupted_restore
from faasd.store.retention import Retention, forget_oldest, retain
from faasd.store.schedule_cursors import SqliteScheduleCursors
from faasd.store.space import Space
from faasd.store.state_lock import StateLock
from faasd.store.usage import UsageSums
from faasd.store.writer import Writer

__all__ = ["Store", "open_store"]


class Store:
    """Everything durable, and the lock on the directory it lies in."""

    def __init__(
        self,
        lock: StateLock,
        connection: Connection,
        *,
        path: Path,
        clock: Clock,
        log_budget: LogBudget,
        migrated_from: Path | None,
        budget_bytes: int | None = None,
    ) -> None:
        self._lock = lock
        sums = UsageSums()
        self._writer = Writer(connection, path, at_end=sums)
        self._readers = Readers(path)
        self.path = path
        #: The copy of the database as it was before this start brought it to a newer schema.
        self.migrated_from = migrated_from
        self.invocations = SqliteInvocationStore(self._writer, self._readers, clock, sums)
        self.history = SqliteHistory(self._readers, clock)
        self.cursors = SqliteScheduleCursors(self._writer, self._readers)
        self.versions = SqliteCodeVersions(self._writer, self._readers)
        self.pauses = SqlitePauses(self._writer, self._readers, clock)
        self.files = SqliteFileLedger(self._writer, self._readers)
        self.logs = FileInvocationLogs(path.parent / "logs", log_budget)
        self._clock = clock
        self.space = Space(path.parent, self._readers, clock, budget_bytes, self._is_full)
        if budget_bytes is not None:
            self._writer.on_size = self.space.hear_size

    def hear_commits(self, heard: Callable[[float, int, bool], None]) -> None:
        """Call `heard` after each group of changes, on the writer's thread: seconds, how many, whether it failed."""
        self._writer.on_group = heard

    async def keep_intake_rules(self, functions: Sequence[Function]) -> None:
        """Write down what is in force, for an enqueue without a daemon. Raises OSError."""
        await asyncio.to_thread(keep_rules, self.path.parent, functions, self.space.budget_bytes)

    async def enqueued_offline(self) -> Tally:
        """Return what enqueues without a daemon have done since a daemon last asked."""
        return await asyncio.to_thread(take_tally, self.path.parent)

    async def address(self, prepare: Prepare) -> None:
        """Give invocations without a function, enqueued before any daemon ran here, what they would get now."""
        seq: int | None = 0
        while seq is not None:
            after_seq = seq
            seq = await self._writer.submit(lambda c: address(c, prepare, after_seq))  # noqa: B023

    def _is_full(self) -> bool:
        return self._writer.is_full

    async def retain(self, retention: Retention) -> int:
        """Delete what need not be kept any longer, a little at a time; returns how many invocations."""
        self.logs.expire(self._clock.now())
        return await retain(self._writer, self._readers, retention, self._clock.now())

    async def forget_oldest(self) -> int:
        """Delete some of the finished invocations that ended first; returns how many."""
        return await forget_oldest(self._writer)

    async def close(self) -> None:
        """Finish what was begun, fold everything into the database file, let go of the directory."""
        # The readers first: the last connection to close would checkpoint, and that is the writer's.
        await self._readers.close()
        await self._writer.close()
        self.logs.close()
        self._lock.release()


async def open_store(
    state_dir: Path,
    clock: Clock,
    log_budget: LogBudget | None = None,
    lock_wait_s: float = 0.0,
    *,
    copy_before_upgrade: bool = True,
    budget_bytes: int | None = None,
) -> Store:
    """Open the store of a state directory, making or upgrading it as needed, and own it until close.

    Raises StateDirectoryInUse, SchemaTooNew, StoreFull or StoreError; then nothing stays open.
    """
    path = state_dir / DATABASE_NAME

    def open_files() -> tuple[StateLock, Connection, Path | None]:
        prepare_state_dir(state_dir)
        lock = StateLock.acquire(state_dir, lock_wait_s)
        try:
            finish_interrupted_restore(state_dir)
            connection = open_writer(path)
            try:
                return lock, connection, migrate(connection, path, copy_first=copy_before_upgrade)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            lock.release()
            raise

    lock, connection, migrated_from = await asyncio.to_thread(open_files)
    return Store(
        lock,
        connection,
        path=path,
        clock=clock,
        log_budget=log_budget or LogBudget(),
        migrated_from=migrated_from,
        budget_bytes=budget_bytes,
    )
