"""The schema's versions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection

from faasd.errors import SchemaTooNew, StoreError
from faasd.store.database import open_writer
from faasd.store.migrations import SCHEMA_VERSION, migrate

NEXT = SCHEMA_VERSION + 1
SCHEMAS = Path(__file__).parent / "schemas"


def add_a_table(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE later (x INTEGER)")


def add_a_table_and_fail(connection: Connection) -> None:
    add_a_table(connection)
    connection.exec_driver_sql("CREATE TABLE later (x INTEGER)")


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    connection.close()
    return {name for (name,) in rows}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "faasd.db"
    connection = open_writer(path)
    assert migrate(connection, path) is None
    assert migrate(connection, path) is None  # The second start finds nothing to do.
    connection.close()
    return path


def test_an_older_database_is_copied_aside_and_then_upgraded(path: Path) -> None:
    """So that whoever must go back to the older faasd can."""
    connection = open_writer(path)
    kept = migrate(connection, path, {NEXT: add_a_table}, NEXT)
    assert migrate(connection, path, {NEXT: add_a_table}, NEXT) is None
    again = migrate(connection, path, {NEXT + 1: lambda _: None}, NEXT + 1)
    connection.close()
    assert kept == path.with_name(f"faasd.db.v{SCHEMA_VERSION}")
    assert again == path.with_name(f"faasd.db.v{NEXT}")
    assert "later" in tables(path)
    assert "invocations" in tables(kept)
    assert "later" not in tables(kept)


def test_an_older_copy_is_not_written_over(path: Path) -> None:
    """It may be the only good one."""
    first = path.with_name(f"faasd.db.v{SCHEMA_VERSION}")
    first.write_text("precious")
    connection = open_writer(path)
    kept = migrate(connection, path, {NEXT: add_a_table}, NEXT)
    connection.close()
    assert kept == path.with_name(f"{first.name}.2")
    assert first.read_text() == "precious"


def test_a_failed_step_leaves_nothing_behind(path: Path) -> None:
    """Half a migration would make every later start fail."""
    connection = open_writer(path)
    with pytest.raises(StoreError, match="already exists"):
        migrate(connection, path, {NEXT: add_a_table_and_fail}, NEXT)
    assert migrate(connection, path) is None
    connection.close()
    assert "later" not in tables(path)


def test_a_newer_database_is_left_alone(path: Path) -> None:
    """An older program would misread it; the message says what to do."""
    connection = open_writer(path)
    migrate(connection, path, {NEXT: add_a_table}, NEXT)
    with pytest.raises(
        SchemaTooNew, match=f"version {NEXT} and this faasd knows {SCHEMA_VERSION}; upgrade"
    ):
        migrate(connection, path)
    connection.close()


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """A wrong `state_dir` must not put our tables among somebody's."""
    path = tmp_path / "faasd.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (x)")
    other.close()
    connection = open_writer(path)
    with pytest.raises(StoreError, match="some other program"):
        migrate(connection, path)
    connection.close()
    assert tables(path) == {"mine"}


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    """Not with SQLite's own words alone."""
    path = tmp_path / "faasd.db"
    path.write_bytes(b"x" * 4096)
    with pytest.raises(StoreError, match="no SQLite database"):
        open_writer(path)


def test_version_2_counts_deaths_from_nothing(path: Path) -> None:
    """What waits in a database of version 1 goes on, and has killed no sandbox that we know of."""
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE invocations DROP COLUMN spent_died")
    connection.execute(
        "INSERT INTO invocations (id, function, queue, trigger, source, state, readiness, priority,"
        " created_at, due_at, event_json) VALUES ('i', 'f', 'f', 'queue', 'f', 'waiting', 1, 0, 0, 0, '1')"
    )
    for table in ("usage", "served_versions", "pins", "aliases"):
        connection.execute(f"DROP TABLE {table}")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    writer = open_writer(path)
    assert migrate(writer, path) == path.with_name("faasd.db.v1")
    found = writer.exec_driver_sql("SELECT id, spent_died FROM invocations").all()
    writer.close()
    assert [tuple(row) for row in found] == [("i", 0)]


def schema_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the columns of every table and index, however their SQL is laid out."""
    connection = sqlite3.connect(path)
    names = connection.execute("SELECT type, name FROM sqlite_master").fetchall()
    pragma = {"table": "table_xinfo", "index": "index_xinfo"}
    found = {
        name: connection.execute(f"SELECT * FROM pragma_{pragma[kind]}(?)", (name,)).fetchall()
        for kind, name in names
    }
    connection.close()
    return found


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_every_earlier_schema_comes_to_the_one_of_today(
    path: Path, tmp_path: Path, version: int
) -> None:
    """An upgraded database must be the same as a new one, or only one of the two is tested."""
    old = tmp_path / "old.db"
    made = sqlite3.connect(old)
    made.executescript((SCHEMAS / f"v{version}.sql").read_text())
    made.execute("PRAGMA journal_mode = WAL")
    made.close()
    connection = open_writer(old)
    assert migrate(connection, old) == old.with_name(f"old.db.v{version}")
    connection.close()
    assert schema_of(old) == schema_of(path)
