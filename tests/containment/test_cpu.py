"""Processor time: a share of it for each attempt, and an end to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.containment.bench import Bench


def _skip_without_cpu_cap(bench: Bench) -> None:
    slots = bench.sandboxes._slots
    if slots is None or not slots.caps_cpu:
        pytest.skip("this host has no cgroup with a cpu controller that we may use")


async def test_a_function_gets_its_share_of_the_processor_and_no_more(bench: Bench) -> None:
    """A fiftieth of a processor. The control: the same loop without the setting has far more."""
    _skip_without_cpu_cap(bench)
    capped = await bench.run("processor:spin_for", 1.0, cpu=0.02)
    assert capped.word == "ok", capped.error
    assert float(capped.result_json or 0) <= 0.08
    free = await bench.run("processor:spin_for", 1.0)
    assert float(free.result_json or 0) > 0.08


async def test_processor_time_has_an_end_although_the_clock_has_not(any_bench: Bench) -> None:
    """A busy loop ends at its cpu_time. The control: waiting as long costs nothing."""
    busy = await any_bench.run("spin", 60, cpu_time_s=0.3)
    assert busy.word == "timeout"
    assert busy.error is not None
    assert busy.error.type == "CpuTimeout"
    assert "its cpu_time of 300ms" in busy.error.message
    assert busy.usage.cpu_s is None or busy.usage.cpu_s < 3
    idle = await any_bench.run("processor:wait_idly", 0.8, cpu_time_s=0.3)
    assert idle.word == "ok", idle.error


async def test_processor_time_of_children_counts_although_they_have_ended(
    both_benches: Bench,
) -> None:
    """Of all processes together: none of them alone comes near the limit."""
    outcome = await both_benches.run("processor:spin_in_processes", cpu_time_s=0.6)
    assert outcome.word == "timeout"
    assert outcome.error is not None
    assert outcome.error.type == "CpuTimeout"


async def test_a_kept_group_counts_from_zero(bench: Bench) -> None:
    """What one attempt has used is not the next one's."""
    for _ in range(4):
        outcome = await bench.run("spin", 0.2, cpu_time_s=0.4)
        assert outcome.word == "ok", outcome.error


async def test_the_kernels_own_limit_stands_behind_the_watch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the daemon look late, each process still has its end, and the outcome says the same."""
    monkeypatch.setattr("faasd.sandbox.cpu_watch._INTERVAL_S_MIN", 60.0)
    outcome = await bench.run("spin", 60, cpu_time_s=0.5)
    assert outcome.word == "timeout"
    assert outcome.error is not None
    assert outcome.error.type == "CpuTimeout"


async def test_a_handler_goes_before_the_daemon_by_as_much_as_it_is_told(bench: Bench) -> None:
    """In the order in which the kernel ends processes when the host is out of memory."""
    own = int(Path("/proc/self/oom_score_adj").read_text())
    for adjustment in (0, 250, 500):
        outcome = await bench.run("processor:read_oom_score", oom_score_adj=adjustment)
        assert outcome.result_json == str(min(1000, own + adjustment))


async def test_an_import_has_no_more_of_the_processor_than_an_attempt(
    bench: Bench, tmp_path: Path
) -> None:
    """It is the same code."""
    _skip_without_cpu_cap(bench)
    (tmp_path / "busy.py").write_text(
        "import time\nbegan, end = time.process_time(), time.monotonic() + 1\n"
        "while time.monotonic() < end: pass\nused = time.process_time() - began\n"
        "def handler(event, context): return used\n"
    )
    bench.code_dir = str(tmp_path)
    capped = await bench.run("busy:handler", cpu=0.2)
    assert float(capped.result_json or 0) <= 0.4
