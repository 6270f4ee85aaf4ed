"""The schema's versions."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from faasd.errors import SchemaTooNew, StoreError, StoreFull
from faasd.store.database import open_writer
from faasd.store.migrations import SCHEMA_VERSION, migrate
from tests.daemon.harness import REPOSITORY, tmpfs

NEXT = SCHEMA_VERSION + 1
SCHEMAS = Path(__file__).parent / "schemas"
DUMPED = sorted(int(path.stem[1:]) for path in SCHEMAS.glob("v*.sql"))


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
    assert kept == path.with_name(f"faasd.db.before-v{NEXT}")
    assert again == path.with_name(f"faasd.db.before-v{NEXT + 1}")
    assert "later" in tables(path)
    assert "invocations" in tables(kept)
    assert "later" not in tables(kept)
    assert kept.stat().st_mode & 0o777 == 0o600


def test_an_older_copy_is_not_written_over(path: Path) -> None:
    """It may be the only good one."""
    first = path.with_name(f"faasd.db.before-v{NEXT}")
    first.write_text("precious")
    connection = open_writer(path)
    kept = migrate(connection, path, {NEXT: add_a_table}, NEXT)
    connection.close()
    assert kept == path.with_name(f"{first.name}.2")
    assert first.read_text() == "precious"


def test_the_newest_two_copies_are_kept(path: Path) -> None:
    """A daemon that is killed in each of its starts must not fill the disk with copies."""
    connection = open_writer(path)
    for number in range(4):
        copy = path.with_name(f"{path.name}.before-v0.{number}")
        copy.write_text("older")
        os.utime(copy, ns=(number, number))
    path.with_name(f"{path.name}.before-v{NEXT}.part").write_text("torn by a kill")
    kept = migrate(connection, path, {NEXT: add_a_table}, NEXT)
    connection.close()
    left = sorted(one.name for one in path.parent.glob("*.before-*"))
    assert kept is not None
    assert left == [f"{path.name}.before-v0.3", kept.name]


def test_an_upgrade_without_room_for_the_copy_is_refused_and_says_how_to_go_on(
    tmp_path: Path,
) -> None:
    """Nothing has changed then; and the copy may be somewhere else."""
    with tmpfs(tmp_path, "12m") as unmount:
        path = tmp_path / "faasd.db"
        connection = open_writer(path)
        migrate(connection, path)
        with pytest.raises(StoreFull, match="`copy_before_upgrade = false`"):
            migrate(connection, path, {NEXT: add_a_table}, NEXT)
        assert "later" not in tables(path)
        assert not list(tmp_path.glob("*.before-*"))
        assert migrate(connection, path, {NEXT: add_a_table}, NEXT, copy_first=False) is None
        connection.close()
        assert "later" in tables(path)
        unmount()


_KILLED = """
    import os, pathlib, signal, sys
    from faasd.store import migrations
    from faasd.store.database import open_writer

    def killed_step(connection):
        migrations.STEPS[2](connection)
        # Larger than the cache, so that part of it is in the WAL already.
        connection.exec_driver_sql("CREATE TABLE filler (x BLOB)")
        for _ in range(30):
            connection.exec_driver_sql("INSERT INTO filler VALUES (zeroblob(1000000))")
        os.kill(os.getpid(), signal.SIGKILL)

    path = pathlib.Path(sys.argv[1])
    migrations.migrate(open_writer(path), path, {**migrations.STEPS, 2: killed_step})
"""


def test_a_migration_that_is_killed_in_the_middle_begins_again(tmp_path: Path) -> None:
    """From the database as it was; what was acknowledged is in it."""
    path = old_database(tmp_path, 1)
    for _ in range(3):
        command = [sys.executable, "-c", textwrap.dedent(_KILLED), str(path)]
        done = subprocess.run(command, cwd=REPOSITORY, check=False)
        assert done.returncode == -signal.SIGKILL
    writer = open_writer(path)
    assert migrate(writer, path) is not None
    found = writer.exec_driver_sql("SELECT id, spent_died FROM invocations").all()
    writer.close()
    assert [tuple(row) for row in found] == [("i", 0)]
    assert "filler" not in tables(path)
    copies = list(tmp_path.glob("*.before-*"))
    assert len(copies) == 2
    assert all("usage" not in tables(copy) for copy in copies)


def old_database(directory: Path, version: int) -> Path:
    """Make a database as an earlier release left it, with one invocation that waits."""
    old = directory / "old.db"
    with closing(sqlite3.connect(old)) as made:
        made.executescript((SCHEMAS / f"v{version}.sql").read_text())
        made.execute(
            "INSERT INTO invocations (id, function, queue, trigger, source, state, readiness, priority,"
            " created_at, due_at, event_json) VALUES ('i', 'f', 'f', 'queue', 'f', 'waiting', 1, 0, 0, 0, '1')"
        )
        made.commit()
        made.execute("PRAGMA journal_mode = WAL")
    return old


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


def test_version_2_counts_deaths_from_nothing(tmp_path: Path) -> None:
    """What waits in a database of version 1 goes on, and has killed no sandbox that we know of."""
    path = tmp_path / "faasd.db"
    connection = sqlite3.connect(path)
    connection.executescript((SCHEMAS / "v1.sql").read_text())
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(
        "INSERT INTO invocations (id, function, queue, trigger, source, state, readiness, priority,"
        " created_at, due_at, event_json) VALUES ('i', 'f', 'f', 'queue', 'f', 'waiting', 1, 0, 0, 0, '1')"
    )
    connection.commit()
    connection.close()
    writer = open_writer(path)
    assert migrate(writer, path) == path.with_name(f"faasd.db.before-v{SCHEMA_VERSION}")
    found = writer.exec_driver_sql("SELECT id, spent_died FROM invocations").all()
    writer.close()
    assert [tuple(row) for row in found] == [("i", 0)]


def schema_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the columns of every table and index, and what an index is for, however its SQL is laid out."""
    connection = sqlite3.connect(path)
    names = connection.execute("SELECT type, name FROM sqlite_master").fetchall()
    conditions = {
        f"{name} where": [tuple((sql or "").partition(" WHERE ")[2].split())]
        for name, sql in connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index'"
        )
    }
    pragma = {"table": "table_xinfo", "index": "index_xinfo"}
    found = {
        name: connection.execute(f"SELECT * FROM pragma_{pragma[kind]}(?)", (name,)).fetchall()
        for kind, name in names
    }
    connection.close()
    return found | conditions


@pytest.mark.parametrize("version", DUMPED)
def test_every_earlier_schema_comes_to_the_one_of_today(
    path: Path, tmp_path: Path, version: int
) -> None:
    """An upgraded database must be the same as a new one, or only one of the two is tested.

    Where the schema of today is among them, it does not change without a new version.
    """
    old = old_database(tmp_path, version)
    connection = open_writer(old)
    kept = old.with_name(f"old.db.before-v{SCHEMA_VERSION}")
    assert migrate(connection, old) == (kept if version < SCHEMA_VERSION else None)
    assert connection.exec_driver_sql("SELECT id FROM invocations").all() == [("i",)]
    connection.close()
    assert schema_of(old) == schema_of(path)


def test_no_earlier_schema_is_missing_among_the_tested() -> None:
    """Somebody still has a database of each."""
    assert set(range(1, SCHEMA_VERSION)) <= set(DUMPED)
