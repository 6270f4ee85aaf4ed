"""Who waits for a result has it before its sandbox is gone, and what he was told stays the outcome."""

from __future__ import annotations

import dataclasses

import pytest

from faasd.model.attempt import Attempt
from faasd.model.outcome import Outcome
from tests.containment.bench import (
    Bench,
    RecordingServices,
    an_attempt,
    groups_below,
    processes_with,
)


class Caller(RecordingServices):
    """Waits for one attempt, and looks at what there is when it hears of its end."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self.groups: list[str] = []

    def answer(self, attempt: Attempt, outcome: Outcome) -> None:
        super().answer(attempt, outcome)
        self.groups = groups_below(self._bench.sandboxes)


async def ask(bench: Bench, handler: str, event: object = None, **limits: object) -> Outcome:
    """Run a handler for a caller who waits."""
    attempt = an_attempt(bench.function(handler, **limits), event)
    return await bench.run_attempt(dataclasses.replace(attempt, is_sync=True))


async def test_a_result_is_told_before_its_sandbox_is_gone(bench: Bench) -> None:
    """Ending a sandbox takes longer than most handlers do."""
    caller = bench.services = Caller(bench)
    outcome = await ask(bench, "echo", {"x": 1})

    [told] = caller.answers
    assert (told.word, told.result_json) == ("ok", '{"x":1}')
    assert caller.groups, "its cgroup was still there"
    assert dataclasses.replace(told, usage=outcome.usage) == outcome
    assert told.usage.init_s, "the first attempt of a function waited for its zygote"
    assert told.usage.cpu_s is not None
    assert outcome.usage.cpu_s is not None
    assert 0 < told.usage.cpu_s <= outcome.usage.cpu_s
    assert told.usage.memory_peak_bytes


async def test_nobody_is_told_early_whom_nobody_waits_for(bench: Bench) -> None:
    """An attempt from a queue has no caller."""
    assert (await bench.run("echo")).is_ok
    assert bench.services.answers == []


async def test_what_left_processes_behind_is_told_when_they_are_gone(
    bench: Bench, token: str
) -> None:
    """They might still do something that makes another outcome of it."""
    outcome = await ask(bench, "escape_and_return", {"token": token})

    assert outcome.result_json == '"returned"'
    assert bench.services.answers == []
    assert processes_with(token) == []


@pytest.mark.parametrize(
    ("handler", "event", "limits", "word"),
    [
        ("fail", None, {}, "error"),
        ("print_much", {"lines": 2000}, {"output_limit_bytes": 1000}, "output-limit"),
        ("print_for_ever", None, {"output_limit_bytes": 1000}, "output-limit"),
        ("fill_in_child", {"mib": 200}, {"memory_bytes": 64 * 2**20}, "oom"),
    ],
)
async def test_what_is_no_result_is_told_by_nobody_else(
    bench: Bench, handler: str, event: object, limits: dict[str, object], word: str
) -> None:
    """All but a clean return is judged when everything is gone, and then by the outcome itself."""
    outcome = await ask(bench, handler, event, **limits)

    assert outcome.word == word
    assert bench.services.answers == []


async def test_output_that_was_cut_is_told(bench: Bench) -> None:
    """What was printed is read before the result is told."""
    outcome = await ask(bench, "print_much", {"lines": 40}, output_limit_bytes=1000)

    assert outcome.output_truncated
    assert [told.output_truncated for told in bench.services.answers] == [True]
