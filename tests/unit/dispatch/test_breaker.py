"""The breaker's decisions: what opens it, what it lets through, what closes it."""

from __future__ import annotations

import pytest

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

POLICY = BreakerPolicy(deaths=3, first_s=10.0, max_s=60.0, jitter=0.0)


def after(*endings: tuple[str, str], breaker: Breaker = CLOSED, now: float = 100.0) -> Breaker:
    """Return the breaker after these (event, outcome) have ended, one attempt each."""
    for number, (event, word) in enumerate(endings):
        breaker = ended(breaker, f"a{number}", [event], word, POLICY, now, 0.0)
    return breaker


def tried(breaker: Breaker, event: str, word: str, now: float) -> Breaker:
    """Return the breaker after its trial has ended like this."""
    assert may_begin(breaker, now)
    half_open = began(reserved(breaker), "trial")
    assert not may_begin(half_open, now + 1000.0)
    return ended(half_open, "trial", [event], word, POLICY, now, 0.0)


@pytest.mark.parametrize("word", sorted(DEATHS))
def test_deaths_of_different_events_in_a_row_open_it(word: str) -> None:
    """Whatever it is that kills its sandboxes, it is not one event."""
    assert not after(("e1", word), ("e2", word)).is_open
    breaker = after(("e1", word), ("e2", word), ("e3", word))
    assert breaker.is_open
    assert (breaker.retry_at, breaker.word) == (110.0, word)


@pytest.mark.parametrize("word", ["crashed", "oom"])
def test_one_event_that_always_kills_its_sandbox_does_not_open_it(word: str) -> None:
    """It is the event that is bad: its attempts run out, and the others of the function go on."""
    assert not after(*[("bad", word)] * 100).is_open


def test_a_batch_that_always_holds_the_same_bad_event_counts_once() -> None:
    """Its other members change; what kills is the one that stays."""
    breaker = CLOSED
    for number in range(20):
        members = [f"good{number}", "bad"]
        breaker = ended(breaker, "a", members, "crashed", POLICY, 0.0, 0.0)
    assert not breaker.is_open


@pytest.mark.parametrize("word", ["init-error", "sandbox-failed"])
def test_one_event_opens_it_when_the_sandbox_died_before_the_event_came(word: str) -> None:
    """An import that fails fails for every event, so that one is enough to know."""
    assert after(*[("e1", word)] * 3).is_open


@pytest.mark.parametrize("word", sorted(OUTCOME_MEANINGS.keys() - DEATHS - SILENT))
def test_one_attempt_that_lives_to_its_end_breaks_the_row(word: str) -> None:
    """An error that the handler raised is a sandbox that worked."""
    assert after(("e1", "crashed"), ("e2", "crashed"), ("e3", word)) == CLOSED
    assert not after(
        ("e1", "crashed"), ("e2", "crashed"), ("e3", word), ("e4", "crashed"), ("e5", "crashed")
    ).is_open


@pytest.mark.parametrize("word", sorted(SILENT))
def test_what_somebody_else_ended_says_nothing(word: str) -> None:
    """Neither for the function nor against it."""
    breaker = after(("e1", "crashed"), ("e2", "crashed"))
    assert after(("e3", word), breaker=breaker) == breaker
    opened = after(("e3", "crashed"), breaker=breaker)
    again = tried(opened, "e4", word, 200.0)
    assert again.is_open
    assert may_begin(again, 200.0)  # The trial is free for another attempt at once.


def test_a_trial_that_ends_well_closes_it_and_forgets_everything() -> None:
    """The next row of deaths begins at nothing, and with the first pause."""
    assert tried(after(("e1", "oom"), ("e2", "oom"), ("e3", "oom")), "e4", "ok", 110.0) == CLOSED


def test_each_trial_that_dies_makes_the_pause_longer_up_to_its_bound() -> None:
    """So that a function that stays broken costs less and less."""
    breaker = after(("e1", "oom"), ("e2", "oom"), ("e3", "oom"))
    pauses = []
    for _ in range(5):
        now = breaker.retry_at or 0.0
        assert not may_begin(breaker, now - 0.1)
        breaker = tried(breaker, "e4", "crashed", now)
        pauses.append((breaker.retry_at or 0.0) - now)
    assert pauses == [20.0, 40.0, 60.0, 60.0, 60.0]
    assert breaker.opened_at == 100.0


def test_what_ran_already_when_it_opened_does_not_make_the_pause_longer() -> None:
    """Eight attempts that die in one moment are one news."""
    breaker = after(("e1", "oom"), ("e2", "oom"), ("e3", "oom"))
    assert after(("e4", "oom"), ("e5", "oom"), breaker=breaker, now=105.0) == breaker
    assert after(("e6", "ok"), breaker=breaker) == CLOSED


def test_a_trial_that_found_nothing_to_run_is_given_back() -> None:
    """With an empty queue the breaker stays open, and the next event is the trial."""
    breaker = after(("e1", "oom"), ("e2", "oom"), ("e3", "oom"))
    kept = reserved(breaker)
    assert not may_begin(kept, 200.0)
    assert released(kept) == breaker
    begun = began(kept, "a9")
    assert released(begun) == begun


def test_jitter_moves_the_pause_either_way() -> None:
    """Functions that died together of one cause do not come back together."""
    policy = BreakerPolicy(jitter=0.1)
    assert [policy.pause_s(1, noise) for noise in (-1.0, 0.0, 1.0)] == [9.0, 10.0, 11.0]
