"""Whatever a handler does, its end is the end of everything it started."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from faasd.model.permissions import Permissions
from tests.containment.bench import Bench, an_attempt, groups_below, processes_with
from tests.patience import patient


async def test_a_handler_that_ignores_sigterm_and_double_forks_is_over_within_3_s_of_a_2_s_limit(
    any_bench: Bench, token: str
) -> None:
    """The promise of `timeout`: announced soon, and only after the whole tree is gone."""
    await any_bench.sandboxes.warm(any_bench.function("escape_and_hang", timeout_s=2.0))
    began = time.monotonic()
    outcome = await any_bench.run("escape_and_hang", {"token": token}, timeout_s=2.0)
    took_s = time.monotonic() - began

    assert outcome.word == "timeout"
    assert processes_with(token) == []
    assert took_s < 2.0 + patient(1.0)
    assert outcome.error is not None
    assert outcome.error.message == "still running at its time limit of 2s"
    assert any_bench.services.texts("stdout") == ["escaped"]


async def test_escaped_processes_really_run_until_the_handler_ends(
    bench: Bench, token: str
) -> None:
    """The control of the tests here: what the handler leaves is alive before it is killed."""
    stop = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(bench.run("escape_and_hang", {"token": token}, stop=stop))
    async with asyncio.timeout(patient(10)):
        while len(processes_with(token)) < 3:
            await asyncio.sleep(0.01)
    stop.set_result("cancelled")

    assert (await running).word == "cancelled"
    assert processes_with(token) == []


async def test_what_a_handler_leaves_behind_ends_when_it_returns(
    both_benches: Bench, token: str
) -> None:
    """An attempt is over when its handler returns; it cannot live on in the background."""
    outcome = await both_benches.run("escape_and_return", {"token": token})

    assert outcome.result_json == '"returned"'
    assert processes_with(token) == []


@pytest.mark.parametrize("handler", ["kill_parent_and_escape", "stop_parent_and_escape"])
async def test_a_handler_that_attacks_the_sandboxs_first_process_leaves_nothing(
    any_bench_without_landlock: Bench, token: str, handler: str
) -> None:
    """Without a PID namespace the first process can be killed or stopped; its zygote then sweeps."""
    outcome = await any_bench_without_landlock.run(handler, {"token": token}, timeout_s=0.5)

    assert outcome.word in ("timeout", "crashed")
    assert processes_with(token) == []


@pytest.mark.parametrize(
    "walls", [{"pid_namespaces": False}, {"pid_namespaces": False, "cgroups": False}]
)
async def test_a_handler_that_kills_its_zygote_leaves_nothing_and_the_next_attempt_gets_a_new_one(
    tmp_path: Path, token: str, walls: dict[str, Any]
) -> None:
    """Only without a PID namespace can it; then the root zygote sweeps."""
    from faasd.sandbox.sandboxes import ProcessSandboxes

    sandboxes = ProcessSandboxes(tmp_path, **walls, without={"landlock"})
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        event = {"token": token, "kill": True}
        outcome = await bench.run("kill_grandparent_and_escape", event, timeout_s=5.0)
        assert outcome.word == "sandbox-failed"
        assert outcome.error is not None
        assert "killed by signal 9 (SIGKILL)" in outcome.error.message
        assert processes_with(token) == []

        event = {"token": token, "kill": False}
        again = await bench.run("kill_grandparent_and_escape", event, timeout_s=0.3)
        assert again.word == "timeout"
        assert processes_with(token) == []
    finally:
        await sandboxes.stop()


async def test_a_fork_bomb_ends_at_its_time_limit_and_harms_nobody(
    any_bench: Bench, tmp_path: Path
) -> None:
    """The sweep must win against processes that fork while it looks."""
    counter = tmp_path / "counter"
    counter.touch()
    bound = 150  # The test's own safety on hosts where nothing caps root.
    event = {"counter": str(counter), "bound": bound}
    given = Permissions(write=(str(tmp_path),))
    limits = {"timeout_s": patient(0.7), "processes": 20}
    bomb = any_bench.function("fork_bomb", permissions=given, **limits)
    attempt = an_attempt(bomb, event)
    outcome = await any_bench.run_attempt(attempt)

    assert outcome.word in ("timeout", "oom")  # So many may reach the memory cap first.
    assert (await any_bench.run("echo", 1)).word == "ok"
    made = counter.stat().st_size
    if "process-cap" in outcome.degraded:
        assert made > 40  # The control: without the cap the bomb goes beyond it.
    else:
        assert 10 <= made <= 40  # Never more than 20 at once; while it dies, some are replaced.


@pytest.mark.parametrize("word", ["cancelled", "drained"])
async def test_stop_ends_an_attempt_early_with_its_word(bench: Bench, word: str) -> None:
    """A cancelled or drained attempt goes the way of a timed-out one."""
    stop = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(bench.run("tidy_up", stop=stop, grace_s=5.0))
    async with asyncio.timeout(patient(10)):
        while not bench.services.lines:
            await asyncio.sleep(0.01)
    stop.set_result(word)

    assert (await running).word == word
    assert bench.services.texts("stdout") == ["working", "tidied up"]


async def test_a_handler_may_tidy_up_in_its_grace_and_is_timed_out_still(
    both_benches: Bench,
) -> None:
    """SoftTimeout is raised in the handler; returning afterwards is too late."""
    outcome = await both_benches.run("tidy_up", timeout_s=0.5, grace_s=5.0)

    assert outcome.word == "timeout"
    assert both_benches.services.texts("stdout") == ["working", "tidied up"]
    assert outcome.usage.wall_s < patient(4.0)


async def test_an_async_handler_is_cancelled_at_its_time_limit(bench: Bench) -> None:
    """An exception cannot be raised into a coroutine from a signal; cancelling is asyncio's own way."""
    outcome = await bench.run("hang_async", timeout_s=0.5, grace_s=5.0)

    assert outcome.word == "timeout"
    assert bench.services.texts("stdout") == ["cancelled"]
    assert outcome.usage.wall_s < patient(4.0)


