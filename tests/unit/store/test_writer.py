"""The one writer."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection

from faasd.errors import Conflict, StoreError
from faasd.store import database
from faasd.store.database import driver_of, open_writer
from faasd.store.writer import GATHER_MAX, Work, Writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.db"


@pytest.fixture
async def writer(path: Path) -> AsyncIterator[Writer]:
    connection = open_writer(path)
    driver_of(connection).execute("CREATE TABLE t (x INTEGER PRIMARY KEY)")
    writer = Writer(connection, path, inbox_max=8)
    yield writer
    await writer.close()


def insert(x: int) -> Work[int]:
    def work(connection: Connection) -> int:
        connection.exec_driver_sql("INSERT INTO t VALUES (?)", (x,))
        return x

    return work


def refuse(connection: Connection) -> int:
    connection.exec_driver_sql("INSERT INTO t VALUES (77)")
    raise Conflict("no")


async def held_up(writer: Writer) -> threading.Event:
    """Keep the writer busy, so that what follows is one group."""
    begun, go = threading.Event(), threading.Event()

    def wait(connection: Connection) -> None:
        begun.set()
        assert go.wait(20)

    held = asyncio.create_task(writer.submit(wait))
    assert await asyncio.to_thread(begun.wait, 20)
    go.held = held  # type: ignore[attr-defined]
    return go


def contents(path: Path) -> list[int]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT x FROM t ORDER BY x").fetchall()
    connection.close()
    return [x for (x,) in rows]


async def test_one_that_fails_harms_none_of_its_group(writer: Writer, path: Path) -> None:
    """Callers share a commit, not their mistakes."""
    go = await held_up(writer)
    tasks = [
        asyncio.create_task(writer.submit(work))
        for work in (insert(1), refuse, insert(1), insert(2))
    ]
    await asyncio.sleep(0)
    go.set()
    one, refused, twice, two = await asyncio.gather(*tasks, return_exceptions=True)
    assert (one, two) == (1, 2)
    assert isinstance(refused, Conflict)
    assert "UNIQUE" in str(twice)
    assert contents(path) == [1, 2]


async def test_what_was_answered_is_committed_and_what_was_not_is_not_seen(
    writer: Writer, path: Path
) -> None:
    """An answer means "on disk"."""
    go = await held_up(writer)
    task = asyncio.create_task(writer.submit(insert(1)))
    await asyncio.sleep(0)
    assert contents(path) == []
    go.set()
    await task
    assert contents(path) == [1]


async def test_a_group_is_one_commit(writer: Writer, path: Path) -> None:
    """One fsync pays for all who wait."""
    commits: list[str] = []
    go = await held_up(writer)
    tasks = [asyncio.create_task(writer.submit(insert(x))) for x in range(6)]
    await asyncio.sleep(0)
    driver_of(writer._connection).set_trace_callback(
        lambda sql: commits.append(sql) if sql.startswith("COMMIT") else None
    )
    go.set()
    await asyncio.gather(*tasks)
    assert len(commits) == 2  # That of the one that held them up, and theirs.


async def test_a_full_inbox_makes_callers_wait_and_loses_none(writer: Writer, path: Path) -> None:
    """Memory is bounded; callers are slowed down, never refused."""
    await asyncio.gather(*(writer.submit(insert(x)) for x in range(100)))
    assert contents(path) == list(range(100))


async def test_a_cancelled_caller_leaves_the_others_alone(writer: Writer, path: Path) -> None:
    """Its work may be done or not; theirs is."""
    go = await held_up(writer)
    first, second = (asyncio.create_task(writer.submit(insert(x))) for x in (1, 2))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_close_finishes_what_was_submitted_and_refuses_the_rest(
    writer: Writer, path: Path
) -> None:
    """And leaves one file, without a WAL."""
    go = await held_up(writer)
    tasks = [asyncio.create_task(writer.submit(insert(x))) for x in range(3)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="closed"):
        await writer.submit(insert(9))
    go.set()
    await closing
    assert await asyncio.gather(*tasks) == [0, 1, 2]
    assert not path.with_name("t.db-wal").exists()
    assert contents(path) == [0, 1, 2]


async def test_a_database_that_another_program_holds_is_named_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a bare "database is locked"."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.01)
    path = tmp_path / "t.db"
    connection = open_writer(path)
    driver_of(connection).execute("CREATE TABLE t (x INTEGER PRIMARY KEY)")
    writer = Writer(connection, path)
    intruder = sqlite3.connect(path, isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    outcomes = await asyncio.gather(
        writer.submit(insert(1)), writer.submit(insert(2)), return_exceptions=True
    )
    for error in outcomes:
        assert isinstance(error, StoreError)
        assert "another program has held it" in str(error)
        assert "locked" not in str(error)
    intruder.execute("ROLLBACK")
    intruder.close()
    assert await writer.submit(insert(3)) == 3
    await writer.close()
    assert contents(path) == [3]


async def test_the_wal_stays_small_under_steady_writing(writer: Writer, path: Path) -> None:
    """The writer checkpoints by itself; nobody else does."""
    blob = "x" * 100_000

    def write(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS b (x TEXT)")
        connection.exec_driver_sql("DELETE FROM b")
        connection.exec_driver_sql("INSERT INTO b VALUES (?)", (blob,))

    for _ in range(300):
        await writer.submit(write)
    assert path.with_name("t.db-wal").stat().st_size < 12 * 2**20  # 30 MB were written.


async def test_what_commits_take_and_whether_they_fail_is_heard(
    writer: Writer,
) -> None:
    """Metrics stand on it; a work that refuses is no failure of the disk."""
    heard: list[tuple[float, int, bool]] = []
    writer.on_group = lambda *group: heard.append(group)
    go = await held_up(writer)
    both = [asyncio.create_task(writer.submit(insert(x))) for x in (1, 2)]
    refused = asyncio.create_task(writer.submit(refuse))
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*both)
    with pytest.raises(Conflict):
        await refused

    def full(connection: Connection) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError):
        await writer.submit(full)
    await writer.close()  # Then the writer's thread has told everything.
    assert [(count, failed) for _, count, failed in heard] == [(1, False), (3, False), (1, True)]
    assert all(took_s > 0 for took_s, _, _ in heard)


async def test_what_is_submitted_together_runs_once_and_each_gets_its_own(writer: Writer) -> None:
    """Many callers who end in one moment share statements, and none sees another's result."""
    calls: list[list[int]] = []

    def double(connection: Connection, parts: Sequence[int]) -> list[int]:
        calls.append(list(parts))
        return [2 * part for part in parts]

    go = await held_up(writer)
    waiting = [asyncio.create_task(writer.submit_together(double, n)) for n in range(3)]
    waiting.append(asyncio.create_task(writer.submit(insert(1))))
    waiting.append(asyncio.create_task(writer.submit_together(double, 9)))
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*waiting) == [0, 2, 4, 1, 18]
    assert calls == [[0, 1, 2], [9]]  # In the order of their coming: the insert stands between.


