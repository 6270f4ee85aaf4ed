"""The invocation: its states, the one table of legal transitions, and what it carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from faasd.model.outcome import ErrorRecord
from faasd.model.retry import QUARANTINED, Spent

__all__ = [
    "FINAL_STATES",
    "STATE_MEANINGS",
    "TRANSITIONS",
    "Acceptance",
    "Invocation",
    "NewEvent",
    "NewInvocation",
    "may_become",
]

STATE_MEANINGS = {
    "waiting": "Committed, and due now or at `due_at`; also between two attempts.",
    "running": "Claimed: an attempt holds its lease.",
    "done": "Finished: it succeeded, or was a direct invoke, whose caller has the error.",
    "dead": "A dead letter: its attempts are used up and it is kept for people.",
    "cancelled": "Somebody, or the overlap rule `replace`, cancelled it.",
    "skipped": "It ended without an attempt; `outcome` says why.",
    "dropped": "A dead letter that somebody has dropped.",
}

#: (from, to): what makes it so. The only legal moves; None is where an invocation begins.
TRANSITIONS = {
    (None, "waiting"): "enqueue",
    (None, "running"): "begin (direct invoke)",
    (None, "skipped"): "never runs: filtered, missed, overlap, duplicate",
    ("waiting", "running"): "claim",
    ("waiting", "skipped"): "expire",
    ("waiting", "cancelled"): "cancel, replace",
    ("waiting", "dead"): "lost too often",
    ("running", "waiting"): "retry, release (lost, drained, sandbox-failed, claimed ahead in vain)",
    ("running", "done"): "finish",
    ("running", "dead"): "attempts used up",
    ("running", "cancelled"): "cancel, replace",
    ("dead", "waiting"): "redrive",
    ("dead", "dropped"): "drop",
}
FINAL_STATES = frozenset({"done", "dead", "cancelled", "skipped", "dropped"})


def may_become(state: str | None, after: str) -> bool:
    """Whether the transition table allows this move."""
    return (state, after) in TRANSITIONS


@dataclass
class NewEvent:
    """One happening, as a trigger or a client hands it to intake.

    Nobody changes one, but it is not frozen: a frozen dataclass sets each of its twenty fields by a
    call, which was a third of what accepting an event costs.

    `body` is what the handler will receive as its event: any JSON value, in the native envelope
    (`event_body` in model/event.py) except for a direct invoke, which passes its payload as it is.
    `function` may be empty: then it is whichever function consumes `queue`. `queue` is empty only
    for a direct invoke with a waiting caller, which waits in none.
    """

    function: str
    queue: str
    trigger: str  # cron, every, at, files, queue, invoke, function, replay
    source: str  # The trigger's name; for a direct invoke, who asked.
    body: Any
    id: str | None = None  # Given by the sender when it must be idempotent, else made by intake.
    due_at: float | None = None  # None: now.
    expires_s: float | None = None  # None: the function's own setting.
    priority: int = 0  # Higher first.
    group_key: str | None = (
        None  # Invocations of one group run in order, `key_concurrency` at a time.
    )
    dedup_key: str | None = None
    dedup_window_s: float = 300.0
    origin_key: str | None = None  # The same tick or file is accepted once, across crashes.
    overlap: str = "allow"  # For schedules: allow, skip, queue, replace.
    scheduled_for: float | None = None
    parent_id: str | None = None  # The invocation that caused this one.
    filter: tuple[Any, ...] = ()  # Event patterns, any of which must match; empty matches all.
    skip_reason: str | None = None  # Record only, for this reason (a key of REASON_MEANINGS).
    skip_detail: str | None = None


@dataclass
class NewInvocation:
    """What intake hands to the store: known, bounded, ready to be committed. Not frozen, as NewEvent.

    With `skip_reason` (a key of REASON_MEANINGS) it is recorded in state `skipped` and never runs.
    """

    id: str
    function: str
    queue: str
    trigger: str
    source: str
    event_json: str
    created_at: float
    due_at: float
    expires_at: float | None = None
    priority: int = 0
    group_key: str | None = None
    dedup_key: str | None = None
    dedup_window_s: float = 300.0
    origin_key: str | None = None
    overlap: str = "allow"
    scheduled_for: float | None = None
    parent_id: str | None = None
    skip_reason: str | None = None
    skip_detail: str | None = None


@dataclass(frozen=True)
class Acceptance:
    """What became of an event at the door.

    `state` is `waiting`, `skipped` or, when the same id or origin key came before, `duplicate`;
    `id` is then that of the invocation accepted first. `replaced` are ids of running invocations
    that the overlap rule `replace` has cancelled and whose sandboxes must be stopped.
    """

    id: str
    state: str
    reason: str | None = None
    replaced: tuple[str, ...] = ()


@dataclass
class Invocation:
    """The durable promise to run one function for one event, as the store holds it. Not frozen, as NewEvent."""

    id: str
    seq: int  # Order of acceptance.
    function: str
    queue: str
    trigger: str
    source: str
    event_json: str
    state: str
    outcome: str | None  # Of the last attempt, or why it never ran.
    priority: int
    created_at: float
    due_at: float
    expires_at: float | None
    group_key: str | None
    scheduled_for: float | None
    parent_id: str | None
    spent: Spent
    attempts: int  # All that were begun, charged or not.
    started_at: float | None  # Of the last attempt.
    ended_at: float | None
    error: ErrorRecord | None
    result_json: str | None
    reason: str | None  # A sentence: why it is dead, skipped or cancelled.

    @property
    def is_quarantined(self) -> bool:
        """Whether it is, or was until it was dropped, a dead letter because it killed its sandboxes."""
        return self.state in ("dead", "dropped") and (self.reason or "").startswith(QUARANTINED)
