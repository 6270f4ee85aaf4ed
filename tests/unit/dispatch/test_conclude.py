"""From an attempt's outcome to what is written about it."""

from __future__ import annotations

import json
from dataclasses import replace

from faasd.dispatch.conclude import conclude, lost
from faasd.model.attempt import Attempt, Claim, Lease
from faasd.model.function import Destination, Function
from faasd.model.outcome import ErrorRecord, Outcome
from faasd.model.retry import DeadLetter, Done, RetryAt, RetryPolicy, Spent
from tests.unit.dispatch.test_batching import invocation

FAILED = Outcome("error", error=ErrorRecord("ValueError", "no"))
FUNCTION = Function(
    "f",
    retry=RetryPolicy(attempts=2, first_s=10.0, jitter=0.0),
    on_success=(Destination("queue", "good"),),
    on_failure=(Destination("function", "mourner"),),
)


def attempt(function: Function = FUNCTION, *, is_sync: bool = False, **changes: object) -> Attempt:
    member = replace(invocation("i1"), **changes)  # type: ignore[arg-type]
    claim = Claim(member, Lease("i1", 7, 60.0), 1)
    return Attempt("a1", function, (claim,), 0.0, is_sync=is_sync)


def concluded(of: Attempt, outcome: Outcome, now: float = 100.0):  # type: ignore[no-untyped-def]
    return conclude(of, of.claims[0], outcome, {"good": "gatherer"}, now, 0.0, "tail")


def test_a_failure_with_attempts_left_is_tried_again_later_and_tells_nobody() -> None:
    """Destinations hear of final outcomes only."""
    finish = concluded(attempt(), FAILED)
    assert finish.verdict == RetryAt(110.0)
    assert finish.follow_ups == ()
    assert finish.record.log_tail == "tail"


def test_the_last_failure_is_a_dead_letter_and_is_sent_to_on_failure() -> None:
    """With the event, the error and the count of attempts, as Lambda's destinations have them."""
    finish = concluded(attempt(spent=Spent(attempts=1), event_json='{"n":1}'), FAILED)
    assert isinstance(finish.verdict, DeadLetter)
    [follow_up] = finish.follow_ups
    assert (follow_up.function, follow_up.queue, follow_up.parent_id) == (
        "mourner",
        "mourner",
        "i1",
    )
    record = json.loads(follow_up.event_json)
    assert record["outcome"] == "error"
    assert record["event"] == {"n": 1}
    assert record["error"]["message"] == "no"


def test_a_success_is_sent_to_the_queue_of_on_success_and_to_its_consumer() -> None:
    """The record's function is the queue's consumer, so that history names who will run it."""
    finish = concluded(attempt(), Outcome("ok", result_json='{"x":2}'))
    assert finish.verdict == Done()
    [follow_up] = finish.follow_ups
    assert (follow_up.function, follow_up.queue) == ("gatherer", "good")
    assert json.loads(follow_up.event_json)["body"]["result"] == {"x": 2}


def test_a_direct_invoke_is_never_tried_again() -> None:
    """Its caller has the error and decides."""
    assert concluded(attempt(is_sync=True), FAILED).verdict == Done()


def test_a_retry_that_would_come_too_late_is_a_dead_letter_now() -> None:
    """Waiting only to expire would hide the failure."""
    finish = concluded(attempt(expires_at=105.0), FAILED)
    assert isinstance(finish.verdict, DeadLetter)
    assert "expired" in finish.verdict.reason


def test_without_dead_letters_a_used_up_invocation_is_done() -> None:
    """`dead_letter = false` is for work that nobody will look at."""
    function = replace(FUNCTION, dead_letter=False)
    assert concluded(attempt(function, spent=Spent(attempts=1)), FAILED).verdict == Done()


def test_a_lost_attempt_runs_again_at_once_and_is_not_charged() -> None:
    """The function did nothing wrong."""
    finish = lost(FUNCTION, replace(attempt().claims[0]), {}, 100.0, 0.0)
    assert finish.verdict == RetryAt(100.0)
    assert finish.record.outcome == "lost"


def test_a_lost_direct_invoke_is_not_run_again() -> None:
    """Its caller died with the connection and was promised nothing."""
    claim = attempt(queue="").claims[0]
    assert lost(FUNCTION, claim, {}, 100.0, 0.0).verdict == Done()


def test_an_invocation_that_is_lost_again_and_again_becomes_a_dead_letter() -> None:
    """It may be what kills the host."""
    claim = attempt(spent=Spent(lost=4), started_at=50.0).claims[0]
    verdict = lost(FUNCTION, claim, {}, 100.0, 0.0).verdict
    assert isinstance(verdict, DeadLetter)
    assert "5 times" in verdict.reason


def test_what_was_claimed_ahead_is_never_put_aside_for_being_lost() -> None:
    """It stood behind what killed the daemon; whatever kills it is counted when it is first in line."""
    claim = attempt(spent=Spent(lost=40), started_at=None).claims[0]
    finish = lost(FUNCTION, claim, {}, 100.0, 0.0)
    assert (finish.verdict, finish.record.outcome, finish.follow_ups) == (
        RetryAt(100.0),
        "lost",
        (),
    )
