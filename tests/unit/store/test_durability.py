"""What was acknowledged survives a kill and a full disk."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faasd.clock import Clock, FakeClock
from faasd.errors import StoreFull
from faasd.interfaces import InvocationFilter
from faasd.store.database import DATABASE_NAME
from faasd.store.open import open_store
from tests.conformance.making import LANE, a_finish, an_invocation

ALL = InvocationFilter(limit=None)

ENQUEUE_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from faasd.clock import Clock
from faasd.store.open import open_store
from tests.conformance.making import LANE, a_finish, an_invocation

async def enqueue(store):
    while True:
        [accepted] = await store.invocations.enqueue([an_invocation()])
        print("accepted", accepted.id, flush=True)

async def work(store):
    while True:
        for claim in await store.invocations.claim(LANE, 3, 30):
            print("claimed", claim.invocation.id, flush=True)
            await store.invocations.finish([a_finish(claim)])
            print("finished", claim.invocation.id, flush=True)

async def main():
    store = await open_store(Path(sys.argv[1]), Clock())
    await asyncio.gather(*(enqueue(store) for _ in range(8)), work(store))

asyncio.run(main())
"""


async def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(state_dir: Path) -> None:
    """Twelve lives of one database, each ended by SIGKILL in the middle of its work."""
    said: dict[str, set[str]] = {"accepted": set(), "claimed": set(), "finished": set()}
    chance = random.Random(1)
    for _ in range(12):
        for word, invocation_id in lines_until_killed(state_dir, chance.randint(20, 200)):
            said[word].add(invocation_id)
    store = await open_store(state_dir, Clock())
    found = {each.id: each for each in await store.history.invocations(ALL)}
    attempts = {each: await store.history.attempts(each) for each in sorted(said["finished"])[:50]}
    await store.close()
    assert said["accepted"] <= found.keys()
    assert all(found[each].attempts == 1 for each in said["claimed"])
    assert {found[each].state for each in said["finished"]} == {"done"}
    assert {len(each) for each in attempts.values()} == {1}
    database = sqlite3.connect(state_dir / DATABASE_NAME)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


def lines_until_killed(state_dir: Path, count: int) -> list[tuple[str, str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", ENQUEUE_FOR_EVER, str(state_dir)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(count)]
    child.send_signal(signal.SIGKILL)
    rest = child.communicate()[0]
    lines += rest[: rest.rfind("\n") + 1].splitlines()
    return [(word, each) for word, each in (line.split() for line in lines)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(directory)]
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


async def test_a_full_disk_refuses_and_loses_nothing_and_goes_on_when_there_is_room(
    small_disk: Path, clock: FakeClock
) -> None:
    """Everything acknowledged before is there; nothing refused is; no restart is needed."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 2**22)
    store = await open_store(small_disk / "state", clock)
    accepted: set[str] = set()
    refused: set[str] = set()
    while not refused:
        new = [an_invocation(event_json=f'"{"x" * 20_000}"') for _ in range(8)]
        answers = await asyncio.gather(
            *(store.invocations.enqueue([each]) for each in new), return_exceptions=True
        )
        for each, answer in zip(new, answers, strict=True):
            if isinstance(answer, BaseException):
                assert isinstance(answer, StoreFull)
                assert "no space is left" in str(answer)
                refused.add(each.id)
            else:
                accepted.add(each.id)
    with pytest.raises(StoreFull):
        await store.invocations.enqueue([an_invocation(event_json=f'"{"x" * 200_000}"')])
    assert {each.id for each in await store.history.invocations(ALL)} == accepted
    ballast.unlink()
    [after] = await store.invocations.enqueue([an_invocation()])
    claims = await store.invocations.claim(LANE, 1000, 30)
    assert {claim.invocation.id for claim in claims} == accepted | {after.id}
    await store.invocations.finish([a_finish(claims[0])])
    await store.close()
    store = await open_store(small_disk / "state", clock)
    assert {each.id for each in await store.history.invocations(ALL)} == accepted | {after.id}
    await store.close()


async def test_a_disk_that_is_full_at_the_start_is_said_so(
    small_disk: Path, clock: FakeClock
) -> None:
    """And leaves no lock behind."""
    state_dir = small_disk / "state"
    state_dir.mkdir()
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:
        file.writelines(itertools.repeat(b"x" * 4096))
    with pytest.raises(StoreFull, match="no space is left"):
        await open_store(state_dir, clock)
    ballast.unlink()
    await (await open_store(state_dir, clock)).close()
