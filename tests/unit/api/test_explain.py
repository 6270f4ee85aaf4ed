"""`faasd why` in sentences: a table of situations."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from faasd.api.explain import InvocationFacts, explain_function, explain_invocation
from faasd.clock import FakeClock
from faasd.interfaces import BreakerStatus, QueueCounts, ScheduleStatus
from faasd.model.function import Lane
from faasd.model.invocation import Invocation
from faasd.model.outcome import OUTCOME_MEANINGS, ErrorRecord
from faasd.model.retry import Spent
from tests.fakes.api_fakes import ECHO, REPORT, RESIZE, FakeStore, a_record

NOW = 1_750_000_000.0


def row(**values: Any) -> Invocation:
    return FakeStore(FakeClock(NOW)).put(**{"function": "resize", "queue": "images", **values})


def said(invocation: Invocation, **facts: Any) -> str:
    given = {"function": RESIZE, **facts}
    return " ".join(explain_invocation(InvocationFacts(invocation, NOW, **given)))


def test_a_delayed_one_says_until_when() -> None:
    """The first thing that somebody asks who enqueued with a delay."""
    text = said(row(due_at=NOW + 300))
    assert "was enqueued on queue 'images'" in text
    assert "It is delayed until 2025-06-15T15:11:40.000Z, in 5m." in text


def test_one_between_two_attempts_says_which_comes_and_why() -> None:
    """A retry is not a delay: there was an error before it."""
    invocation = row(
        due_at=NOW + 60,
        attempts=1,
        spent=Spent(attempts=1),
        error=ErrorRecord("ValueError", "bad picture"),
    )
    text = said(invocation, attempts=[a_record(invocation, 1, NOW)])
    assert "Attempt 1 ended as error" in text
    assert "The last error was ValueError: bad picture." in text
    assert "Attempt 2 of 3 is due at" in text


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"function_paused_since": NOW - 60}, "function 'resize' is paused since 2025-06-15"),
        (
            {"function_refused": "no Landlock; use Linux 5.13"},
            "It waits. Function 'resize' is refused on this host",
        ),
        (
            {"running": 2},
            "function's concurrency is 2, and so many attempts of 'resize' are running",
        ),
        (
            {"ahead": [row(group_key="k")]},
            "what came before it in its group 'k': 1 ahead, the first of them",
        ),
        ({"function": None}, "no function is named 'resize' any more"),
        (
            {"lane": Lane("images", "resize", concurrency=3), "running_of_queue": 3},
            "the concurrency of queue 'images' is 3, and so many attempts from it are running",
        ),
        ({"running_of_all": 8, "slots": 8}, "It waits for a free slot: all 8 are taken"),
        ({"running_of_all": 7, "slots": 8}, "It is due and waits for its turn"),
        ({"lane": Lane("images", "resize", rate=(10, 60.0))}, "a rate of 10 in 1m"),
        (
            {"lane": Lane("images", "resize", batch_size=50, batch_window_s=5.0, is_batch=True)},
            "gathers batches of 50 for up to 5s",
        ),
        ({}, "It is due and waits for its turn"),
    ],
)
def test_a_due_one_says_what_holds_it_back(facts: dict[str, Any], reason: str) -> None:
    """Each has another remedy, so they must not be one sentence."""
    assert reason in said(row(group_key="k"), **facts)


def test_what_an_outcome_means_is_told_once() -> None:
    """Ten attempts that ended alike would say ten times what one has said."""
    invocation = row(state="dead", attempts=3)
    records = [a_record(invocation, number, NOW) for number in (1, 2)]
    records += [a_record(invocation, 3, NOW, "timeout"), a_record(invocation, 4, NOW)]
    text = said(invocation, attempts=records)
    assert [text.count(f"Attempt {number} ended as") for number in (1, 2, 3, 4)] == [1, 1, 1, 1]
    assert text.count(OUTCOME_MEANINGS["error"]) == text.count(OUTCOME_MEANINGS["timeout"]) == 1


def test_the_hint_of_the_last_error_is_told() -> None:
    """It names the one setting to change, which is what was asked for."""
    invocation = row(
        state="dead", attempts=1, error=ErrorRecord("PermissionError", "no", (), "set read = [1]")
    )
    assert "The last error was PermissionError: no. Hint: set read = [1]." in said(invocation)


def test_a_skipped_tick_names_the_tick_that_was_in_its_way() -> None:
    """`skipped-overlap` alone leaves people searching for the run that took too long."""
    earlier = row(function="report", trigger="cron", scheduled_for=NOW - 60, state="running")
    skipped = row(
        function="report",
        trigger="cron",
        source="nightly",
        scheduled_for=NOW,
        state="skipped",
        outcome="skipped-overlap",
    )
    text = said(skipped, function=REPORT, overlapped=earlier)
    assert "came from schedule 'nightly' for 2025-06-15T15:06:40.000Z" in text
    assert "The schedule fired while its last tick was still waiting or running." in text
    assert f"The tick of 2025-06-15T15:05:40.000Z was in its way: invocation {earlier.id}" in text


@pytest.mark.parametrize("word", ["missed", "expired", "filtered", "throttled", "duplicate"])
def test_one_that_never_ran_says_what_its_word_means(word: str) -> None:
    """The words are exact, and nobody knows them by heart."""
    text = said(row(state="skipped", outcome=word, reason="because of this"))
    assert f"It did not run ({word})." in text
    assert "Because of this." in text


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"state": "running", "attempts": 2, "started_at": NOW}, "Attempt 2 is running since"),
        ({"state": "done", "outcome": "ok"}, "It is done."),
        ({"state": "done", "outcome": "timeout", "queue": ""}, "timeout: whoever invoked it has"),
        (
            {"state": "done", "outcome": "timeout"},
            "timeout: its attempts are used up, and the function keeps no",
        ),
        ({"state": "cancelled", "reason": "cancelled by root"}, "It was cancelled: cancelled by"),
        ({"state": "dropped"}, "somebody dropped it."),
        ({"state": "dead", "reason": "3 attempts used up"}, "It is a dead letter: 3 attempts"),
    ],
)
def test_every_other_state_has_its_sentence(values: dict[str, Any], sentence: str) -> None:
    """No state may be met with silence."""
    assert sentence in said(row(**values))


def test_a_function_says_whether_it_can_run_and_what_became_of_its_last() -> None:
    """`faasd why report` is what people type first, without an id at hand."""
    status = ScheduleStatus(
        "nightly",
        "report",
        "cron",
        "0 3 * * *",
        "UTC",
        NOW + 60,
        NOW - 60,
        False,
        "latest",
        "skip",
        0.0,
    )
    last = InvocationFacts(row(function="report", state="done", outcome="ok"), NOW, function=REPORT)
    arguments: dict[str, Any] = {
        "now": NOW,
        "paused_since": NOW - 5,
        "running": 0,
        "queues": [QueueCounts("report", waiting=4), QueueCounts("reports", dead=1)],
        "schedules": [status],
        "last": last,
    }
    text = " ".join(explain_function(REPORT, **arguments))
    assert "is paused since" in text
    assert "4 waiting" in text
    assert "Queue 'reports' holds 0 waiting, 0 delayed, 0 in flight and 1 dead." in text
    assert "fires next at 2025-06-15T15:07:40.000Z, in 1m" in text
    assert text.endswith("It is done.")
    odd = dataclasses.replace(status, note="it never fires in winter")
    text = " ".join(explain_function(REPORT, **{**arguments, "schedules": [odd]}))
    assert "Schedule 'nightly' (cron 0 3 * * *, UTC): it never fires in winter." in text
    held = BreakerStatus("open", 5, 1, NOW - 1, NOW + 9, "oom")
    text = " ".join(explain_function(REPORT, **{**arguments, "breaker": held}))
    assert "held back by its breaker" in text
    assert "5 attempts in a row died, the last as oom; one attempt is tried at 2025-06-15" in text
    assert "`faasd functions resume report` lets it run now" in text
    paused = dataclasses.replace(status, paused=True, next_at=None)
    text = " ".join(explain_function(REPORT, **{**arguments, "schedules": [paused]}))
    assert "faasd schedules resume nightly" in text
    nothing = {**arguments, "schedules": [], "last": None, "paused_since": None}
    text = " ".join(explain_function(ECHO, **nothing))
    assert "has no trigger" in text
    assert "never been invoked" in text
