"""A sandbox that serves several attempts: each is accounted by itself, and what goes wrong in one stays with it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from faasd.clock import FakeClock
from faasd.linux import proc_tree
from faasd.model.function import Function
from faasd.model.outcome import Outcome
from faasd.model.permissions import Permissions
from faasd.sandbox import attempt_io
from faasd.sandbox.sandboxes import ProcessSandboxes
from faasd.sandbox.spare_count import AUTO_MOST
from tests.containment.bench import (
    WALLS,
    Bench,
    an_attempt,
    processes_with,
    skip_where_none_waits,
)
from tests.containment.probing import probe, world
from tests.patience import patient

MIB = 2**20


class Warm:
    """One function with `reuse`, and attempts at it."""

    def __init__(self, bench: Bench, handler: str = "warm_handlers:do", **settings: Any) -> None:
        self.bench = bench
        self.function: Function = bench.function(handler, **{"reuse": 100, **settings})

    async def run(self, do: str | None = None, number: int = 1, **event: Any) -> Outcome:
        await skip_where_none_waits(self.bench, self.function)
        text = {"do": do, **event}
        return await self.bench.run_attempt(
            an_attempt(self.function, text, id=f"01980000-0000-7000-8000-{number:012}")
        )

    async def told(self, do: str | None = None, **event: Any) -> dict[str, Any]:
        outcome = await self.run(do, **event)
        assert outcome.word == "ok", outcome
        return dict(json.loads(outcome.result_json or "null"))

    @property
    def waiting(self) -> int:
        shelf = self.bench.sandboxes._waiting._shelves.get(id(self.function))
        return len(shelf.sandboxes) if shelf else 0

    async def wait_until_waiting(self, count: int) -> None:
        async with asyncio.timeout(patient(10.0)):
            while self.waiting != count:
                await asyncio.sleep(0.005)

    async def wait_until_ready(self, count: int) -> None:
        async with asyncio.timeout(patient(10.0)):
            while self.bench.sandboxes._waiting.spares(self.function) != count:
                await asyncio.sleep(0.005)


async def test_one_process_serves_as_many_attempts_as_reuse_says(any_bench: Bench) -> None:
    """Then another one does; what a handler keeps in its process is there until then."""
    warm = Warm(any_bench, reuse=3)
    told = [await warm.told() for _ in range(7)]
    assert [one["attempts"] for one in told] == [1, 2, 3, 1, 2, 3, 1]
    assert len({one["pid"] for one in told[:3]}) == 1
    assert warm.waiting == 1


async def test_attempts_at_once_have_a_sandbox_each(bench: Bench) -> None:
    """One attempt at a time in each."""
    warm = Warm(bench)
    told = await asyncio.gather(*(warm.told() for _ in range(3)))
    assert [one["attempts"] for one in told] == [1, 1, 1]
    again = await asyncio.gather(*(warm.told() for _ in range(3)))
    assert [one["attempts"] for one in again] == [2, 2, 2]


async def test_what_an_attempt_prints_and_is_given_is_its_own(any_bench: Bench) -> None:
    """Nothing of the first is in what the second one prints, nor in its environment."""
    warm = Warm(any_bench)
    event = {"do": "env", "path": "/some/file"}
    first = await any_bench.run_attempt(an_attempt(warm.function, event, trigger="files"))
    assert json.loads(first.result_json or "")["told"][2] == "/some/file"
    assert any_bench.services.texts("stdout") == ["attempt 1"]
    any_bench.services.lines.clear()
    told = (await warm.told("env", number=2))["told"]
    number = "01980000-0000-7000-8000-000000000002"
    assert told == [number, number, None, "1", "invoke"]
    assert any_bench.services.texts("stdout") == ["attempt 2"]


async def test_async_handlers_have_a_loop_for_each_attempt(bench: Bench) -> None:
    """As in a fresh sandbox."""
    warm = Warm(bench, "warm_handlers:do_later")
    assert [(await warm.told())["attempts"] for _ in range(3)] == [1, 2, 3]


async def test_the_private_directory_lasts_as_long_as_its_sandbox(both_benches: Bench) -> None:
    """As AWS Lambda does it; the next sandbox finds its own empty."""
    warm = Warm(both_benches, reuse=2)
    await warm.told("leave_file")
    assert (await warm.told("list_tmp"))["told"] == ["left"]
    assert (await warm.told("list_tmp"))["told"] == []


@pytest.mark.parametrize(
    ("do", "word", "limits"),
    [
        ("hang", "timeout", {"timeout_s": 0.5, "grace_s": 0.05}),
        ("fill", "oom", {"memory_bytes": 64 * MIB}),
        ("die", "crashed", {}),
        ("leave", "crashed", {}),
        ("print_for_ever", "output-limit", {"output_limit_bytes": 65536}),
        ("garbage", "crashed", {}),
        ("half_a_frame", "timeout", {"timeout_s": 1.0, "grace_s": 0.05}),
    ],
)
async def test_what_ends_a_second_attempt_ends_its_sandbox_and_nothing_else(
    both_benches: Bench, do: str, word: str, limits: dict[str, Any]
) -> None:
    """The first attempt's outcome stands, and the third has a new sandbox."""
    warm = Warm(both_benches, **limits)
    first = await warm.told()
    assert (await warm.run(do)).word == word
    assert warm.waiting == 0
    third = await warm.told()
    assert third["attempts"] == 1
    assert first["attempts"] == 1


