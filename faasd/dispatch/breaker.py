"""The crash-loop breaker's decisions: pure, no clock, no store. Why they are so: docs/decisions/breaker.md.

A function whose sandboxes die one after another is paused, and tried again with one attempt after
a pause that grows. One event that kills its sandbox whenever it runs is not that: it counts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from faasd.model.outcome import KILLED

__all__ = [
    "CLOSED",
    "DEATHS",
    "SILENT",
    "Breaker",
    "BreakerPolicy",
    "began",
    "ended",
    "may_begin",
    "released",
    "reserved",
]

#: Outcomes in which the sandbox died, or never lived, before the event reached the handler.
_DEATHS_BEFORE_EVENT = frozenset({"init-error", "sandbox-failed"})
DEATHS = KILLED | _DEATHS_BEFORE_EVENT
#: Outcomes that say nothing about the function: somebody else ended the attempt.
SILENT = frozenset({"lost", "drained", "cancelled"})
#: Who a trial is kept for until its attempt begins and has an id.
_RESERVED = ""


@dataclass(frozen=True)
class BreakerPolicy:
    """How many deaths in a row open the breaker, and how long it stays open.

    The pause after opening n in a row is `first_s * 2 ** (n - 1)`, at most `max_s`, moved by up to
    `jitter` of itself either way, so that functions which died together do not return together.
    """

    deaths: int = 5
    first_s: float = 10.0
    max_s: float = 600.0
    jitter: float = 0.1

    def pause_s(self, openings: int, noise: float) -> float:
        """Return the pause after so many openings in a row; `noise` is in [-1, 1]."""
        pause = self.first_s * 2.0 ** min(openings - 1, 60)
        return min(pause, self.max_s) * (1.0 + self.jitter * noise)


@dataclass(frozen=True)
class Breaker:
    """One function's breaker: closed while `retry_at` is None, half-open while it has a `trial`.

    Times are monotonic seconds. `deaths` counts what the policy counts, not every attempt that died.
    """

    deaths: int = 0
    events: frozenset[str] = frozenset()  # Of the deaths in this row; each counts once.
    openings: int = 0  # In a row, without a closing between them.
    opened_at: float | None = None  # By the first opening of the row.
    retry_at: float | None = None
    trial: str | None = None  # The id of the one attempt that is let through.
    word: str | None = None  # How the last one died.

    @property
    def is_open(self) -> bool:
        """Whether the function is held back; at most one attempt may try."""
        return self.retry_at is not None


CLOSED = Breaker()


def may_begin(breaker: Breaker, now: float) -> bool:
    """Whether an attempt may begin now; with an open breaker it must be reserved first, as its trial."""
    if breaker.retry_at is None:
        return True
    return breaker.trial is None and now >= breaker.retry_at


def reserved(breaker: Breaker) -> Breaker:
    """Keep the trial for whoever asked `may_begin`, until it begins or is released."""
    return replace(breaker, trial=_RESERVED) if breaker.is_open else breaker


def released(breaker: Breaker) -> Breaker:
    """Give back a trial that found nothing to run."""
    return replace(breaker, trial=None) if breaker.trial == _RESERVED else breaker


def began(breaker: Breaker, attempt_id: str) -> Breaker:
    """Take note of an attempt: the first one after a reservation is the trial."""
    return replace(breaker, trial=attempt_id) if breaker.trial == _RESERVED else breaker


def ended(
    breaker: Breaker,
    attempt_id: str,
    event_ids: Sequence[str],
    word: str,
    policy: BreakerPolicy,
    now: float,
    noise: float,
) -> Breaker:
    """Return the breaker after an attempt at these events has ended with this outcome's word."""
    is_trial = breaker.trial == attempt_id
    if word in SILENT:
        return replace(breaker, trial=None) if is_trial else breaker
    if word not in DEATHS:
        return CLOSED  # It lived to its end, whatever the handler made of it.
    if breaker.is_open:
        # What was running already when it opened tells nothing new by dying.
        return _opened(breaker, word, policy, now, noise) if is_trial else breaker
    counts = word in _DEATHS_BEFORE_EVENT or breaker.events.isdisjoint(event_ids)
    breaker = replace(
        breaker,
        deaths=breaker.deaths + counts,
        events=breaker.events.union(event_ids if word in KILLED else ()),
        word=word,
    )
    return breaker if breaker.deaths < policy.deaths else _opened(breaker, word, policy, now, noise)


def _opened(
    breaker: Breaker, word: str, policy: BreakerPolicy, now: float, noise: float
) -> Breaker:
    openings = breaker.openings + 1
    return replace(
        breaker,
        openings=openings,
        opened_at=now if breaker.opened_at is None else breaker.opened_at,
        retry_at=now + policy.pause_s(openings, noise),
        trial=None,
        events=frozenset(),
        word=word,
    )
