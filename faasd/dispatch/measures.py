"""Counting what happens to invocations: at the door, and when an attempt has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from faasd.clock import Clock
from faasd.dispatch.running import Ended
from faasd.metrics import OTHER, SERIES_MAX, Registry
from faasd.model.attempt import Attempt
from faasd.model.event import decode_json
from faasd.model.function import Function
from faasd.model.invocation import FINAL_STATES, Acceptance, NewInvocation
from faasd.model.outcome import Outcome

__all__ = ["Measures", "measured_commits", "watch_loop_lag"]

PEAK_WINDOW_S = 300.0
LAG_INTERVAL_S = 5.0


class Measures:
    """Feeds the daemon's metrics. Every method is cheap and never raises for what a handler did."""

    def __init__(self, metrics: Registry, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._functions: dict[str, _FunctionMeasures] = {}

    def accepted(self, new: Sequence[NewInvocation], acceptances: Sequence[Acceptance]) -> None:
        """Count what became of events at the door."""
        accepted: dict[tuple[str, str], int] = {}  # Many at once are mostly of one kind.
        for one, acceptance in zip(new, acceptances, strict=True):
            if acceptance.state in ("skipped", "duplicate"):
                word = "duplicate" if acceptance.state == "duplicate" else acceptance.reason
                self._skipped(one, word or "skipped")
            else:
                kind = (one.function, one.trigger)
                accepted[kind] = accepted.get(kind, 0) + 1
        for kind, count in accepted.items():
            self._metrics.add("faasd_invocations_accepted_total", *kind, amount=count)

    def enqueued_offline(
        self, tally: Mapping[tuple[str, str], int], consumer_of: Callable[[str], Function | None]
    ) -> None:
        """Count what came while no daemon ran: queue and reason why it will not run, "" where it will."""
        for (queue, reason), count in tally.items():
            function = consumer_of(queue)
            if function is None:  # As with any event whose function is gone.
                continue
            labels = (function.name, "queue", *([reason] if reason else []))
            word = "skipped" if reason else "accepted"
            self._metrics.add(f"faasd_invocations_{word}_total", *labels, amount=count)

    def ended(self, ended: Ended) -> None:
        """Count one attempt, and what became of its invocations."""
        if ended.attempt.is_sync:  # A direct invoke came in by no queue.
            for claim in ended.attempt.claims:
                trigger = claim.invocation.trigger
                name = "faasd_invocations_accepted_total"
                self._metrics.add(name, ended.attempt.function.name, trigger)
        if ended.outcome is not None:
            measures = self._of(ended.attempt.function)
            measures.attempt_ended(ended.attempt, ended.outcome, self._clock.monotonic())
        for settled in ended.settled:
            if not settled.lease_lost:
                self._settled(ended.attempt.function.name, settled.state, ended.outcome)

    def look(
        self, metrics: Registry, functions: Iterable[Function], schedules: Iterable[str]
    ) -> None:
        """Add to one look how high attempts' memory has come lately.

        What an alert may stand on is made before it happens, with zero: Prometheus sees no increase in a
        series that begins with one.
        """
        for function in functions:
            self._of(function)
        for schedule in schedules:
            for reason in ("missed", "skipped-overlap"):
                self._metrics.add("faasd_ticks_missed_total", schedule, reason, amount=0)
        now = self._clock.monotonic()
        for measures in self._functions.values():
            peak = measures.memory_peak.value(now)
            if peak is not None:
                metrics.set("faasd_memory_peak_bytes", peak, measures.name)

    def expired(self, expired: Iterable[tuple[str, str]]) -> None:
        """Count invocations, by function and trigger, that waited longer than they may."""
        for function, trigger in expired:
            self._metrics.add("faasd_invocations_skipped_total", function, trigger, "expired")

    def lost(self, function: str) -> None:
        """Count an attempt whose daemon or host died under it."""
        self._metrics.add("faasd_attempts_total", function, "lost")

    def _skipped(self, new: NewInvocation, reason: str) -> None:
        name = "faasd_invocations_skipped_total"
        self._metrics.add(name, new.function, new.trigger, reason)
        if new.scheduled_for is not None and reason in ("missed", "skipped-overlap"):
            # One record may stand for many ticks of a long absence.
            more = decode_json(new.event_json).get("missed", 0) if reason == "missed" else 0
            self._metrics.add("faasd_ticks_missed_total", new.source, reason, amount=1 + more)

    def _settled(self, function: str, state: str, outcome: Outcome | None) -> None:
        if state == "waiting":
            if outcome is not None and outcome.word != "drained":
                self._metrics.add("faasd_retries_total", function)
            return
        word = outcome.word if outcome is not None else "lost"
        if state == "dead" and word == "ok":
            word = "error"  # It failed by itself in a batch that did not.
        if state in FINAL_STATES:
            self._metrics.add("faasd_invocations_total", function, word)
        if state == "dead":
            self._metrics.add("faasd_dead_letters_total", function)

    def _of(self, function: Function) -> _FunctionMeasures:
        found = self._functions.get(function.name)
        if found is None:
            # Functions come and go with reloads; their number is bounded like the series'.
            name = function.name if len(self._functions) < SERIES_MAX else OTHER
            found = self._functions.setdefault(name, _FunctionMeasures(self._metrics, name))
        return found


class _FunctionMeasures:
    """The series of one function, looked up once."""

    def __init__(self, metrics: Registry, name: str) -> None:
        self.name = name
        self.memory_peak = _RecentPeak()
        self._duration = metrics.family("faasd_attempt_duration_seconds").histogram(name)
        self._wait = metrics.family("faasd_queue_wait_seconds").histogram(name)
        self._byte_s = metrics.family("faasd_memory_byte_seconds_total").cell(name)
        self._cpu = metrics.family("faasd_cpu_seconds_total").cell(name)
        self._cold = metrics.family("faasd_cold_starts_total").cell(name)
        self._init = metrics.family("faasd_init_seconds_total").cell(name)
        self._attempts = metrics.family("faasd_attempts_total")
        for family in ("faasd_dead_letters_total", "faasd_retries_total"):
            metrics.add(family, name, amount=0)
        for word in ("ok", "error", "sandbox-failed"):
            self._attempts.add(name, word, amount=0)

    def attempt_ended(self, attempt: Attempt, outcome: Outcome, now: float) -> None:
        """Count one attempt."""
        usage = outcome.usage
        self._attempts.cell(self.name, outcome.word).value += 1
        self._duration.observe(usage.wall_s)
        self._byte_s.value += attempt.function.limits.memory_bytes * usage.wall_s
        if not attempt.is_sync:
            for claim in attempt.claims:
                due_at = max(claim.invocation.due_at, claim.invocation.created_at)
                self._wait.observe(max(0.0, attempt.started_at - due_at))
        if usage.cpu_s is not None:
            self._cpu.value += usage.cpu_s
        if usage.init_s is not None:
            self._cold.value += 1
            self._init.value += usage.init_s
        if usage.memory_peak_bytes is not None:
            self.memory_peak.add(usage.memory_peak_bytes, now)


class _RecentPeak:
    """The highest value of this window and the one before: a scrape every minute misses no peak."""

    def __init__(self) -> None:
        self._window = -1
        self._now: int | None = None
        self._before: int | None = None

    def add(self, value: int, now: float) -> None:
        self._turn(now)
        self._now = value if self._now is None else max(self._now, value)

    def value(self, now: float) -> int | None:
        self._turn(now)
        return max((one for one in (self._now, self._before) if one is not None), default=None)

    def _turn(self, now: float) -> None:
        window = int(now // PEAK_WINDOW_S)
        if window != self._window:
            self._before = self._now if window == self._window + 1 else None
            self._now, self._window = None, window


def measured_commits(metrics: Registry) -> Callable[[float, int, bool], None]:
    """Return what a store calls after each group of changes; it may be called on one other thread."""
    took = metrics.family("faasd_store_commit_seconds").histogram()
    works = metrics.family("faasd_store_works_total").cell()
    failures = metrics.family("faasd_store_failures_total").cell()

    def heard(took_s: float, count: int, failed: bool) -> None:
        if failed:
            failures.value += 1
        else:
            took.observe(took_s)
            works.value += count

    return heard


async def watch_loop_lag(metrics: Registry, clock: Clock) -> None:
    """Measure, every few seconds until cancelled, how late the event loop comes to what is due."""
    lag = metrics.family("faasd_loop_lag_seconds").histogram()
    while True:
        # Not the loop's own time, which is in whole milliseconds and of the begin of its turn.
        due_at = clock.monotonic() + LAG_INTERVAL_S
        await asyncio.sleep(LAG_INTERVAL_S)
        lag.observe(max(0.0, clock.monotonic() - due_at))