async def test_an_error_is_no_reason_for_another_sandbox(bench: Bench) -> None:
    """The handler is told nothing and keeps what it has, as in AWS Lambda."""
    warm = Warm(bench)
    assert (await warm.run("fail")).word == "error"
    assert (await warm.told())["attempts"] == 2


async def test_a_cancelled_attempt_takes_its_sandbox_along(any_bench: Bench) -> None:
    """It is killed in the middle of something."""
    warm = Warm(any_bench, grace_s=0.05)
    await warm.told()
    stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(
        any_bench.run_attempt(an_attempt(warm.function, {"do": "hang"}), stop)
    )
    async with asyncio.timeout(patient(10.0)):
        while any_bench.services.texts("stdout") != ["attempt 1", "attempt 2"]:
            await asyncio.sleep(0.005)
    stop.set_result("cancelled")
    assert (await running).word == "cancelled"
    assert warm.waiting == 0


@pytest.mark.parametrize("do", ["leave_process", "leave_orphan"])
async def test_a_process_that_is_left_ends_with_its_attempt(
    any_bench: Bench, token: str, do: str
) -> None:
    """And with it the sandbox: nothing of an attempt runs on into the next."""
    warm = Warm(any_bench)
    assert (await warm.run(do, token=token)).word == "ok"
    assert not processes_with(token)
    assert (await warm.told())["attempts"] == 1


async def test_a_thread_that_is_left_runs_on(both_benches: Bench) -> None:
    """It belongs to the handler's process, which stays; what it logs between attempts is dropped."""
    warm = Warm(both_benches)
    await warm.told("leave_thread")
    await warm.told("leave_logging_thread")
    told = [(await warm.told())["attempts"] for _ in range(3)]
    assert told == [3, 4, 5]


@pytest.mark.parametrize(
    ("do", "event"),
    [
        ("speak_later", {"text": '\0\0\0\x0e{"op":"result"}'}),
        ("speak_later", {"text": "\xff\xff\xff\xff"}),
        ("die_later", {}),
    ],
    ids=["a report", "garbage", "an end"],
)
async def test_who_speaks_or_ends_while_it_waits_is_replaced(
    any_bench: Bench, do: str, event: dict[str, Any]
) -> None:
    """No attempt is to blame, and none hears of it."""
    warm = Warm(any_bench)
    await warm.told(do, **event)
    await warm.wait_until_waiting(0)
    assert (await warm.told())["attempts"] == 1


