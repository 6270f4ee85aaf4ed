"""What is counted when something comes in or ends."""

from __future__ import annotations

import asyncio

import pytest

from faasd.clock import FakeClock
from faasd.dispatch import measures
from faasd.dispatch.measures import PEAK_WINDOW_S, Measures, watch_loop_lag
from faasd.dispatch.running import Ended
from faasd.interfaces import Settled
from faasd.metrics import Registry, render
from faasd.model.attempt import Attempt
from faasd.model.event import encode_json
from faasd.model.function import Function
from faasd.model.invocation import Acceptance
from faasd.model.outcome import Outcome, Usage
from tests.conformance.making import an_invocation
from tests.unit.dispatch.test_conclude import attempt

FUNCTION = Function("f")


def lines(registry: Registry) -> list[str]:
    return [line for line in render(registry).splitlines() if not line.startswith("#")]


def ended(word: str, *states: str, of: Attempt | None = None, **usage: object) -> Ended:
    outcome = Outcome(word, usage=Usage(**usage))  # type: ignore[arg-type]
    settled = tuple(Settled(f"i{number}", state) for number, state in enumerate(states))
    return Ended(of or attempt(FUNCTION), "q", outcome, settled)


def test_a_record_of_many_missed_ticks_counts_all_of_them() -> None:
    """After a week without power one record stands for thousands of ticks."""
    registry = Registry()
    measures = Measures(registry, FakeClock())
    many = an_invocation(
        source="minutely",
        trigger="cron",
        skip_reason="missed",
        scheduled_for=1.0,
        event_json=encode_json({"missed": 4999}),
    )
    measures.accepted([many], [Acceptance("x", "skipped", "missed")])
    overlapping = an_invocation(source="minutely", trigger="cron", scheduled_for=2.0)
    measures.accepted([overlapping], [Acceptance("y", "skipped", "skipped-overlap")])
    found = lines(registry)
    assert 'faasd_ticks_missed_total{schedule="minutely",reason="missed"} 5000' in found
    assert 'faasd_ticks_missed_total{schedule="minutely",reason="skipped-overlap"} 1' in found
    skipped = 'faasd_invocations_skipped_total{function="send",trigger="cron",reason="missed"} 1'
    assert skipped in found


def test_the_members_of_a_batch_are_counted_by_what_became_of_each() -> None:
    """A batch whose handler returned may still hold one that failed for good."""
    registry = Registry()
    Measures(registry, FakeClock()).ended(ended("ok", "done", "done", "waiting", "dead"))
    found = lines(registry)
    assert 'faasd_attempts_total{function="f",outcome="ok"} 1' in found
    assert 'faasd_invocations_total{function="f",outcome="ok"} 2' in found
    assert 'faasd_invocations_total{function="f",outcome="error"} 1' in found
    assert 'faasd_retries_total{function="f"} 1' in found
    assert 'faasd_dead_letters_total{function="f"} 1' in found


def test_what_a_stopping_daemon_gives_back_is_no_retry() -> None:
    """Nothing went wrong, and a graph of retries must not show each restart."""
    registry = Registry()
    Measures(registry, FakeClock()).ended(ended("drained", "waiting"))
    assert 'faasd_retries_total{function="f"} 0' in lines(registry)


def test_what_was_lost_to_another_is_not_counted_as_settled() -> None:
    """Whoever holds the lease now will count it."""
    registry = Registry()
    lost = Settled("i1", "dead", lease_lost=True)
    Measures(registry, FakeClock()).ended(Ended(attempt(FUNCTION), "q", Outcome("error"), (lost,)))
    assert 'faasd_dead_letters_total{function="f"} 0' in lines(registry)


def test_a_memory_peak_is_shown_until_the_window_after_it_is_over() -> None:
    """A scrape every minute must see the one attempt that came near its limit, and not for ever."""
    clock = FakeClock()
    measures = Measures(Registry(), clock)

    def peak() -> list[str]:
        look = Registry()
        measures.look(look, [FUNCTION], [])
        return lines(look)

    assert peak() == []
    clock.advance(PEAK_WINDOW_S - clock.monotonic() % PEAK_WINDOW_S)
    measures.ended(ended("ok", "done", memory_peak_bytes=900))
    measures.ended(ended("ok", "done", memory_peak_bytes=100))
    assert peak() == ['faasd_memory_peak_bytes{function="f"} 900']
    clock.advance(PEAK_WINDOW_S)
    assert peak() == ['faasd_memory_peak_bytes{function="f"} 900']
    measures.ended(ended("ok", "done", memory_peak_bytes=200))
    clock.advance(PEAK_WINDOW_S)
    assert peak() == ['faasd_memory_peak_bytes{function="f"} 200']
    clock.advance(PEAK_WINDOW_S)
    assert peak() == []


def test_what_alerts_stand_on_is_there_before_it_happens() -> None:
    """Prometheus sees no increase in a series that begins with one."""
    registry = Registry()
    Measures(registry, FakeClock()).look(Registry(), [FUNCTION], ["nightly"])
    found = lines(registry)
    assert 'faasd_dead_letters_total{function="f"} 0' in found
    assert 'faasd_ticks_missed_total{schedule="nightly",reason="missed"} 0' in found


async def test_a_loop_that_was_held_up_shows_as_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Late ticks and slow answers of a busy daemon have this one cause."""
    registry, clock = Registry(), FakeClock()
    monkeypatch.setattr(measures, "LAG_INTERVAL_S", 0.0)
    task = asyncio.create_task(watch_loop_lag(registry, clock))
    await asyncio.sleep(0)
    clock.advance(0.02)  # As if something had held the loop for so long.
    while "faasd_loop_lag_seconds_count 1" not in lines(registry):
        await asyncio.sleep(0)
    task.cancel()
    assert 'faasd_loop_lag_seconds_bucket{le="0.01"} 0' in lines(registry)