async def test_one_that_fails_together_fails_alone(writer: Writer) -> None:
    """Each is then run by itself, and only the culprit hears of it."""

    def picky(connection: Connection, parts: Sequence[int]) -> list[int]:
        for part in parts:
            connection.exec_driver_sql("INSERT INTO t VALUES (?)", (part,))
            if part == 13:
                raise Conflict("not thirteen")
        return list(parts)

    go = await held_up(writer)
    waiting = [asyncio.create_task(writer.submit_together(picky, n)) for n in (12, 13, 14)]
    await asyncio.sleep(0)
    go.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert answers[0] == 12
    assert isinstance(answers[1], Conflict)
    assert answers[2] == 14
    kept = await writer.submit(lambda c: [x for (x,) in c.exec_driver_sql("SELECT x FROM t")])
    assert kept == [12, 14]


async def test_who_can_wait_is_written_with_others_once_they_are_enough(writer: Writer) -> None:
    """One commit for many; and nobody who comes alone waits for others."""
    groups: list[list[str]] = []

    def note(_connection: Connection, names: Sequence[str]) -> list[None]:
        groups.append(list(names))
        return [None] * len(names)

    def submit(name: str, size: int, patience_s: float = 60.0) -> asyncio.Task[None]:
        work = writer.submit_together(note, name, patience_s=patience_s, size=size)
        return asyncio.create_task(work)

    await submit("alone", 1)
    waiting = [submit("some", 30), submit("more", 30)]
    await asyncio.sleep(0)
    await writer.submit(insert(1))  # Does not wait, and neither do those before it.
    await asyncio.gather(*waiting)
    waiting = [submit("some", 30), submit("one", 1), submit("enough", GATHER_MAX)]
    await asyncio.gather(*waiting)
    waiting = [submit("patient", 1), submit("hasty", 1, patience_s=0.001)]
    await asyncio.gather(*waiting)
    assert groups == [
        ["alone"],
        ["some", "more"],
        ["some", "one", "enough"],
        ["patient", "hasty"],
    ]


async def test_what_trails_waits_for_another_and_is_told_behind_it(writer: Writer) -> None:
    """Nobody waits for it; who waits for the work that it shares a commit with goes on first."""
    told: list[str] = []

    def note(_connection: Connection, names: Sequence[str]) -> list[None]:
        return [None] * len(names)

    async def trail() -> None:
        await writer.submit_together(note, "trails", patience_s=60.0, waits_alone=True)
        told.append("trails")

    async def work() -> None:
        await writer.submit(insert(1))
        told.append("works")
        await asyncio.sleep(0)  # Begins what it was waiting for,
        told.append("goes on")

    trailing = asyncio.create_task(trail())
    await asyncio.sleep(0)
    await asyncio.gather(trailing, asyncio.create_task(work()))
    assert told[0] == "works"
    assert told[1:] in (["trails", "goes on"], ["goes on", "trails"])  # in the same turn.


async def test_what_trails_is_written_at_once_for_who_is_in_a_hurry(writer: Writer) -> None:
    """Somebody looks for it."""

    def note(_connection: Connection, names: Sequence[str]) -> list[str]:
        return list(names)

    work = writer.submit_together(note, "trails", patience_s=60.0, waits_alone=True)
    trailing = asyncio.create_task(work)
    await asyncio.sleep(0)
    writer.hurry()
    assert await asyncio.wait_for(trailing, 20) == "trails"
