"""The breaker under any order of endings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faasd.dispatch.breaker import (
    CLOSED,
    DEATHS,
    SILENT,
    Breaker,
    BreakerPolicy,
    began,
    ended,
    may_begin,
    released,
    reserved,
)
from faasd.model.outcome import OUTCOME_MEANINGS

POLICY = BreakerPolicy()
WORDS = st.sampled_from(sorted(OUTCOME_MEANINGS))
EVENTS = st.lists(st.sampled_from(["e1", "e2", "e3", "e4", "e5", "e6", "e7"]), min_size=1)
#: (what happens, the events, the outcome's word, seconds since the last step, noise)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ends", "trial ends"]),
        EVENTS,
        WORDS,
        st.floats(0.0, 2000.0),
        st.floats(-1.0, 1.0),
    )
)


def walk(steps: list[tuple[str, list[str], str, float, float]]) -> list[tuple[Breaker, float]]:
    """Return the breaker, and the time, after each step."""
    breaker, now, seen = CLOSED, 0.0, []
    for what, events, word, passed_s, noise in steps:
        now += passed_s
        attempt = "straggler"
        if what != "ends" and breaker.is_open and may_begin(breaker, now):
            assert released(reserved(breaker)) == breaker
            breaker, attempt = began(reserved(breaker), "trial"), "trial"
        breaker = ended(breaker, attempt, events, word, POLICY, now, noise)
        seen.append((breaker, now))
    return seen


@given(STEPS)
def test_it_never_holds_a_function_back_for_ever(
    steps: list[tuple[str, list[str], str, float, float]],
) -> None:
    """Whatever came before, a trial is let through within the longest pause."""
    for breaker, now in walk(steps):
        assert may_begin(breaker, now + POLICY.max_s * (1 + POLICY.jitter) + 0.001)


@given(STEPS)
def test_an_attempt_that_lived_leaves_it_closed_and_nothing_remembered(
    steps: list[tuple[str, list[str], str, float, float]],
) -> None:
    """One good ending is worth more than any row of bad ones."""
    for breaker, now in walk(steps):
        assert ended(breaker, "a", ["e"], "ok", POLICY, now, 0.0) == CLOSED


@given(STEPS)
def test_it_is_open_only_after_as_many_deaths_as_the_policy_says(
    steps: list[tuple[str, list[str], str, float, float]],
) -> None:
    """And what it remembers of events is bounded by them."""
    row = 0
    for (breaker, _), (_, _, word, _, _) in zip(walk(steps), steps, strict=True):
        row = row + 1 if word in DEATHS else row if word in SILENT else 0
        assert not breaker.is_open or row >= POLICY.deaths
        assert breaker.deaths <= POLICY.deaths


@given(st.lists(st.sampled_from(["crashed", "oom", "cancelled", "lost"])))
def test_one_event_alone_never_opens_it(words: list[str]) -> None:
    """However often it is tried: the others of its function must not wait for it."""
    breaker = CLOSED
    for word in words:
        breaker = ended(breaker, "a", ["bad"], word, POLICY, 0.0, 0.0)
    assert not breaker.is_open
