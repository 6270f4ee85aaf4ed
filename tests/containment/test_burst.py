"""Several attempts that a sandbox is sent together: each is judged, and its output told, as if it had been alone."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faasd.linux import proc_tree
from faasd.model.attempt import Attempt, OutputLine
from faasd.model.function import Function
from faasd.model.outcome import Outcome
from faasd.model.permissions import Permissions
from tests.containment.bench import (
    Bench,
    RecordingServices,
    an_attempt,
    processes_with,
    skip_where_none_waits,
)
from tests.patience import patient

MIB = 2**20


class ByAttempt(RecordingServices):
    """Keeps what was printed by the attempt for which we were told."""

    def __init__(self) -> None:
        super().__init__()
        self.printed: dict[str, list[str]] = defaultdict(list)
        self.asked_by: list[str] = []

    def output(self, attempt: Attempt, lines: Any) -> None:
        line: OutputLine
        for line in lines:
            self.printed[attempt.id].append(f"{line.stream}: {line.text}")

    async def enqueue(self, attempt: Attempt, request: dict[str, Any]) -> dict[str, Any]:
        self.asked_by.append(attempt.id)
        return await super().enqueue(attempt, request)


class Together:
    """One function whose attempts are run together, in a sandbox that waits already."""

    def __init__(self, bench: Bench, handler: str = "quiet", **settings: Any) -> None:
        self.bench = bench
        self.services = ByAttempt()
        self.function: Function = bench.function(
            f"warm_handlers:{handler}", **{"reuse": 1000, **settings}
        )
        self.stops: list[asyncio.Future[str]] = []

    async def warm(self) -> None:
        await skip_where_none_waits(self.bench, self.function)
        assert (await self.run(None))[0].word == "ok"  # type: ignore[union-attr]
        assert self.waiting == 1

    async def run(self, *events: dict[str, Any] | None) -> list[Outcome | None]:
        attempts = []
        for number, event in enumerate(events):
            one = an_attempt(self.function, {"number": number, **(event or {})})
            attempts.append(Attempt(f"a{number}", self.function, one.claims, one.started_at))
        self.stops = [asyncio.get_running_loop().create_future() for _ in events]
        async with asyncio.timeout(patient(30.0)):
            return await self.bench.sandboxes.run_all(attempts, self.services, self.stops)

    async def words(self, *events: dict[str, Any] | None) -> list[str | None]:
        return [one and one.word for one in await self.run(*events)]

    @property
    def waiting(self) -> int:
        shelf = self.bench.sandboxes._waiting._shelves.get(id(self.function))
        return len(shelf.sandboxes) if shelf else 0


def results(outcomes: list[Outcome | None]) -> Iterator[Any]:
    for one in outcomes:
        assert one is not None, outcomes
        assert one.word == "ok", outcomes
        yield json.loads(one.result_json or "")


async def test_all_of_them_run_in_one_process_one_after_another(any_bench: Bench) -> None:
    """In the order in which they were given, with the result of each."""
    together = Together(any_bench)
    await together.warm()
    outcomes = await together.run(*[None] * 20)
    assert list(results(outcomes)) == [[number, None] for number in range(2, 22)]
    assert together.waiting == 1
    assert list(results(await together.run(None, None))) == [[22, None], [23, None]]


async def test_usage_is_shared_among_them(bench: Bench) -> None:
    """The sum is right, and none has used what another attempt before them did."""
    together = Together(bench)
    await together.warm()
    await together.run({"do": "spin", "s": patient(0.3)})
    began = time.monotonic()
    outcomes = await together.run(*[{"do": "spin", "s": patient(0.05)}] * 4)
    took_s = time.monotonic() - began
    usages = [one.usage for one in outcomes if one is not None]
    assert patient(0.2) <= sum(one.cpu_s or 0 for one in usages) < patient(0.3)
    assert patient(0.2) <= sum(one.wall_s for one in usages) <= took_s
    assert all(one.memory_peak_bytes for one in usages)


async def test_each_has_its_own_environment_and_context(bench: Bench) -> None:
    """As if it had been alone, whatever id the sender has chosen."""
    together = Together(bench)
    await together.warm()
    ids = ["01980000-0000-7000-8000-000000000007", 'say "hi" \\ {0}', "größer\n", "last"]
    attempts = [
        Attempt(name, together.function, an_attempt(together.function, {"do": "env"}, id=name).claims, 0.0)
        for name in ids
    ]  # fmt: skip
    stops = [asyncio.get_running_loop().create_future() for _ in ids]
    outcomes = await bench.sandboxes.run_all(attempts, together.services, stops)
    assert [told[:2] for _, told in results(outcomes)] == [[name, name] for name in ids]


async def test_what_only_one_of_them_has_is_not_left_to_those_behind(bench: Bench) -> None:
    """They are told what differs from the one before, which may be that something is not there."""
    together = Together(bench)
    await together.warm()
    kinds: list[dict[str, Any]] = [
        {"trigger": "queue"},
        {"trigger": "queue"},
        {"trigger": "cron", "scheduled_for": 0.0},
        {"trigger": "cron", "scheduled_for": 60.0},
        {"trigger": "files"},
        {"trigger": "files"},
        {"trigger": "queue"},
    ]
    attempts = []
    for number, kind in enumerate(kinds):
        event = {"do": "environ", "path": f"/in/{number}"}
        claims = an_attempt(together.function, event, id=f"i-{number}", **kind).claims
        attempts.append(Attempt(f"a{number}", together.function, claims, 0.0))
    stops = [asyncio.get_running_loop().create_future() for _ in attempts]
    outcomes = await bench.sandboxes.run_all(attempts, together.services, stops)
    told = [environ for _, environ in results(outcomes)]
    assert [one["FAASD_INVOCATION_ID"] for one in told] == [f"i-{place}" for place in range(7)]
    assert [one["FAASD_TRIGGER"] for one in told] == [kind["trigger"] for kind in kinds]
    minutes = [one.get("FAASD_SCHEDULED_FOR", "")[14:16] for one in told]
    assert minutes == ["", "", "00", "01", "", "", ""]
    assert [one.get("FAASD_PATH") for one in told] == [*[None] * 4, "/in/4", "/in/5", None]
    assert {one["FAASD_ATTEMPT"] for one in told} == {"1"}


async def test_what_each_prints_is_its_own(any_bench: Bench) -> None:
    """Also what its children print, and in whatever order we hear of it."""
    together = Together(any_bench)
    await together.warm()
    await together.run(*[{"do": "say"} if number % 3 else None for number in range(12)])
    expected = {
        f"a{n}": {f"stdout: from {n}", f"stdout: child of {n}", f"stderr: error of {n}"}
        for n in range(12)
        if n % 3
    }
    assert {name: set(lines) for name, lines in together.services.printed.items()} == expected


async def test_much_output_is_its_own_too(bench: Bench) -> None:
    """More than a pipe holds, so that the handler waits for us in the middle of it."""
    together = Together(bench)
    await together.warm()
    outcomes = await together.run(*[{"do": "say", "times": 10_000}] * 4)
    assert list(results(outcomes)) == [[number, None] for number in range(2, 6)]
    for number in range(4):
        texts = together.services.printed[f"a{number}"]
        assert texts.count(f"stderr: error of {number}") == 10_000
        assert len(texts) == 10_002


async def test_records_of_logging_and_what_is_asked_are_its_own(bench: Bench) -> None:
    """They come as frames between the reports."""
    together = Together(bench)
    await together.warm()
    events = [{"do": "log_it"}, None, {"do": "ask"}, {"do": "log_it"}, {"do": "ask"}]
    told = [told for _, told in results(await together.run(*events))]
    assert told == [None, None, "q1", None, "q1"]
    assert together.services.asked_by == ["a2", "a4"]
    assert together.services.printed == {
        "a0": ["log: h: logged by 0"],
        "a3": ["log: h: logged by 3"],
    }


@pytest.mark.parametrize("do", ["close_output", "to_a_file"])
async def test_a_handler_that_puts_its_output_elsewhere_holds_nobody_up(
    bench: Bench, do: str
) -> None:
    """Nothing is left to be fetched then."""
    together = Together(bench)
    await together.warm()
    assert await together.words(None, {"do": do}, None, None) == ["ok"] * 4


async def test_an_error_ends_its_own_attempt_only(bench: Bench) -> None:
    """The sandbox lives on, and so do those behind."""
    together = Together(bench)
    await together.warm()
    words = await together.words(None, {"do": "fail"}, None, {"do": "fail"})
    assert words == ["ok", "error", "ok", "error"]
    assert together.waiting == 1


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize(
    ("do", "word", "limits"),
    [
        ("hang", "timeout", {"timeout_s": 1.0, "grace_s": 0.05}),
        ("fill", "oom", {"memory_bytes": 64 * MIB}),
        ("die", "crashed", {}),
        ("leave", "crashed", {}),
        ("print_for_ever", "output-limit", {"output_limit_bytes": 65536}),
        ("garbage", "crashed", {}),
        ("half_a_frame", "timeout", {"timeout_s": 1.0, "grace_s": 0.05}),
    ],
)
async def test_what_ends_the_sandbox_is_one_attempts_doing(
    bench: Bench, place: int, do: str, word: str, limits: dict[str, Any]
) -> None:
    """Those before it keep their results, and those behind it have not begun."""
    together = Together(bench, **limits)
    await together.warm()
    events: list[dict[str, Any] | None] = [None] * 4
    events[place] = {"do": do}
    words = await together.words(*events)
    assert words == [*["ok"] * place, word, *[None] * (3 - place)]
    assert together.waiting == 0
    assert await together.words(None, None) == ["ok", "ok"]


async def test_a_time_limit_is_each_ones_own(bench: Bench) -> None:
    """It begins when the one before has ended, not when all were sent."""
    together = Together(bench, timeout_s=patient(1.0))
    await together.warm()
    assert await together.words(*[{"do": "pause", "s": patient(0.4)}] * 4) == ["ok"] * 4


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_one_that_is_stopped_is_ended_and_those_behind_it_have_not_begun(
    bench: Bench, place: int
) -> None:
    """Those that were stopped as well end as they were told."""
    together = Together(bench, grace_s=0.05)
    await together.warm()
    events: list[dict[str, Any] | None] = [None] * 4
    events[place] = {"do": "say_and_hang"}
    running = asyncio.create_task(together.run(*events))
    async with asyncio.timeout(patient(10.0)):
        while not together.services.printed:
            await asyncio.sleep(0.005)
    together.stops[3].set_result("drained")
    together.stops[place].set_result("cancelled")
    words = [one and one.word for one in await running]
    assert words == [*["ok"] * place, "cancelled", *[None] * (2 - place), "drained"]


@pytest.mark.parametrize("handler", ["quiet", "quiet_later"])
async def test_nobody_begins_behind_one_that_ends_when_its_time_is_over(
    bench: Bench, tmp_path: Path, handler: str
) -> None:
    """It reports at the soft signal; those behind it are run by another sandbox, and only there."""
    permissions = Permissions(write=(str(tmp_path),))
    limits = {"timeout_s": 0.5, "grace_s": patient(5.0)}
    together = Together(bench, handler, permissions=permissions, **limits)
    await together.warm()
    behind = {"do": "touch", "path": str(tmp_path / "begun")}
    words = await together.words(None, {"do": "hang_politely"}, behind, behind)
    assert words == ["ok", "timeout", None, None]
    assert not (tmp_path / "begun").exists()
    assert await together.words(None, behind) == ["ok", "ok"]  # The control.
    assert (tmp_path / "begun").exists()


async def test_a_stop_of_one_that_has_not_begun_waits_for_its_turn(bench: Bench) -> None:
    """It is in the sandbox already, so it is ended as soon as it begins."""
    together = Together(bench, grace_s=0.05)
    await together.warm()
    events: list[dict[str, Any] | None] = [{"do": "pause", "s": 0.3}, {"do": "hang"}, None]
    running = asyncio.create_task(together.run(*events))
    await asyncio.sleep(0)
    together.stops[1].set_result("cancelled")
    assert [one and one.word for one in await running] == ["ok", "cancelled", None]


@pytest.mark.parametrize("do", ["leave_process", "leave_orphan"])
async def test_processes_that_any_of_them_left_are_gone_before_we_hear_of_it(
    bench: Bench, token: str, do: str
) -> None:
    """And the sandbox with them."""
    together = Together(bench)
    await together.warm()
    assert await together.words(None, {"do": do, "token": token}, None, None) == ["ok"] * 4
    assert not processes_with(token)
    assert together.waiting == 0


async def test_a_sandbox_that_died_while_it_waited_costs_no_attempt(bench: Bench) -> None:
    """None of them had been heard, so all of them are run by another one."""
    together = Together(bench)
    for _ in range(5):
        await together.warm()
        shelf = bench.sandboxes._waiting._shelves[id(together.function)]
        [handler] = proc_tree.descendants([shelf.sandboxes[-1].pid or 0])
        os.kill(handler, 9)
        outcomes = await together.run(None, None, None)
        assert list(results(outcomes)) == [[1, None], [2, None], [3, None]]
        assert await together.words({"do": "leave"}) == ["crashed"]


async def test_reuse_counts_each_of_them(bench: Bench) -> None:
    """The sandbox is replaced after as many attempts as it says."""
    together = Together(bench, reuse=5)
    await together.warm()
    first = await together.run(*[None] * 4)
    assert list(results(first)) == [[number, None] for number in range(2, 6)]
    assert together.waiting == 0
    await together.warm()
    outcomes = await together.run(*[None] * 6)
    told = [number for number, _ in results(outcomes)]
    assert told == [2, 3, 4, 5, 1, 2]  # The last two by its successor.


async def test_large_events_go_a_few_at_a_time(bench: Bench) -> None:
    """What a sandbox is sent together, the kernel hands over in one piece."""
    together = Together(bench)
    await together.warm()
    outcomes = await together.run(*[{"text": "x" * 20_000}] * 5)
    assert list(results(outcomes)) == [[number, None] for number in range(2, 7)]