async def test_who_speaks_while_it_waits_is_heard_though_its_channel_was_resting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that costs much rests, and the attempt may end meanwhile."""
    monkeypatch.setattr(attempt_io, "_REST_AFTER_S", 0.0)
    monkeypatch.setattr(attempt_io, "_REST_FACTOR", 1e9)
    warm = Warm(bench)
    await warm.told("speak_later", text="\xff\xff\xff\xff")
    await warm.wait_until_waiting(0)
    assert (await warm.told())["attempts"] == 1


async def test_a_sandbox_that_is_killed_while_it_waits_costs_no_attempt(bench: Bench) -> None:
    """Whether or not we have heard of it when the next event comes."""
    warm = Warm(bench)
    for _ in range(10):
        await warm.told()
        shelf = bench.sandboxes._waiting._shelves[id(warm.function)]
        [handler] = proc_tree.descendants([shelf.sandboxes[-1].pid or 0])
        os.kill(handler, 9)
        assert (await warm.told())["attempts"] == 1


async def test_usage_is_told_attempt_by_attempt(any_bench: Bench) -> None:
    """The second one used next to nothing, whatever the first did."""
    warm = Warm(any_bench)
    await warm.run("spin", s=patient(0.3))
    used = (await warm.run()).usage
    assert used.cpu_s is not None
    assert used.cpu_s < patient(0.15)
    assert ((await warm.run("spin", s=patient(0.3))).usage.cpu_s or 0) > patient(0.2)
    has_group = any_bench.sandboxes._slots is not None
    large = (await warm.run("use", bytes=60 * MIB)).usage.memory_peak_bytes or 0
    small = (await warm.run()).usage.memory_peak_bytes or 0
    if has_group and any_bench.sandboxes._slots.version == "v1":  # type: ignore[union-attr]
        assert large > 60 * MIB > 40 * MIB > small


async def test_the_processor_time_of_attempts_is_not_added_up(both_benches: Bench) -> None:
    """cpu_time holds for each; one that goes over it ends as such."""
    warm = Warm(both_benches, cpu_time_s=1.0)
    for _ in range(3):
        assert (await warm.run("spin", s=0.6)).word == "ok"
    outcome = await warm.run("spin", s=30)
    assert (outcome.word, outcome.error and outcome.error.type) == ("timeout", "CpuTimeout")


async def test_a_sandbox_that_has_grown_is_replaced(both_benches: Bench) -> None:
    """After the attempt that left it above recycle_memory."""
    warm = Warm(both_benches, recycle_memory_bytes=96 * MIB, memory_bytes=512 * MIB)
    await warm.told("use", bytes=10 * MIB, keep=True)
    assert (await warm.told("use", bytes=120 * MIB))["attempts"] == 2
    assert (await warm.told("use", bytes=120 * MIB, keep=True))["attempts"] == 3
    assert (await warm.told())["attempts"] == 1


async def test_descriptors_do_not_pile_up(bench: Bench) -> None:
    """Neither here nor in the sandbox."""
    warm = Warm(bench)
    first = (await warm.told("descriptors"))["told"]
    await warm.told()
    before = len(os.listdir("/proc/self/fd"))
    told = [(await warm.told("descriptors"))["told"] for _ in range(30)]
    assert set(told) == {first}
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
async def secretive(tmp_path: Path) -> AsyncIterator[tuple[Bench, Path]]:
    """A bench whose functions get secrets, and the file of one."""
    key = tmp_path / "secrets" / "key"
    key.parent.mkdir(mode=0o700)
    key.write_text("first-key")
    key.chmod(0o600)
    sandboxes = ProcessSandboxes(tmp_path / "state", secrets_dir=key.parent)
    await sandboxes.start()
    try:
        yield Bench(sandboxes), key
    finally:
        await sandboxes.stop()


async def test_a_secret_that_has_changed_has_a_new_sandbox(secretive: tuple[Bench, Path]) -> None:
    """The same one is kept for as long as it is the same."""
    bench, key = secretive
    warm = Warm(bench, permissions=Permissions(secrets=("key",)))
    for number in (1, 2):
        told = await warm.told("secret")
        assert (told["attempts"], told["told"]) == (number, ["first-key", "first-key"])
    key.write_text("second-key")
    told = await warm.told("secret")
    assert (told["attempts"], told["told"]) == (1, ["second-key", "second-key"])


async def test_no_sandbox_waits_for_a_function_that_is_retired(bench: Bench, token: str) -> None:
    """After a reload an attempt sees the new code, whatever the old one had waiting."""
    warm = Warm(bench)
    await warm.told()
    shelf = bench.sandboxes._waiting._shelves[id(warm.function)]
    [sandbox] = shelf.sandboxes
    await bench.sandboxes.retire([])
    assert warm.waiting == 0
    await asyncio.wait_for(asyncio.shield(sandbox.gone), patient(10.0))


async def test_a_reload_that_changed_nothing_of_a_function_leaves_its_sandboxes(
    bench: Bench,
) -> None:
    """Those that wait, and those that serve meanwhile; the declarations are new objects all the same."""
    warm = Warm(bench, spares=1)
    await warm.told()
    await warm.wait_until_waiting(2)
    stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    busy = asyncio.create_task(
        bench.run_attempt(an_attempt(warm.function, {"do": "spin", "s": 0.2}), stop)
    )
    async with asyncio.timeout(patient(10.0)):
        while "attempt 2" not in bench.services.texts("stdout"):
            await asyncio.sleep(0.005)
    warm.function = dataclasses.replace(warm.function)
    await bench.sandboxes.retire([warm.function])
    assert warm.waiting == 1
    assert (await busy).word == "ok"
    assert warm.waiting == 2
    assert (await warm.told())["attempts"] == 3


async def test_waiting_sandboxes_make_room_for_who_has_work(tmp_path: Path) -> None:
    """Commands share a zygote and its places: a spare of one of them does not keep another one waiting."""
    sandboxes = ProcessSandboxes(tmp_path / "state", slots=1)
    await sandboxes.start()
    bench = Bench(sandboxes)
    try:
        first = bench.function(None, command=("true",), spares=1)
        second = bench.function(None, command=("true", "again"), spares=0)
        await sandboxes.warm(first)
        async with asyncio.timeout(patient(10.0)):
            while not sandboxes._waiting.spares(first):
                await asyncio.sleep(0.005)
        async with asyncio.timeout(patient(10.0)):
            assert (await bench.run_attempt(an_attempt(second))).word == "ok"
    finally:
        await sandboxes.stop()


REFUSED = {"EACCES", "EPERM", "EROFS"}
WALLED = {
    "a file elsewhere": "open('{world}/elsewhere/file')",
    "another function's code": "open('{world}/other/file')",
    "its own code": "open('{world}/code/file', 'a')",
    "a mount": "import ctypes; ctypes.CDLL(None, use_errno=True).mount(b'x', b'/', b'tmpfs', 0, None) == 0 or "
    "exec('raise OSError(ctypes.get_errno(), None)')",
    "a signal to the daemon": "os.kill({daemon}, 0)",
}


@pytest.mark.parametrize(
    "is_ordinary",
    [False, True] if os.geteuid() == 0 else [True],
    ids=lambda o: "ordinary" if o else "root",
)
@pytest.mark.parametrize("how", [{"reuse": 10}, {"spares": 1}], ids=["warm", "spare"])
def test_every_wall_stands_around_warm_sandboxes_and_spares(
    is_ordinary: bool, how: dict[str, int]
) -> None:
    """In the second attempt as in the first; what it was given is open all the same."""
    given = {"what it may write": "open('{world}/out/file', 'a').write('x')"}
    with world(is_ordinary=is_ordinary) as made:
        steps = [{**WALLED, **given}] * 3
        found = probe(made, steps, is_ordinary=is_ordinary, **how)
    for one in found:
        assert one.pop("what it may write") == "ok", one
        assert one.pop("a signal to the daemon") in {"EPERM", "ESRCH"}, one
        assert set(one.values()) <= REFUSED, one


def test_where_a_cap_counts_all_of_a_users_every_attempt_has_a_new_sandbox() -> None:
    """An ordinary user's without user namespaces and cgroups: what was written to /tmp is gone."""
    count = {
        "files": "at = os.environ['TMPDIR']; n = len(os.listdir(at)); open(f'{at}/{n}', 'w'); out = n + 1"
    }
    with world(is_ordinary=True) as made:
        without = {"pid_namespaces": False, "cgroups": False}
        found = probe(made, [count] * 3, is_ordinary=True, reuse=10, **without)
        kept = probe(made, [count] * 3, is_ordinary=True, reuse=10)
    assert [one["files"] for one in found] == [1, 1, 1]
    assert [one["files"] for one in kept] == [1, 2, 3]


