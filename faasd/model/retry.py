"""What becomes of an invocation after an attempt: pure policy, no clock, no store."""

from __future__ import annotations

from dataclasses import dataclass

from faasd.model.outcome import CHARGED, KILLED, Outcome

__all__ = [
    "DRAINED_MAX",
    "LOST_MAX",
    "QUARANTINED",
    "QUARANTINE_DEATHS",
    "SANDBOX_FAILED_MAX",
    "DeadLetter",
    "Done",
    "RetryAt",
    "RetryPolicy",
    "Spent",
    "Verdict",
    "decide",
]

#: Uncharged outcomes have caps of their own, so that a crash loop still ends in a dead letter.
LOST_MAX = 5
SANDBOX_FAILED_MAX = 10
DRAINED_MAX = 100
#: An event that has killed so many sandboxes is put aside, whatever attempts the function has left for it.
QUARANTINE_DEATHS = 5
#: How the reason of such a dead letter begins.
QUARANTINED = "quarantined"


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how late a failed invocation is tried again.

    The delay before attempt n + 1 is `first_s` (fixed), `first_s * n` (linear) or
    `first_s * 2 ** (n - 1)` (exponential), at most `max_s`, moved by up to `jitter` of itself either way.
    """

    attempts: int = 3
    backoff: str = "exponential"  # "fixed", "linear" or "exponential".
    first_s: float = 10.0
    max_s: float = 600.0
    jitter: float = 0.1

    def delay_s(self, attempts_spent: int, noise: float) -> float:
        """Return the wait after the given number of charged attempts; `noise` is in [-1, 1]."""
        if self.backoff == "fixed":
            delay = self.first_s
        elif self.backoff == "linear":
            delay = self.first_s * attempts_spent
        else:
            delay = self.first_s * 2.0 ** min(attempts_spent - 1, 60)
        return min(delay, self.max_s) * (1.0 + self.jitter * noise)


@dataclass
class Spent:
    """Counts of an invocation's attempts by what they cost it, the one just ended included. Not frozen, as NewEvent."""

    attempts: int = 0  # Charged ones.
    lost: int = 0
    sandbox_failed: int = 0
    drained: int = 0
    died: int = 0  # Charged ones in which the sandbox died: crashed and oom.

    def plus(self, outcome_word: str) -> Spent:
        """Return the counts after one more attempt with this outcome."""
        return Spent(
            self.attempts + (outcome_word in CHARGED or outcome_word == "ok"),
            self.lost + (outcome_word == "lost"),
            self.sandbox_failed + (outcome_word == "sandbox-failed"),
            self.drained + (outcome_word == "drained"),
            self.died + (outcome_word in KILLED),
        )


@dataclass(frozen=True)
class Done:
    """Nothing more will be tried."""


@dataclass(frozen=True)
class RetryAt:
    """Back to waiting, due at this time."""

    at: float


@dataclass(frozen=True)
class DeadLetter:
    """The attempts are used up; kept for people, with the reason."""

    reason: str


Verdict = (
    Done,
    RetryAt,
    DeadLetter,
)  # For isinstance; annotations say `Done | RetryAt | DeadLetter`.


def decide(
    policy: RetryPolicy, spent: Spent, outcome: Outcome, now: float, noise: float
) -> Done | RetryAt | DeadLetter:
    """Say what becomes of an invocation after one attempt.

    `spent` counts the attempt just ended. `noise` in [-1, 1] is the jitter's random number.
    """
    if outcome.word in ("ok", "cancelled"):
        return Done()
    if outcome.word == "lost":  # The handler may be what killed the host, so this is capped too.
        reason = f"{QUARANTINED}: the daemon or host died under it"
        return _uncharged(spent.lost, LOST_MAX, now, reason)
    if outcome.word == "drained":
        return _uncharged(spent.drained, DRAINED_MAX, now, "it was drained")
    if outcome.word == "sandbox-failed":
        delay = min(2.0 ** min(spent.sandbox_failed - 1, 10), 60.0)
        reason = f"{QUARANTINED}: its sandbox could not be made or kept"
        return _uncharged(spent.sandbox_failed, SANDBOX_FAILED_MAX, now + delay, reason)
    if spent.died >= QUARANTINE_DEATHS or 2 <= spent.died == spent.attempts >= policy.attempts:
        reason = (
            f"{QUARANTINED}: {spent.died} of its {spent.attempts} attempts killed their sandbox"
        )
        return DeadLetter(f"{reason}; the last ended as {outcome.word}")
    if spent.attempts >= policy.attempts:
        times = "attempt" if spent.attempts == 1 else "attempts"
        return DeadLetter(f"{spent.attempts} {times} used up; the last ended as {outcome.word}")
    return RetryAt(now + policy.delay_s(spent.attempts, noise))


def _uncharged(count: int, count_max: int, at: float, what: str) -> RetryAt | DeadLetter:
    if count >= count_max:
        return DeadLetter(f"{what} {count} times")
    return RetryAt(at)
