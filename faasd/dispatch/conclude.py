"""From an attempt's outcome to what is written: record, verdict and destinations. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from faasd.interfaces import Finish
from faasd.model.attempt import Attempt, AttemptRecord, Claim
from faasd.model.event import decode_json, encode_json, event_body
from faasd.model.function import Destination, Function
from faasd.model.ids import new_id
from faasd.model.invocation import NewInvocation
from faasd.model.outcome import ErrorRecord, Outcome
from faasd.model.retry import DeadLetter, Done, RetryAt, decide

__all__ = ["conclude", "lost"]

_DONE = Done()


def conclude(
    attempt: Attempt,
    claim: Claim,
    outcome: Outcome,
    consumers: Mapping[str, str],
    now: float,
    noise: float,
    log_tail: str,
) -> Finish:
    """Say what one attempt comes to for one of its claims.

    `consumers` maps queues to the functions that consume them; `noise` in [-1, 1] moves the retry.
    """
    verdict = _verdict(attempt.function, claim, outcome, now, noise, attempt.is_sync)
    return Finish(
        lease=claim.lease,
        record=_record(attempt, claim, outcome, now, log_tail),
        outcome=outcome,
        verdict=verdict,
        follow_ups=_follow_ups(attempt.function, claim, outcome, verdict, consumers, now),
        memory_limit_bytes=attempt.function.limits.memory_bytes,
        invocation=claim.invocation,
    )


def lost(
    function: Function, claim: Claim, consumers: Mapping[str, str], now: float, noise: float
) -> Finish:
    """Say what becomes of an invocation whose daemon died under it.

    A direct invoke is not run again: its caller died with the connection and had no promise yet. What was claimed
    ahead always runs again: it most likely never began, and if it is what killed the daemon, it is among the first
    to begin after the next start, of which none is claimed ahead.
    """
    outcome = Outcome(
        "lost", error=ErrorRecord("Lost", "the daemon or the host died while this attempt ran")
    )
    started_at = claim.invocation.started_at or now
    is_sync = not claim.invocation.queue
    attempt = Attempt(
        "lost-" + claim.invocation.id, function, (claim,), started_at, is_sync=is_sync
    )
    finish = conclude(attempt, claim, outcome, consumers, now, noise, "")
    if claim.invocation.started_at is None and not is_sync:
        return dataclasses.replace(finish, verdict=RetryAt(now), follow_ups=())
    return finish


def _verdict(
    function: Function, claim: Claim, outcome: Outcome, now: float, noise: float, is_sync: bool
) -> Done | RetryAt | DeadLetter:
    if is_sync or outcome.is_ok:  # What `decide` would say, without counting what nobody asks for.
        return _DONE
    spent = claim.invocation.spent.plus(outcome.word)
    verdict = decide(function.retry, spent, outcome, now, noise)
    expires_at = claim.invocation.expires_at
    if isinstance(verdict, RetryAt) and expires_at is not None and verdict.at > expires_at:
        verdict = DeadLetter(f"expired before another attempt; the last ended as {outcome.word}")
    if isinstance(verdict, DeadLetter) and not function.dead_letter:
        return Done()
    return verdict


def _record(
    attempt: Attempt, claim: Claim, outcome: Outcome, now: float, log_tail: str
) -> AttemptRecord:
    usage = outcome.usage
    invocation = claim.invocation
    return AttemptRecord(
        invocation_id=invocation.id,
        number=claim.number,
        attempt_id=attempt.id,
        function=attempt.function.name,
        code_version=attempt.function.version_with_layers,
        outcome=outcome.word,
        started_at=attempt.started_at,
        ended_at=now,
        queue_wait_s=max(0.0, attempt.started_at - max(invocation.due_at, invocation.created_at)),
        wall_s=usage.wall_s,
        cpu_s=usage.cpu_s,
        memory_peak_bytes=usage.memory_peak_bytes,
        init_s=usage.init_s,
        error_json=encode_json(outcome.error.to_json()) if outcome.error else None,
        log_tail=log_tail,
        batch_size=len(attempt.claims),
        output_truncated=outcome.output_truncated,
        degraded=outcome.degraded,
    )


def _follow_ups(
    function: Function,
    claim: Claim,
    outcome: Outcome,
    verdict: Done | RetryAt | DeadLetter,
    consumers: Mapping[str, str],
    now: float,
) -> tuple[NewInvocation, ...]:
    destinations = function.on_success if outcome.is_ok else function.on_failure
    if not destinations or isinstance(verdict, RetryAt) or outcome.word == "cancelled":
        return ()
    return tuple(_follow_up(each, claim, outcome, consumers, now) for each in destinations)


def _follow_up(
    to: Destination, claim: Claim, outcome: Outcome, consumers: Mapping[str, str], now: float
) -> NewInvocation:
    """Return the invocation that carries the finished one's record, as Lambda's destinations do."""
    invocation = claim.invocation
    new_event_id = new_id()
    record = {
        "function": invocation.function,
        "invocation_id": invocation.id,
        "outcome": outcome.word,
        "attempts": claim.number,
        "event": decode_json(invocation.event_json),
        "result": decode_json(outcome.result_json) if outcome.result_json else None,
        "error": outcome.error.to_json() if outcome.error else None,
    }
    if to.kind == "queue":
        body = event_body("queue", to.name, new_event_id, now, queue=to.name, body=record)
    else:
        body = event_body("function", invocation.function, new_event_id, now, **record)
    return NewInvocation(
        id=new_event_id,
        function=consumers.get(to.name, to.name),
        queue=to.name,
        trigger="queue" if to.kind == "queue" else "function",
        source=to.name if to.kind == "queue" else invocation.function,
        event_json=encode_json(body),
        created_at=now,
        due_at=now,
        parent_id=invocation.id,
    )