@pytest.mark.parametrize("walls", WALLS.values(), ids=list(WALLS))
async def test_a_spare_serves_the_next_attempt_and_another_one_takes_its_place(
    tmp_path: Path, walls: dict[str, Any]
) -> None:
    """Each attempt is a fresh process all the same; with the daemon all of them end."""
    sandboxes = ProcessSandboxes(tmp_path / "state", **walls)
    await sandboxes.start()
    bench = Bench(sandboxes)
    try:
        warm = Warm(bench, reuse=1, spares=2)
        await warm.told()
        for _ in range(3):
            await warm.wait_until_ready(2)
            shelf = sandboxes._waiting._shelves[id(warm.function)]
            spare = shelf.sandboxes[-1]
            assert (await warm.told())["attempts"] == 1
            is_renewed = spare.renewal is not None and spare.renewal.end is not None
            assert spare.served == 1 or is_renewed
    finally:
        await sandboxes.stop()
    assert not sandboxes._waiting._shelves


async def test_more_spares_wait_when_more_come_and_none_when_nobody_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a number: one after the first arrival, several for five hundred a second, none half a minute later."""
    warm = Warm(bench, reuse=1, spares=None)
    keeper = bench.sandboxes._spares
    assert keeper is not None
    clock = FakeClock()
    monkeypatch.setattr(keeper, "_clock", clock)
    await warm.told()
    await warm.wait_until_waiting(1)
    for _ in range(2000):
        clock.advance(0.002)
        keeper.taken(warm.function)
    await warm.wait_until_waiting(AUTO_MOST)
    clock.advance(31)
    keeper._look_through()
    await warm.wait_until_waiting(0)
    keeper._look_through()
    assert not keeper._kept


async def test_spares_are_given_back_under_memory_pressure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fixed number too: it is memory that others need now."""
    warm = Warm(bench, reuse=1, spares=2)
    await warm.told()
    await warm.wait_until_waiting(2)
    keeper = bench.sandboxes._spares
    assert keeper is not None
    monkeypatch.setattr(keeper, "_look_at_memory", lambda _: False)
    keeper._look_through()
    await warm.wait_until_waiting(0)
    monkeypatch.undo()
    keeper._look_through()
    await warm.wait_until_waiting(2)


