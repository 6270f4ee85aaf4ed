"""Retry: bounds that hold for every policy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faasd.model.outcome import CHARGED, KILLED, UNCHARGED, Outcome
from faasd.model.retry import (
    DRAINED_MAX,
    LOST_MAX,
    QUARANTINE_DEATHS,
    QUARANTINED,
    SANDBOX_FAILED_MAX,
    DeadLetter,
    Done,
    RetryAt,
    RetryPolicy,
    Spent,
    decide,
)

POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 50),
    backoff=st.sampled_from(["fixed", "linear", "exponential"]),
    first_s=st.floats(0, 3600),
    max_s=st.floats(0, 86400),
    jitter=st.floats(0, 1),
)
NOISE = st.floats(-1, 1)
FAILURES = st.lists(st.sampled_from(sorted(CHARGED | UNCHARGED)), min_size=1, max_size=300)


@given(POLICIES, st.integers(1, 1000), NOISE)
def test_a_delay_is_never_negative_and_never_above_max_and_jitter(
    policy: RetryPolicy, spent: int, noise: float
) -> None:
    """However many attempts were spent: no overflow, no time in the past."""
    delay_s = policy.delay_s(spent, noise)
    assert 0 <= delay_s <= policy.max_s * (1 + policy.jitter) + 1e-6


@given(POLICIES, FAILURES, NOISE)
def test_every_run_of_failures_ends_within_the_caps(
    policy: RetryPolicy, words: list[str], noise: float
) -> None:
    """Charged outcomes end at `attempts`, each uncharged kind at its own cap, and never before."""
    spent = Spent()
    for word in words:
        spent = spent.plus(word)
        verdict = decide(policy, spent, Outcome(word), 1000.0, noise)
        is_used_up = (
            (word in CHARGED and spent.attempts >= policy.attempts)
            or (word == "lost" and spent.lost >= LOST_MAX)
            or (word == "sandbox-failed" and spent.sandbox_failed >= SANDBOX_FAILED_MAX)
            or (word == "drained" and spent.drained >= DRAINED_MAX)
            or (word in KILLED and spent.died >= QUARANTINE_DEATHS)
        )
        assert isinstance(verdict, DeadLetter) == is_used_up
        if isinstance(verdict, DeadLetter):
            killed = word in KILLED and spent.died > 1
            quarantined = word in ("lost", "sandbox-failed") or (
                killed and spent.died in (QUARANTINE_DEATHS, spent.attempts)
            )
            assert verdict.reason.startswith(QUARANTINED) == quarantined
            return
        assert isinstance(verdict, RetryAt)
        assert verdict.at >= 1000.0
    assert spent.attempts < policy.attempts


@given(POLICIES, st.builds(Spent, st.integers(0, 99), st.integers(0, 99)), NOISE)
def test_success_and_cancellation_are_final(
    policy: RetryPolicy, spent: Spent, noise: float
) -> None:
    """Whatever came before."""
    for word in ("ok", "cancelled"):
        assert decide(policy, spent.plus(word), Outcome(word), 0.0, noise) == Done()
