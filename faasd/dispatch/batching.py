"""Batches: when one is ripe, and what a function's reply says about each member. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from faasd.model.attempt import Attempt
from faasd.model.event import decode_json
from faasd.model.function import Lane
from faasd.model.outcome import ErrorRecord, Outcome

__all__ = ["outcomes_by_member", "ripe_at"]


def ripe_at(lane: Lane, due_count: int, oldest_due_at: float | None, now: float) -> float | None:
    """Return when a batch may be claimed: now when it is full or its window has passed, None when nothing is due."""
    if due_count == 0 or oldest_due_at is None:
        return None
    if due_count >= lane.batch_size:
        return now
    return max(now, oldest_due_at + lane.batch_window_s)


def outcomes_by_member(attempt: Attempt, outcome: Outcome) -> list[Outcome]:
    """Return the outcome of each claim of the attempt, in order.

    A batch handler may return `{"batchItemFailures": [{"itemIdentifier": id}, …]}`. As with AWS
    Lambda's event source mappings: null, an empty object or an empty list mean that all succeeded;
    an empty, null or unknown identifier, or a reply of another shape under that key, fails the
    whole batch. In an ordered group everything after the first failure fails with it.
    """
    if not attempt.is_batch or not outcome.is_ok:
        return [outcome] * len(attempt.claims)
    reply = decode_json(outcome.result_json or "null")
    if not isinstance(reply, dict) or "batchItemFailures" not in reply:
        return [outcome] * len(attempt.claims)
    ids = [claim.invocation.id for claim in attempt.claims]
    failed = _failed_ids(reply["batchItemFailures"], ids)
    if isinstance(failed, str):
        error = ErrorRecord("MalformedBatchReply", f"{failed}; the whole batch counts as failed")
        return [replace(outcome, word="error", result_json=None, error=error)] * len(ids)
    return [_failure(outcome, why) if why else outcome for why in _reasons(attempt, failed)]


def _failed_ids(items: Any, known: list[str]) -> set[str] | str:
    """Return the failed ids, or a sentence that says what is wrong with the reply."""
    if items is None:
        return set()
    if not isinstance(items, list):
        return "batchItemFailures is not a list"
    failed: set[str] = set()
    for item in items:
        identifier = item.get("itemIdentifier") if isinstance(item, dict) else None
        if not isinstance(identifier, str) or not identifier:
            return f"an entry of batchItemFailures has no itemIdentifier: {item!r:.200}"
        if identifier not in known:
            return f"batchItemFailures names {identifier!r:.200}, which is not in the batch"
        failed.add(identifier)
    return failed


def _reasons(attempt: Attempt, failed: set[str]) -> list[str | None]:
    broken_groups: set[str] = set()
    reasons: list[str | None] = []
    for claim in attempt.claims:
        group = claim.invocation.group_key
        if claim.invocation.id in failed:
            reasons.append("the function returned this item in batchItemFailures")
            if group is not None:
                broken_groups.add(group)
        elif group is not None and group in broken_groups:
            reasons.append(
                f"an earlier item of its group {group!r} failed, and groups run in order"
            )
        else:
            reasons.append(None)
    return reasons


def _failure(outcome: Outcome, why: str) -> Outcome:
    return replace(
        outcome, word="error", result_json=None, error=ErrorRecord("BatchItemFailure", why)
    )