async def test_spares_that_die_are_not_forked_again_and_again(bench: Bench) -> None:
    """A module whose fork hook ends every child would have the daemon fork without end."""
    warm = Warm(bench, "dies_when_forked:handler", reuse=1, spares=3)
    await bench.sandboxes.warm(warm.function)
    keeper = bench.sandboxes._spares
    assert keeper is not None
    async with asyncio.timeout(patient(10.0)):
        while not keeper._kept[id(warm.function)].held_until:
            await asyncio.sleep(0.005)
    before = next(bench.sandboxes._numbers)
    keeper._look_through()
    await asyncio.sleep(0)
    assert next(bench.sandboxes._numbers) - before <= 4
    assert (await warm.run()).word == "crashed"


async def test_a_number_of_spares_is_kept_up_without_any_use(bench: Bench) -> None:
    """Long after the last attempt, when what walls know is no longer fresh."""
    warm = Warm(bench, reuse=1, spares=2)
    await warm.told()
    await warm.wait_until_waiting(2)
    bench.sandboxes._the_pool()._landmarks._looked_at = -1e9
    keeper = bench.sandboxes._spares
    assert keeper is not None
    bench.sandboxes._waiting.end_spares(warm.function, 1)
    keeper._look_through()
    await warm.wait_until_waiting(2)
