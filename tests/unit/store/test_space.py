"""The room that there is, and what is done where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faasd.clock import Clock, FakeClock
from faasd.errors import StoreFull
from faasd.interfaces import InvocationFilter
from faasd.store.log_files import LogBudget
from faasd.store.open import Store, open_store
from faasd.store.retention import Retention
from faasd.store.space import Room, over_goal, shortage
from faasd.store.upkeep import Upkeep
from tests.conformance.making import LANE, a_finish, an_invocation, some_invocations

MIB = 2**20
BUDGET = 16 * MIB
HERE = Path("/state")


@pytest.mark.parametrize(
    ("room", "said"),
    [
        (Room(10**12, 17 * MIB), None),
        (Room(10**12, 15 * MIB), "15MiB is free on the disk of /state, and 16MiB is kept"),
        (Room(8 * MIB, 100_000), None),  # A small disk keeps a hundredth.
        (Room(8 * MIB, 80_000), "is free on the disk"),
        (Room(10**12, 10**12, held_bytes=10**11), None),  # No budget.
        (Room(10**12, 10**12, held_bytes=99, budget_bytes=100), None),
        (
            Room(10**12, 10**12, held_bytes=BUDGET, budget_bytes=BUDGET),
            "`state_bytes_max` is 16MiB",
        ),
        (Room(10**12, 10**12, BUDGET, 2 * MIB, BUDGET), None),  # It takes events without growing.
    ],
)
def test_new_events_are_refused_while_there_is_room_for_outcomes_only(
    room: Room, said: str | None
) -> None:
    """In a sentence that says how much is missing where, and what helps."""
    found = shortage(room, HERE)
    assert found is None if said is None else found and said in found


@pytest.mark.parametrize(
    ("held", "reusable", "goes"),
    [
        (94, 0, (0, 0)),
        (95, 0, (5, 5)),
        (95, 3, (5, 2)),
        (120, 40, (30, 0)),
    ],
)
def test_logs_make_room_on_the_disk_and_invocations_inside_the_database(
    held: int, reusable: int, goes: tuple[int, int]
) -> None:
    """The database file does not shrink, so what is free in it is no reason to keep logs."""
    assert over_goal(Room(10**12, 10**12, held, reusable, 100)) == goes
    assert over_goal(Room(10**12, 10**12, held, reusable, None)) == (0, 0)


@pytest.fixture
async def tight(state_dir: Path) -> AsyncIterator[Store]:
    """A store with a budget, in real time."""
    logs = LogBudget(function_bytes=12 * MIB, file_bytes=MIB)
    opened = await open_store(state_dir, Clock(), logs, budget_bytes=BUDGET)
    yield opened
    await opened.close()


@contextlib.asynccontextmanager
async def kept_up(store: Store) -> AsyncIterator[list[bool]]:
    """Run the upkeep; yields what it tells of: whether there is room."""
    told: list[bool] = []
    upkeep = Upkeep(
        store,
        Retention,
        Clock(),
        on_expired=lambda: None,
        on_room_changed=lambda: told.append(store.space.problem is None),
    )
    task = asyncio.create_task(upkeep.run())
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


def held_bytes(state_dir: Path) -> int:
    return sum(path.lstat().st_size for path in state_dir.rglob("*") if path.is_file())


async def finish_some(store: Store, count: int) -> None:
    """Accept, run and finish some invocations, each with a large event."""
    await store.invocations.enqueue(some_invocations(count, event_json=json.dumps("x" * 30_000)))
    claims = await store.invocations.claim(LANE, count, 30)
    await store.invocations.finish([a_finish(one) for one in claims])


async def test_the_oldest_goes_before_anything_new_is_refused(
    tight: Store, state_dir: Path
) -> None:
    """Many times the budget passes through. What waits is kept, and so is what ended last."""
    waiting = an_invocation(queue="elsewhere")
    await tight.invocations.enqueue([waiting])
    logs = state_dir / "logs" / "mail"
    logs.mkdir(parents=True)
    for number in range(1, 7):
        (logs / f"{number:04d}.jsonl").write_bytes(b"x" * MIB)
        os.utime(logs / f"{number:04d}.jsonl", (number, number))
    highest = 0
    async with kept_up(tight):
        for _ in range(40):
            async with asyncio.timeout(20):
                while True:
                    try:
                        tight.space.check()
                        break
                    except StoreFull:
                        await asyncio.sleep(0.01)
            await finish_some(tight, 50)
            highest = max(highest, held_bytes(state_dir))
    # The write-ahead log is on top for a while, as long as readers keep it from being folded in.
    assert (state_dir / "faasd.db").stat().st_size < BUDGET + 4 * MIB
    assert highest < 2 * BUDGET
    left = await tight.history.invocations(InvocationFilter(limit=None))
    assert waiting.id in {one.id for one in left}
    assert 50 < len(left) < 1000
    assert not (logs / "0001.jsonl").exists()


async def test_what_waits_is_never_forgotten_so_new_events_are_refused_until_it_has_run(
    tight: Store,
) -> None:
    """It was acknowledged. And who waits for room is told when there is some."""
    accepted = []
    body = json.dumps("x" * 100_000)
    async with kept_up(tight) as told:
        while tight.space.look() and tight.space.shortage is None:
            new = [an_invocation(event_json=body) for _ in range(5)]
            await tight.invocations.enqueue(new)
            accepted += [one.id for one in new]
        with pytest.raises(StoreFull, match="drop dead letters"):
            tight.space.check()
        assert len(accepted) > 50
        found = await tight.history.invocations(InvocationFilter(limit=None))
        assert {one.id for one in found} == set(accepted)
        assert told == [False]
        claims = await tight.invocations.claim(LANE, 1000, 30)
        await tight.invocations.finish([a_finish(one) for one in claims])
        async with asyncio.timeout(20):
            while told != [False, True]:
                await asyncio.sleep(0.01)
        tight.space.check()


async def test_logs_that_are_written_to_stay(tight: Store, state_dir: Path) -> None:
    """Only whole files go, the oldest first, of whatever function."""
    for name, age in (("a", 3), ("b", 1), ("b", 2)):
        directory = state_dir / "logs" / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "current.jsonl").write_text("{}\n")
        path = directory / f"{age:04d}.jsonl"
        path.write_bytes(b"x" * 1000)
        os.utime(path, (age, age))
    assert tight.logs.free(0) == 0
    assert tight.logs.free(1500) == 2000
    left = sorted(str(one.relative_to(state_dir / "logs")) for one in state_dir.rglob("*.jsonl"))
    assert left == ["a/0003.jsonl", "a/current.jsonl", "b/current.jsonl"]
    assert tight.logs.free(10**9) == 1000


async def test_the_door_looks_at_the_disk_now_and_then_however_many_come_in(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look costs more than the check of an event."""
    looks = 0

    def counted(path: Path) -> os.statvfs_result:
        nonlocal looks
        looks += 1
        return real(path)

    real = os.statvfs
    monkeypatch.setattr(os, "statvfs", counted)
    for _ in range(1000):
        store.space.check()
    assert looks == 1
    clock.advance(0.06)
    store.space.check()
    assert looks == 2
