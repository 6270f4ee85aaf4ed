"""Values that tests of the store start from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from faasd.interfaces import Finish
from faasd.model.attempt import Attempt, AttemptRecord, Claim
from faasd.model.function import Function, Lane
from faasd.model.ids import new_id
from faasd.model.invocation import NewInvocation
from faasd.model.outcome import ErrorRecord, Outcome
from faasd.model.retry import DeadLetter, Done, RetryAt

START = 1_750_000_000.0
LANE = Lane("mail", "send")
BATCHES = replace(LANE, batch_size=10, is_batch=True)


def an_invocation(**changes: Any) -> NewInvocation:
    values: dict[str, Any] = {
        "id": new_id(),
        "function": "send",
        "queue": "mail",
        "trigger": "queue",
        "source": "mail",
        "event_json": '{"to":"a"}',
        "created_at": START,
        "due_at": START,
    }
    return NewInvocation(**(values | changes))


def some_invocations(count: int, **changes: Any) -> list[NewInvocation]:
    return [an_invocation(**changes) for _ in range(count)]


def a_record(claim: Claim, word: str = "ok", **changes: Any) -> AttemptRecord:
    values: dict[str, Any] = {
        "invocation_id": claim.invocation.id,
        "number": claim.number,
        "attempt_id": f"attempt-{claim.lease.token}-{claim.invocation.id}",
        "function": claim.invocation.function,
        "code_version": "v1",
        "outcome": word,
        "started_at": START,
        "ended_at": START + 1.5,
        "queue_wait_s": 0.25,
        "wall_s": 1.5,
        "cpu_s": 0.5,
        "memory_peak_bytes": 12_000_000,
        "init_s": None,
        "error_json": None,
        "log_tail": "hello",
        "batch_size": 1,
    }
    return AttemptRecord(**(values | changes))


def a_finish(
    claim: Claim,
    word: str = "ok",
    verdict: Done | RetryAt | DeadLetter | None = None,
    follow_ups: tuple[NewInvocation, ...] = (),
) -> Finish:
    error = None if word == "ok" else ErrorRecord("Boom", "it broke", ("line 1",))
    outcome = Outcome(word, result_json='{"sent":1}' if word == "ok" else None, error=error)
    return Finish(
        claim.lease,
        a_record(claim, word),
        outcome,
        verdict or Done(),
        follow_ups,
        invocation=claim.invocation,
    )


def an_attempt(*claims: Claim, attempt_id: str = "a1", function: str = "send") -> Attempt:
    return Attempt(attempt_id, Function(function), claims, START, is_batch=len(claims) > 1)
