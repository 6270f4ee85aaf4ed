"""Cursors, pauses and the file ledger."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from faasd.clock import FakeClock
from faasd.interfaces import FileRow, ScheduleCursor
from faasd.store.open import Store, open_store
from tests.conformance.making import START, an_invocation


async def test_cursors_pauses_and_files_outlive_a_restart(
    state_dir: Path, clock: FakeClock
) -> None:
    """That is what they are for."""
    cursor = ScheduleCursor("nightly", START, "0 3 * * *", paused=True)
    row = FileRow("inbox", b"/in/\xff\n.csv", 1, 2, 3, 4, "accepted", "id", START, "x")
    store = await open_store(state_dir, clock)
    await store.cursors.save(replace(cursor, seen_until=0.0))
    await store.cursors.save(cursor)
    assert await store.pauses.set("function", "send", True)
    await store.files.put([replace(row, state="done"), row])
    await store.close()
    store = await open_store(state_dir, clock)
    assert await store.cursors.load() == {"nightly": cursor}
    assert await store.pauses.load() == {("function", "send"): START}
    assert await store.files.load("inbox") == [row]
    await store.close()


async def test_the_newest_key_of_a_span_tells_how_far_a_schedule_was_accepted(store: Store) -> None:
    """The first end is left out, the second one is not, and other schedules' keys are not looked at."""
    keys = ["tick:a:2026-01-01", "tick:a:2026-01-02", "tick:a:2026-01-03", "tick:b:2026-01-09"]
    await store.invocations.enqueue([an_invocation(origin_key=key) for key in keys])
    spans = [
        ("tick:a:2026-01-01", "tick:a:2026-01-02"),
        ("tick:a:2026-01-01", "tick:a:2027-01-01"),
        ("tick:a:2026-01-03", "tick:a:2027-01-01"),
    ]
    assert await store.cursors.newest_keys(spans) == [keys[1], keys[2], None]
    assert await store.cursors.newest_keys([]) == []


async def test_pausing_twice_changes_nothing_the_second_time(
    store: Store, clock: FakeClock
) -> None:
    """And keeps the time of the first."""
    assert await store.pauses.set("queue", "mail", True)
    clock.advance(5)
    assert not await store.pauses.set("queue", "mail", True)
    assert await store.pauses.load() == {("queue", "mail"): START}
    assert await store.pauses.set("queue", "mail", False)
    assert not await store.pauses.set("queue", "mail", False)
    assert await store.pauses.load() == {}


async def test_the_ledger_keeps_rows_by_trigger_and_path(store: Store) -> None:
    """Two watches may see the same file; paths are bytes, inode numbers have 64 bits."""
    row = FileRow("a", b"/in/x", 2**64 - 1, 2**63, 10**18, 0, "done", None, START)
    await store.files.put([row, replace(row, trigger="b"), replace(row, path=b"/in/y")])
    await store.files.forget("a", [b"/in/x", b"/in/none"])
    assert await store.files.load("a") == [replace(row, path=b"/in/y")]
    assert await store.files.load("b") == [replace(row, trigger="b")]
    await store.files.put([])
    await store.files.forget("b", [])


async def test_many_cursors_are_saved_in_one_moment(store: Store) -> None:
    """A whole second's schedules move on together; each has its own, and the last word for each counts."""
    cursors = [ScheduleCursor(f"s{n}", START + n, "* * * * *", paused=False) for n in range(150)]
    later = replace(cursors[3], seen_until=START + 1000)
    await asyncio.gather(*(store.cursors.save(one) for one in [*cursors, later]))
    assert await store.cursors.load() == {one.name: one for one in [*cursors, later]}
