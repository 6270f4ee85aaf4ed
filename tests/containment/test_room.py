"""Attempts that wait for a place in their zygote, where it runs only so many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faasd.sandbox.room import Room
from tests.containment.bench import Bench, RecordingServices, an_attempt, processes_with
from tests.containment.conftest import a_bench
from tests.patience import patient


@pytest.fixture
async def bench_of_one(tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench whose zygotes run one attempt at a time."""
    async for found in a_bench(tmp_path, {"slots": 1}):
        if not (await found.sandboxes._the_pool().walls_of(found.function("echo"))).mounts:
            pytest.skip("no slots on this host: attempts have their directories on disk")
        yield found


async def until_running(token: str) -> None:
    async with asyncio.timeout(patient(10)):
        while not processes_with(token):
            await asyncio.sleep(0.005)


def a_nap(bench: Bench, token: str, stop: asyncio.Future[str]) -> asyncio.Task:  # type: ignore[type-arg]
    """Start an attempt that holds the only place."""
    return asyncio.create_task(bench.run(None, command=("sleep", token), stop=stop, timeout_s=60))


async def test_a_waiting_attempt_can_be_stopped_and_never_begins(
    bench_of_one: Bench, token: str
) -> None:
    """Cancelling must not take as long as what is in front; nothing of it may run afterwards."""
    loop = asyncio.get_running_loop()
    first_stop, stop = loop.create_future(), loop.create_future()
    first = a_nap(bench_of_one, token, first_stop)
    await until_running(token)
    mine = token + "1"
    second = a_nap(bench_of_one, mine, stop)
    third = a_nap(bench_of_one, token + "2", first_stop)
    await asyncio.sleep(0)  # Both are in line.
    stop.set_result("cancelled")
    outcome = await asyncio.wait_for(second, patient(5))
    assert outcome.word == "cancelled"
    assert outcome.error is not None
    assert outcome.error.message == "cancelled before there was room for its sandbox"
    assert processes_with(token)
    assert not processes_with(mine)
    first_stop.set_result("drained")
    assert {(await first).word, (await third).word} == {"drained"}
    # The place is free again.
    assert (await bench_of_one.run(None, command=("true",))).word == "ok"


async def test_waiting_is_not_counted_as_running_time(bench_of_one: Bench) -> None:
    """A limit is the attempt's own: it begins when the attempt does."""
    limits = {"timeout_s": 2.5, "command": ("sleep", "1")}
    outcomes = await asyncio.gather(*(bench_of_one.run(None, **limits) for _ in range(3)))
    assert [outcome.word for outcome in outcomes] == ["ok"] * 3


async def test_who_comes_after_a_timeout_gets_the_place(bench_of_one: Bench, token: str) -> None:
    """A place is given back however its attempt ends."""
    late = bench_of_one.run(None, command=("sleep", token), timeout_s=0.3, grace_s=0.1)
    outcomes = await asyncio.gather(late, bench_of_one.run(None, command=("true",)))
    assert [outcome.word for outcome in outcomes] == ["timeout", "ok"]
    assert not processes_with(token)


async def test_a_waiting_attempt_is_drained_at_the_end(bench_of_one: Bench, token: str) -> None:
    """What has not begun goes back to its queue; the end waits for no place."""
    loop = asyncio.get_running_loop()
    first = a_nap(bench_of_one, token, loop.create_future())
    await until_running(token)
    second = a_nap(bench_of_one, token + "1", loop.create_future())
    await asyncio.sleep(0)
    async with asyncio.timeout(patient(10)):
        await bench_of_one.sandboxes.stop()
        assert {(await first).word, (await second).word} == {"drained"}
    assert not processes_with(token)
    await bench_of_one.sandboxes.start()  # For the end of the fixture.


async def test_an_attempt_that_waits_for_its_slot_to_be_cleaned_can_be_stopped(
    bench_of_one: Bench, token: str
) -> None:
    """What the last one heaped up is removed in the background; whoever is stopped meanwhile does not run on."""
    heap = "i=0; while [ $i -lt 20000 ]; do : > $TMPDIR/$i; i=$((i+1)); done"
    stop = asyncio.get_running_loop().create_future()
    assert (await bench_of_one.run(None, command=("sh", "-c", heap))).word == "ok"
    second = a_nap(bench_of_one, token, stop)
    await asyncio.sleep(0)
    stop.set_result("cancelled")
    assert (await asyncio.wait_for(second, patient(10))).word == "cancelled"
    assert not processes_with(token)
    outcome = await bench_of_one.run(None, command=("sh", "-c", "ls $TMPDIR | wc -l"))
    assert outcome.result_json == "0"


@pytest.mark.parametrize("is_held", [True, False], ids=["waiting", "just given"])
async def test_a_place_is_not_lost_when_who_waits_is_cancelled(is_held: bool) -> None:
    """Also in the moment between being given the place and hearing of it."""
    room = Room(1)
    stop = asyncio.get_running_loop().create_future()
    held = asyncio.Event()

    async def hold(until: asyncio.Event) -> None:
        assert await room.take(stop)
        try:
            await until.wait()
        finally:
            room.give_back()

    first = asyncio.create_task(hold(held))
    await asyncio.sleep(0)
    second = asyncio.create_task(hold(asyncio.Event()))
    for _ in range(3):
        await asyncio.sleep(0)
    if not is_held:
        held.set()
        await first
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    held.set()
    await first
    async with asyncio.timeout(patient(2)):
        assert await room.take(stop)


async def test_a_spare_that_was_in_the_making_gives_its_place_to_who_waits(
    bench_of_one: Bench,
) -> None:
    """It was not there to be taken when the attempt came, and would hold the only place for half a minute."""
    sandboxes = bench_of_one.sandboxes
    function = bench_of_one.function("echo")
    attempt = an_attempt(function, "hello")
    stop = asyncio.get_running_loop().create_future()
    with await sandboxes._the_pool().zygote(function) as _:
        lease = sandboxes._the_pool().standing(function)
        assert lease is not None
        with lease:
            spare = await sandboxes._the_maker().make_spare(function, lease)
            assert spare is not None
            running = asyncio.create_task(sandboxes.run(attempt, RecordingServices(), stop))
            async with asyncio.timeout(patient(10)):
                while not lease.zygote.room.is_wanted:
                    await asyncio.sleep(0)
            sandboxes._waiting.put(spare)
            outcome = await asyncio.wait_for(running, patient(10))
    assert (outcome.word, outcome.result_json) == ("ok", '"hello"')
