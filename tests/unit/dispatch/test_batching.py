"""Batches: when one is ripe, and what the function's reply says about each member."""

from __future__ import annotations

import json
from typing import Any

import pytest

from faasd.dispatch.batching import outcomes_by_member, ripe_at
from faasd.model.attempt import Attempt, Claim, Lease
from faasd.model.function import Function, Lane
from faasd.model.invocation import Invocation
from faasd.model.outcome import ErrorRecord, Outcome
from faasd.model.retry import Spent


def invocation(id_: str, group: str | None = None) -> Invocation:
    return Invocation(
        id=id_,
        seq=1,
        function="f",
        queue="q",
        trigger="queue",
        source="q",
        event_json="{}",
        state="running",
        outcome=None,
        priority=0,
        created_at=0.0,
        due_at=0.0,
        expires_at=None,
        group_key=group,
        scheduled_for=None,
        parent_id=None,
        spent=Spent(),
        attempts=1,
        started_at=0.0,
        ended_at=None,
        error=None,
        result_json=None,
        reason=None,
    )


def batch(*members: tuple[str, str | None], is_batch: bool = True) -> Attempt:
    claims = tuple(Claim(invocation(id_, group), Lease(id_, 1, 60.0), 1) for id_, group in members)
    return Attempt("a1", Function("f"), claims, 0.0, is_batch=is_batch)


def reply(value: Any) -> Outcome:
    return Outcome("ok", result_json=json.dumps(value))


def words(outcomes: list[Outcome]) -> list[str]:
    return [outcome.word for outcome in outcomes]


THREE = batch(("a", None), ("b", None), ("c", None))


@pytest.mark.parametrize(
    "value", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}, "text", 7, {"x": 1}]
)
def test_an_empty_or_missing_list_means_that_all_succeeded(value: Any) -> None:
    """AWS: null, {}, and an empty list are success; so is a reply that is about something else."""
    assert words(outcomes_by_member(THREE, reply(value))) == ["ok", "ok", "ok"]


def test_only_the_named_items_fail() -> None:
    """The point of a partial failure: the others are not run again."""
    outcomes = outcomes_by_member(THREE, reply({"batchItemFailures": [{"itemIdentifier": "b"}]}))
    assert words(outcomes) == ["ok", "error", "ok"]
    assert outcomes[1].error is not None
    assert outcomes[1].error.type == "BatchItemFailure"


@pytest.mark.parametrize(
    "items",
    [
        "b",
        {"itemIdentifier": "b"},
        [{"itemIdentifier": ""}],
        [{"itemIdentifier": None}],
        [{"itemIdentifier": 3}],
        [{"wrong": "b"}],
        ["b"],
        [{"itemIdentifier": "b"}, {"itemIdentifier": "unknown"}],
    ],
)
def test_a_malformed_reply_fails_the_whole_batch_and_says_why(items: Any) -> None:
    """Guessing what a broken reply meant could drop work; failing everything only repeats it."""
    outcomes = outcomes_by_member(THREE, reply({"batchItemFailures": items}))
    assert words(outcomes) == ["error", "error", "error"]
    assert all(one.error and "batchItemFailures" in one.error.message for one in outcomes)


def test_after_a_failure_the_rest_of_its_ordered_group_fails_too() -> None:
    """Otherwise the group would go on past its failed item and run out of order."""
    attempt = batch(("a", "k"), ("b", "k"), ("c", "k"), ("d", "other"), ("e", None))
    outcomes = outcomes_by_member(attempt, reply({"batchItemFailures": [{"itemIdentifier": "b"}]}))
    assert words(outcomes) == ["ok", "error", "error", "ok", "ok"]


def test_a_failed_attempt_fails_every_member() -> None:
    """One sandbox ran them all, so all share what happened to it."""
    outcome = Outcome("oom", error=ErrorRecord("OutOfMemory", "over the cap"))
    assert outcomes_by_member(THREE, outcome) == [outcome] * 3


def test_outside_batches_the_reply_is_just_a_result() -> None:
    """A function that is not batched may return any key it likes."""
    single = batch(("a", None), is_batch=False)
    value = {"batchItemFailures": [{"itemIdentifier": "zzz"}]}
    assert words(outcomes_by_member(single, reply(value))) == ["ok"]


LANE = Lane("q", "f", batch_size=10, batch_window_s=5.0, is_batch=True)


@pytest.mark.parametrize(
    ("due_count", "oldest", "now", "expected"),
    [
        (0, None, 100.0, None),  # Nothing due: nothing to wait for.
        (3, 98.0, 100.0, 103.0),  # Not full: when the oldest has waited for the window.
        (3, 90.0, 100.0, 100.0),  # The window has passed.
        (10, 100.0, 100.0, 100.0),  # Full.
        (11, 100.0, 100.0, 100.0),
    ],
)
def test_a_batch_is_ripe_when_full_or_when_its_window_has_passed(
    due_count: int, oldest: float | None, now: float, expected: float | None
) -> None:
    """Size or window, whichever comes first."""
    assert ripe_at(LANE, due_count, oldest, now) == expected
