"""examples/hostile: each misbehaviour is stopped, named, and leaves nobody behind."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.examples.running import Example, processes_in, wait_for

_OUTCOMES = {
    "memory_hog": "oom",
    "endless_loop": "timeout",
    "endless_printer": "output-limit",
    "fork_bomb": "timeout",
    "grandchild": "ok",
    "escapee": "timeout",
}


def _newest(example: Example, function: str) -> dict[str, Any]:
    return example.client.invocation(example.invocations(function=function)[0]["id"])


@pytest.mark.parametrize(("name", "outcome"), _OUTCOMES.items())
def test_each_is_named_by_its_outcome_and_leaves_nobody_behind(
    hostile: Example, name: str, outcome: str
) -> None:
    """The outcome is told only when the whole tree is gone, however it detached itself."""
    code = 0 if outcome == "ok" else 1
    hostile.faasd("invoke", name, code=code)  # Its zygote stays, so the second is the measure.
    at_rest = processes_in(hostile.folder)
    before = time.monotonic()
    hostile.faasd("invoke", name, code=code)
    took_s = time.monotonic() - before
    assert set(processes_in(hostile.folder)) <= set(at_rest)
    rows = hostile.invocations(function=name)
    assert [row["outcome"] for row in rows] == [outcome, outcome]
    # A grandchild that holds the output open cannot keep the answer back either.
    assert took_s < (10 if outcome == "timeout" else 8), f"{took_s:.1f}s"


def test_the_limits_show_in_log_and_history(hostile: Example) -> None:
    """Somebody who looks later sees which limit it was, and how far it went."""
    hostile.faasd("invoke", "fork_bomb", code=1)
    [record] = _newest(hostile, "fork_bomb")["attempt_records"]
    # Of root the kernel counts no processes; without a pids cgroup the record says so.
    assert "cannot fork" in record["log_tail"] or "process-cap" in record["degraded"]
    hostile.faasd("invoke", "memory_hog", code=1)
    row = _newest(hostile, "memory_hog")
    assert row["memory_peak_bytes"] >= 32 * 2**20
    assert "memory" in hostile.faasd("why", row["id"])


def test_good_functions_run_while_a_fork_bomb_rages(hostile: Example) -> None:
    """The caps are per attempt, so one neighbour's excess is not another's failure."""
    bomb = hostile.faasd("invoke", "fork_bomb", "--async").strip()
    hostile.faasd("invoke", "grandchild")
    wait_for("the bomb is over", lambda: hostile.client.invocation(bomb)["state"] == "dead")
    assert hostile.client.invocation(bomb)["outcome"] == "timeout"
