"""What becomes of fire times that have passed: which still run, which are recorded as missed. Pure.

Every fire time in (seen_until, now] is in exactly one decision: a `Run`, or inside one `Missed`.
The work is bounded however long the downtime and however short the interval were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from faasd.clock import to_iso
from faasd.model.trigger import ScheduleTrigger
from faasd.model.units import format_duration
from faasd.triggers.fire_times import FireTimes

__all__ = [
    "CATCH_UP_MAX",
    "ON_TIME_S",
    "RECORDS_MAX",
    "STAGGER_S",
    "Missed",
    "Run",
    "decide",
    "record_paused",
    "record_unseen",
]

#: A tick that is no later than this is on time: a short stall or a restart is no misfire.
ON_TIME_S = 10.0
#: The most ticks that one look runs; `catch_up = "all"` keeps the newest ones.
CATCH_UP_MAX = 1000
#: Up to this many missed ticks have a record each; more are summarised in one record per reason.
RECORDS_MAX = 20
#: Catch-up runs start spread over this long, so that a boot does not start everything at once.
STAGGER_S = 10.0

_Reason = Callable[[float], str | None]


@dataclass(frozen=True)
class Run:
    """One fire time that runs. `missed` counts the fire times before it that were left out."""

    at: float
    missed: int = 0
    due_at: float | None = None  # Not before this; None: now. Only a catch-up run waits.

    @property
    def is_catch_up(self) -> bool:
        """Whether it runs late, by the rule `catch_up`."""
        return self.due_at is not None


@dataclass(frozen=True)
class Missed:
    """Fire times that never run: `count` of them from `first_at` to `last_at`, and why."""

    first_at: float
    last_at: float
    count: int
    reason: str


def decide(
    trigger: ScheduleTrigger, times: FireTimes, seen_until: float, now: float
) -> list[Run | Missed]:
    """Decide about every fire time in (seen_until, now], oldest first."""
    ticks = _listed(trigger, times, seen_until, now)
    if not ticks:
        return []
    reason_of = _reasons(trigger, ticks[-1], now)
    older_until = _before(ticks[0])
    missed = (
        _older(trigger, times, seen_until, older_until, now) if seen_until < older_until else []
    )
    missed += [Missed(at, at, 1, reason) for at in ticks if (reason := reason_of(at))]
    missed = _bounded(missed)
    kept = [at for at in ticks if reason_of(at) is None]
    spread_s = _share(trigger.name) * STAGGER_S
    left_out = sum(record.count for record in missed)
    decisions: list[Run | Missed] = [*missed]
    for at in kept:
        # Missed ticks are always older than the first that runs: being late is what loses them.
        due_at = now + spread_s if now - at > ON_TIME_S else None
        decisions.append(Run(at, left_out, due_at))
        left_out = 0
    return decisions


def record_paused(times: FireTimes, seen_until: float, now: float) -> list[Missed]:
    """Record every fire time in (seen_until, now] as missed, because the schedule was paused."""
    return _all_missed(times, seen_until, now, "the schedule was paused")


def record_unseen(times: FireTimes, now: float) -> list[Missed]:
    """Record the time of an `at` schedule that had passed before the schedule was first seen."""
    at = times.last_at_or_before(now)
    if at is None or now - at <= ON_TIME_S:
        return []
    return [Missed(at, at, 1, "its time had passed when the schedule was first seen")]


def _listed(
    trigger: ScheduleTrigger, times: FireTimes, seen_until: float, now: float
) -> list[float]:
    """Return the ticks that may run; all older ones are missed, and are only counted."""
    if trigger.catch_up == "all":
        return times.newest(seen_until, now, CATCH_UP_MAX)
    on_time = times.newest(max(seen_until, _before(now - ON_TIME_S)), now, CATCH_UP_MAX)
    return on_time or times.newest(seen_until, now, 1)


def _reasons(trigger: ScheduleTrigger, newest_at: float, now: float) -> _Reason:
    """Return the rule that says why a fire time does not run, or None when it does."""

    def reason_of(at: float) -> str | None:
        late_s = now - at
        deadline_s = trigger.start_deadline_s
        if deadline_s is not None and late_s > deadline_s:
            return f"it was later than its start_deadline of {format_duration(deadline_s)}"
        if late_s <= ON_TIME_S:
            return None
        if trigger.end is not None and now > trigger.end:
            return f"the schedule ended at {to_iso(trigger.end)} before it could be caught up"
        if trigger.catch_up == "skip":
            return 'it had passed unseen, and catch_up is "skip"'
        if late_s > trigger.catch_up_window_s:
            window = format_duration(trigger.catch_up_window_s)
            return f"it was older than the catch_up_window of {window}"
        if trigger.catch_up == "latest" and at != newest_at:
            return 'a newer tick runs in its place, because catch_up is "latest"'
        return None

    return reason_of


def _older(
    trigger: ScheduleTrigger, times: FireTimes, after: float, until: float, now: float
) -> list[Missed]:
    """Record the ticks in (after, until], all older than the listed ones, cut where the reason changes."""
    reason_of = _reasons(trigger, now, now)  # None of these is the newest tick.
    limits = [trigger.catch_up_window_s]
    if trigger.start_deadline_s is not None:
        limits.append(trigger.start_deadline_s)
    # A tick exactly at a limit is still inside it, so the cut lies just before.
    cuts = sorted({max(after, min(until, _before(now - limit))) for limit in limits} | {until})
    records: list[Missed] = []
    for cut in cuts:
        last_at = times.last_at_or_before(cut)
        if last_at is not None and last_at > after:
            reason = reason_of(last_at) or f"only the newest {CATCH_UP_MAX} ticks are caught up"
            records += _all_missed(times, after, cut, reason)
        after = cut
    return records


def _all_missed(times: FireTimes, after: float, until: float, reason: str) -> list[Missed]:
    count = times.count(after, until)
    if count <= RECORDS_MAX:
        return [Missed(at, at, 1, reason) for at in times.newest(after, until, count)]
    first_at, last_at = times.next_after(after), times.last_at_or_before(until)
    assert first_at is not None
    assert last_at is not None
    return [Missed(first_at, last_at, count, reason)]


def _bounded(missed: list[Missed]) -> list[Missed]:
    """Keep a record per tick while they are few, else one per reason."""
    if sum(record.count for record in missed) <= RECORDS_MAX:
        return missed
    by_reason: dict[str, Missed] = {}
    for record in missed:
        first = by_reason.get(record.reason)
        by_reason[record.reason] = (
            record
            if first is None
            else Missed(first.first_at, record.last_at, first.count + record.count, record.reason)
        )
    return list(by_reason.values())


def _before(at: float) -> float:
    return at - 0.001  # Fire times are whole milliseconds.


def _share(name: str) -> float:
    """Return a place in [0, 1) that is the schedule's own, and not that of its jitter."""
    return int.from_bytes(hashlib.sha256(b"stagger:" + name.encode()).digest()[:6], "big") / 2**48
