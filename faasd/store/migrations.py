"""The schema's versions: numbered steps, each applied once, all in one transaction.

A fresh database is made from tables.py as it is now. An older one is copied aside and then taken
through the steps it lacks. `PRAGMA user_version` tells where it stands.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable

from faasd.errors import SchemaTooNew, StoreError
from faasd.store.database import driver_of, explain
from faasd.store.tables import COUNTERS, counters, metadata
from faasd.store.upgrade_copy import copy_aside

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "STEPS", "migrate"]

Step = Callable[[Connection], None]


def _count_deaths_and_usage(connection: Connection) -> None:
    connection.exec_driver_sql(
        "ALTER TABLE invocations ADD COLUMN spent_died INTEGER NOT NULL DEFAULT '0'"
    )
    connection.exec_driver_sql(
        "CREATE TABLE usage (month TEXT NOT NULL, function TEXT NOT NULL, requests INTEGER NOT NULL,"
        " errors INTEGER NOT NULL, duration_s FLOAT NOT NULL, gb_s FLOAT NOT NULL, cpu_s FLOAT NOT NULL,"
        " PRIMARY KEY (month, function)) WITHOUT ROWID"
    )


def _know_versions_of_code(connection: Connection) -> None:
    for statement in (
        (
            "CREATE TABLE served_versions (function TEXT NOT NULL, version TEXT NOT NULL, source TEXT NOT NULL,"
            " served_at FLOAT NOT NULL, PRIMARY KEY (function, version)) WITHOUT ROWID"
        ),
        (
            "CREATE TABLE pins (function TEXT NOT NULL, version TEXT NOT NULL, source TEXT NOT NULL,"
            " since FLOAT NOT NULL, PRIMARY KEY (function)) WITHOUT ROWID"
        ),
        (
            "CREATE TABLE aliases (function TEXT NOT NULL, alias TEXT NOT NULL, version TEXT NOT NULL,"
            " source TEXT NOT NULL, PRIMARY KEY (function, alias)) WITHOUT ROWID"
        ),
    ):
        connection.exec_driver_sql(statement)


def _index_what_is_finished_by_or(connection: Connection) -> None:
    connection.exec_driver_sql("DROP INDEX finished")
    connection.exec_driver_sql(
        "CREATE INDEX finished ON invocations (ended_at) WHERE"
        " (state = 'done' OR state = 'cancelled' OR state = 'skipped' OR state = 'dropped')"
    )
    connection.exec_driver_sql("CREATE INDEX origin_age ON origin_keys (accepted_at)")


SCHEMA_VERSION = 4
#: Version that a step leads to: the step. A step, once released, never changes.
STEPS: Mapping[int, Step] = {
    2: _count_deaths_and_usage,
    3: _know_versions_of_code,
    4: _index_what_is_finished_by_or,
}

#: "faas" in ASCII: tells our files from other SQLite databases, also to file(1).
APPLICATION_ID = 0x66616173


def migrate(
    connection: Connection,
    path: Path,
    steps: Mapping[int, Step] = STEPS,
    version_wanted: int = SCHEMA_VERSION,
    *,
    copy_first: bool = True,
) -> Path | None:
    """Bring the database to this program's schema; returns the copy made before an upgrade, if any.

    Raises SchemaTooNew for a database of a newer faasd, StoreFull when the copy has no room, and
    StoreError for a database that is not ours. Either everything is applied or nothing, also when the
    process is killed in the middle.
    """
    try:
        version = _pragma(connection, "user_version")
        _check_ours(connection, path, version)
        if version == version_wanted:
            return None
        if version > version_wanted:
            raise SchemaTooNew(
                f"cannot use {path}: its schema is version {version} and this faasd knows "
                f"{version_wanted}; upgrade faasd, or restore a backup made by this version"
            )
        kept = copy_aside(connection, path, version_wanted) if version and copy_first else None
        with connection.begin():
            if version:
                for number in range(version + 1, version_wanted + 1):
                    steps[number](connection)
            else:
                _make(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {version_wanted}")
    except (DBAPIError, sqlite3.Error) as error:
        raise explain(error, path) from error
    return kept


def _make(connection: Connection) -> None:
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    for table in metadata.sorted_tables:
        connection.execute(CreateTable(table))
        # In one order everywhere: where two indexes would do, SQLite's choice depends on it.
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            connection.execute(CreateIndex(index))
    connection.execute(counters.insert(), [{"name": name, "value": 0} for name in COUNTERS])


def _check_ours(connection: Connection, path: Path, version: int) -> None:
    [tables] = driver_of(connection).execute("SELECT count(*) FROM sqlite_master").fetchone()
    is_fresh = version == 0 and tables == 0
    if not is_fresh and _pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreError(
            f"cannot use {path}: it is a database of some other program; set another `state_dir`"
        )


def _pragma(connection: Connection, name: str) -> int:
    # Past SQLAlchemy, which would begin a transaction for it.
    [value] = driver_of(connection).execute(f"PRAGMA {name}").fetchone()
    return int(value)
