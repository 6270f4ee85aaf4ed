"""examples/hostile: each misbehaviour is stopped, named, and leaves nobody behind."""

from __future__ import annotations

import time
from collections.abc import Callable

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


def _settled(example: Example) -> set[int]:
    """Return the processes of a daemon at rest."""
    return set(processes_in(example.folder))


def test_each_is_named_by_its_outcome_and_leaves_nobody_behind(
    started: Callable[[str], Example],
) -> None:
    """One daemon survives them all; the outcome is told only when the whole tree is gone."""
    example = started("hostile")
    for name, outcome in _OUTCOMES.items():
        before = time.monotonic()
        example.faasd("invoke", name, code=0 if outcome == "ok" else 1)
        took_s = time.monotonic() - before
        [row] = example.invocations("--function", name)
        assert (name, row["outcome"]) == (name, outcome)
        assert took_s < 15, f"{name} took {took_s:.1f}s"
    assert "cannot fork" in example.faasd("logs", "--function", "fork_bomb")
    [row] = example.invocations("--function", "memory_hog")
    assert row["memory_peak_bytes"] >= 32 * 2**20
    # What is left are the daemon and its zygotes, which all stop with it; the fixture checks that.
    assert len(_settled(example)) < 25


def test_good_functions_run_while_a_fork_bomb_rages(started: Callable[[str], Example]) -> None:
    """The caps are per attempt, so one neighbour's excess is not another's failure."""
    example = started("hostile")
    example.faasd("invoke", "fork_bomb", "--async")
    example.faasd("invoke", "grandchild")
    ended = wait_for(
        "the bomb is over",
        lambda: example.invocations("--function", "fork_bomb", "--state", "dead"),
    )
    assert [row["outcome"] for row in ended] == ["timeout"]


@pytest.mark.parametrize("name", ["grandchild", "escapee"])
def test_detached_children_are_gone_when_the_outcome_is_told(
    started: Callable[[str], Example], name: str
) -> None:
    """A child in a session of its own, or with our output open, ends with its attempt all the same."""
    example = started("hostile")
    example.faasd("invoke", name, code=0 if _OUTCOMES[name] == "ok" else 1)
    first = _settled(example)
    example.faasd("invoke", name, code=0 if _OUTCOMES[name] == "ok" else 1)
    # Nothing piles up: after the second one there are no more processes than after the first.
    assert len(_settled(example)) <= len(first)
