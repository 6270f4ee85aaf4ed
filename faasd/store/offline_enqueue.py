"""Enqueue without a daemon: straight into the store, so that a script never loses an event."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
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
from faasd.store.intake_rules import IntakeRules, kept_rules
from faasd.store.migrations import migrate
from faasd.store.offline_tally import add_to_tally
from faasd.store.restore import finish_interrupted_restore
from faasd.store.space import check_room
from faasd.store.state_lock import StateLock
from faasd.store.tables import queues

__all__ = ["enqueue_offline"]


def enqueue_offline(
    state_dir: Path,
    prepare: Callable[[IntakeRules | None], Sequence[NewInvocation]],
    clock: Clock | None = None,
    lock_wait_s: float = 0.0,
) -> list[Acceptance]:
    """Commit invocations, all or none, while no daemon runs; when this returns, they are on disk.

    `prepare` makes them by the rules that were in force when the daemon last ran. Where those are not known,
    it is told so, and each gets the function that consumed its queue then, if that is known.
    Raises what `prepare` does, StateDirectoryInUse when a daemon holds the directory: speak to it instead. Raises
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
            rules = kept_rules(state_dir)
            new = prepare(rules)
            check_room(
                state_dir, driver_of(connection), None if rules is None else rules.state_bytes_max
            )
            with connection.begin():
                if rules is None:
                    new = _addressed(connection, new)
                accepted = enqueue(connection, new, clock.now())
            add_to_tally(state_dir, new, accepted)
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