async def test_stopping_ends_what_runs_as_drained(tmp_path: Path, token: str) -> None:
    """`stop` returns only when nothing is left, whatever runs."""
    from faasd.sandbox.sandboxes import ProcessSandboxes

    sandboxes = ProcessSandboxes(tmp_path)
    await sandboxes.start()
    bench = Bench(sandboxes)
    running = asyncio.create_task(bench.run("escape_and_hang", {"token": token}))
    async with asyncio.timeout(patient(10)):
        while len(processes_with(token)) < 3:
            await asyncio.sleep(0.01)
    await sandboxes.stop()

    assert (await running).word == "drained"
    assert processes_with(token) == []


async def test_a_process_that_holds_the_output_pipe_delays_nobody(
    both_benches: Bench, token: str
) -> None:
    """A background child with our pipe open is the classic way to hang a runner."""
    began = time.monotonic()
    outcome = await both_benches.run("hold_stdout_and_return", {"token": token})

    assert outcome.word == "ok"
    assert time.monotonic() - began < patient(5.0)
    assert processes_with(token) == []
    assert os.path.exists("/proc/self")


async def test_a_cancelled_task_leaves_nothing(any_bench: Bench, token: str) -> None:
    """Whoever gives up waiting does not give up the promise."""
    running = asyncio.create_task(any_bench.run("escape_and_hang", {"token": token}))
    async with asyncio.timeout(patient(10)):
        while len(processes_with(token)) < 3:
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert processes_with(token) == []
    assert [path for path in groups_below(any_bench.sandboxes) if "-a" in Path(path).name] == []


async def test_attempts_at_the_same_time_keep_apart(both_benches: Bench) -> None:
    """Twelve sandboxes of one zygote, each with its own answer; one start for all of them."""
    outcomes = await asyncio.gather(*(both_benches.run("echo", number) for number in range(12)))
    assert [outcome.result_json for outcome in outcomes] == [str(number) for number in range(12)]
    pool = both_benches.sandboxes._pool
    assert pool is not None
    assert len(pool._entries) == 1


async def test_an_attempt_that_is_slow_to_die_takes_no_other_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy host the kernel needs its time; the zygote that both were forked from goes on meanwhile."""
    monkeypatch.setattr("faasd.sandbox.supervise._KILL_PATIENCE_S", 0.0)
    first = await bench.run("processor:wait_idly", 0.0)
    assert first.word == "ok", first.error
    if "pid-namespace" in first.degraded:
        pytest.skip("this host refuses process namespaces to us")
    other = asyncio.create_task(bench.run("processor:wait_idly", 1.5))
    ended = await bench.run("processor:wait_idly", 60.0, timeout_s=0.5, grace_s=0.0)
    assert ended.word == "timeout"
    assert (await other).word == "ok", (await other).error
