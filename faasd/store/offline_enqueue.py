"""Enqueue without a daemon: straight into the store, so that a script never loses an event."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from faasd.clock import Clock
from faasd.errors import UnknownQueue
from faasd.model.invocation import Acceptance, NewInvocation
from faasd.model.suggest import did_you_mean
from faasd.store.database import (
    DATABASE_NAME,
    driver_of,
    explain,
    open_writer,
    prepare_state_dir,
)
from faasd.store.enqueueing import enqueue
from faasd.store.migrations import migrate
from faasd.store.restore import finish_interrupted_restore
from faasd.store.state_lock import StateLock
from faasd.store.tables import queues

__all__ = ["enqueue_offline"]


def enqueue_offline(
    state_dir: Path,
    new: Sequence[NewInvocation],
    clock: Clock | None = None,
    lock_wait_s: float = 0.0,
) -> list[Acceptance]:
    """Commit invocations, all or none, while no daemon runs; when this returns, they are on disk.

    Each gets the function that consumed its queue when the daemon last ran, where that is known.
    Raises StateDirectoryInUse when a daemon holds the directory: speak to it instead. Raises
    UnknownQueue for a queue that no function consumed when the daemon last ran, provided that it
    ever did; and StoreFull, SchemaTooNew or StoreError. Blocks, so it is not for an event loop.
    """
    clock = clock or Clock()
    prepare_state_dir(state_dir)
    path = state_dir / DATABASE_NAME
    with StateLock.acquire(state_dir, lock_wait_s):
        finish_interrupted_restore(state_dir)
        connection = open_writer(path)
        try:
            migrate(connection, path)
            with connection.begin():
                accepted = enqueue(connection, _addressed(connection, new), clock.now())
            # Nobody else has it open, so the WAL can go; on failure the next start reads it.
            driver_of(connection).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return accepted
        except (DBAPIError, sqlite3.Error) as error:
            raise explain(error, path) from error
        finally:
            connection.close()


def _addressed(connection: Connection, new: Sequence[NewInvocation]) -> list[NewInvocation]:
    """Return them with the functions that consume their queues; as they are if nothing is known."""
    statement = select(queues.c.queue, queues.c.function).where(queues.c.function.is_not(None))
    known = {row.queue: row.function for row in connection.execute(statement)}
    if not known:
        return list(new)
    for queue in sorted({one.queue for one in new}.difference(known)):
        hint = did_you_mean(queue, known, or_list=True)
        raise UnknownQueue(f"no function consumes a queue named {queue!r}{hint}")
    return [replace(one, function=known[one.queue]) for one in new]
