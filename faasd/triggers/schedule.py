"""One schedule in force: where it stands, what it has to hand over, and how that is written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from faasd.clock import from_iso, to_iso
from faasd.interfaces import ScheduleCursor, ScheduleStatus
from faasd.model.event import event_body
from faasd.model.function import Function
from faasd.model.ids import new_id
from faasd.model.invocation import NewEvent
from faasd.model.trigger import ScheduleTrigger
from faasd.model.units import format_duration
from faasd.triggers.fire_times import FireTimes, fire_times_of, fires_at_start
from faasd.triggers.misfire import ON_TIME_S, Missed, Run, decide, record_paused, record_unseen

__all__ = ["Schedule", "fingerprint_of"]

#: A cursor this much ahead of the clock means that the clock was set back.
_AHEAD_MAX_S = 1.0
_RETRY_FIRST_S = 1.0
_RETRY_MAX_S = 30.0
#: How origin keys begin. They end with a fire time; of a summary, with its last one.
_KEYS = ("tick", "missed")
_ISO_LENGTH = len("2026-01-01T00:00:00.000Z")


def fingerprint_of(trigger: ScheduleTrigger) -> str:
    """Return what makes a schedule fire when it does; a change of it starts the cursor anew."""
    fields = (
        trigger.kind,
        trigger.expression,
        trigger.interval_s,
        trigger.at,
        trigger.timezone,
        trigger.start,
        trigger.jitter_s,
    )
    return "|".join("" if field is None else str(field) for field in fields)


class Schedule:
    """A schedule with its cursor. Decides and remembers; whoever owns it does the handing over.

    What `offer` returned stays the same until `accepted` is called, so that a tick which could not be
    accepted is neither lost nor judged again by how late it has become meanwhile.
    """

    def __init__(
        self,
        function: Function,
        trigger: ScheduleTrigger,
        cursor: ScheduleCursor | None,
        now: float,
    ) -> None:
        self.function = function
        self.trigger = trigger
        self.name = trigger.name
        self.fires_at_start = fires_at_start(trigger)
        self.fingerprint = fingerprint_of(trigger)
        self.is_new = cursor is None or cursor.fingerprint != self.fingerprint
        self.paused = cursor is not None and cursor.paused
        self.seen_until = now if cursor is None or self.is_new else cursor.seen_until
        self.next_at: float | None = None
        self.problem: str | None = None
        self._times: FireTimes = fire_times_of(trigger)
        self._offered: tuple[list[NewEvent], float] | None = None
        self._retry_at: float | None = None
        self._failures = 0
        self._is_accepted = False
        self._ready: tuple[float, float | None, NewEvent] | None = None
        if self.is_new and trigger.kind == "at":
            self._see_for_the_first_time(now)
        self.follow_clock(now)

    @property
    def wake_at(self) -> float | None:
        """When there is something to do next."""
        if self._offered is not None:
            return self._retry_at
        return None if self.paused else self.next_at

    @property
    def cursor(self) -> ScheduleCursor:
        """What to keep across restarts."""
        return ScheduleCursor(self.name, self.seen_until, self.fingerprint, self.paused)

    def adopt(self, function: Function, trigger: ScheduleTrigger) -> None:
        """Take over a new declaration that fires at the same times."""
        self.function, self.trigger = function, trigger
        self._times = fire_times_of(trigger)
        self.inherit(self)
        self._find_next()

    def inherit(self, before: Schedule) -> None:
        """Take over what the schedule of this name before a reload could not hand over yet."""
        if before._offered is not None:
            events, until = before._offered
            name = self.function.name
            self._offered = ([replace(event, function=name, queue=name) for event in events], until)
            self._retry_at = before._retry_at

    def key_spans(self, now: float) -> list[tuple[str, str]]:
        """Return between which origin keys those are that were accepted after the cursor was saved last."""
        after, until = to_iso(self.seen_until), to_iso(now)
        return [(f"{kind}:{self.name}:{after}", f"{kind}:{self.name}:{until}") for kind in _KEYS]

    def skip_accepted(self, keys: Sequence[str | None]) -> None:
        """Move behind what these keys were given to: a predecessor died before it saved its cursor.

        Fire times are handed over oldest first, all that are due in one transaction, so those before the
        newest accepted one are dealt with. The keys alone would not do: a summary of missed fire times
        has one of its own, and would tell of a tick that ran that it was missed.
        """
        ends = [from_iso(key[-_ISO_LENGTH:]) for key in keys if key is not None]
        if ends and max(ends) > self.seen_until:
            self.skip_to(max(ends))

    def follow_clock(self, now: float) -> None:
        """Mend what a clock that was set back, to `now`, has left ahead of it.

        The fire times that come again were accepted under the same origin key, so none runs twice.
        """
        if self.seen_until > now + _AHEAD_MAX_S:
            self.seen_until = now
        if self._retry_at is not None:
            self._retry_at = min(self._retry_at, now)
        self._find_next()

    def offer(self, now: float) -> list[NewEvent]:
        """Return everything that has become due and is not accepted yet, oldest first."""
        if self._offered is None:
            if self.paused or self.next_at is None or self.next_at > now:
                return []
            if not self._offer_ready(now):
                decisions = decide(self.trigger, self._times, self.seen_until, now)
                self._hold([self._event(decision, now) for decision in decisions], now)
        return [] if self._offered is None else self._offered[0]

    def prepare(self) -> None:
        """Make the next tick's event ahead of its time, so that nothing is left to do when it is due."""
        if self._ready is None and self.next_at is not None:
            event = self._event(Run(self.next_at), self.next_at)
            self._ready = (self.next_at, self._times.next_after(self.next_at), event)

    def offer_start(self, now: float) -> None:
        """Make the tick of `@reboot` due."""
        if not self.paused:
            self._hold([self._event(Run(now), now)], now)

    def offer_paused(self, now: float) -> list[NewEvent]:
        """Return the records of the ticks that a pause has left out."""
        return [
            self._event(record, now) for record in record_paused(self._times, self.seen_until, now)
        ]

    def extra_tick(self, now: float) -> NewEvent:
        """Return a tick beside the schedule."""
        return self._tick(Run(now), origin_key=None, overlap="allow")

    def accepted(self) -> None:
        """Note that what was offered is on disk."""
        self._is_accepted = True

    def move_on(self) -> bool:
        """Move behind what was accepted, and get ready for the next tick. Returns whether it moved."""
        if not self._is_accepted or self._offered is None:
            return False
        self.skip_to(self._offered[1])
        self.prepare()
        return True

    def skip_to(self, seen_until: float) -> None:
        """Take every fire time up to here as dealt with."""
        self.seen_until = seen_until
        self._offered, self._retry_at, self._is_accepted = None, None, False
        self.problem, self._failures = None, 0
        self._find_next()

    def refused(self, reason: str, now: float) -> None:
        """Keep what was offered and try again later, a little later each time."""
        delay_s = min(_RETRY_FIRST_S * 2.0**self._failures, _RETRY_MAX_S)
        self._failures = min(self._failures + 1, 10)
        self._retry_at = now + delay_s
        self.problem = f"a tick could not be accepted and is kept: {reason}"

    def next_times(self, count: int, after: float) -> list[float]:
        """Return the next fire times later than `after`, as if nothing were paused."""
        found: list[float] = []
        at = self._times.next_after(after)
        while at is not None and len(found) < count:
            found.append(at)
            at = self._times.next_after(at)
        return found

    def status(self, now: float) -> ScheduleStatus:
        """Say where the schedule stands."""
        trigger = self.trigger
        return ScheduleStatus(
            name=self.name,
            function=self.function.name,
            kind=trigger.kind,
            expression=_written(trigger),
            timezone=trigger.timezone,
            next_at=None if self.paused else self.next_at,
            last_at=self._times.last_at_or_before(min(self.seen_until, now)),
            paused=self.paused,
            catch_up=trigger.catch_up,
            overlap=trigger.overlap,
            jitter_s=trigger.jitter_s,
            note=self.problem or self._note(),
        )

    def _note(self) -> str | None:
        if self.fires_at_start:
            return "fires once at each start of the daemon"
        if self.paused:
            return "paused; ticks that pass are recorded as missed when it is resumed"
        if self.next_at is None:
            return "it will not fire again"
        return None

    def _see_for_the_first_time(self, now: float) -> None:
        at = self._times.last_at_or_before(now)
        if at is None:
            return
        records = record_unseen(self._times, now)
        if records:
            self._hold([self._event(record, now) for record in records], now)
        else:
            self.seen_until = at - 0.001  # Only just past: it runs.

    def _offer_ready(self, now: float) -> bool:
        """Offer the prepared event if its tick, on time, is all that `decide` would find."""
        if self._ready is None:
            return False
        at, following_at, event = self._ready
        late_s = now - at
        if following_at is not None and following_at <= now:
            return False
        deadline_s = self.trigger.start_deadline_s
        limit_s = ON_TIME_S if deadline_s is None else min(ON_TIME_S, deadline_s)
        if at != self.next_at or late_s > limit_s:
            return False
        self._hold([event], at)
        return True

    def _hold(self, events: list[NewEvent], until: float) -> None:
        if events:
            self._offered, self._retry_at = (events, until), until
        else:
            self.skip_to(until)

    def _find_next(self) -> None:
        ready, self._ready = self._ready, None
        if ready is not None and ready[0] == self.seen_until:
            self.next_at = ready[1]
        else:
            self.next_at = self._times.next_after(self.seen_until)

    def _event(self, decision: Run | Missed, now: float) -> NewEvent:
        if isinstance(decision, Missed):
            return self._record(decision, now)
        overlap = self.trigger.overlap
        if (
            decision.is_catch_up
            and self.trigger.catch_up == "all"
            and overlap in ("skip", "replace")
        ):
            overlap = "queue"  # All of them are wanted, which these rules would leave one of.
        return self._tick(decision, origin_key=self._origin(decision.at), overlap=overlap)

    def _tick(self, run: Run, *, origin_key: str | None, overlap: str) -> NewEvent:
        event_id = new_id()
        body = event_body(
            self.trigger.kind,
            self.name,
            event_id,
            run.at,
            scheduled_for=to_iso(run.at),
            missed=run.missed,
        )
        return NewEvent(
            function=self.function.name,
            queue=self.function.name,
            trigger=self.trigger.kind,
            source=self.name,
            body=body,
            id=event_id,
            due_at=run.due_at,
            group_key=f"schedule:{self.name}" if overlap == "queue" else None,
            origin_key=origin_key,
            overlap=overlap,
            scheduled_for=run.at,
            filter=self.trigger.filter,
        )

    def _record(self, missed: Missed, now: float) -> NewEvent:
        event_id = new_id()
        first, last = to_iso(missed.first_at), to_iso(missed.last_at)
        detail, origin_key = missed.reason, self._origin(missed.last_at)
        if missed.count > 1:
            detail = f"{missed.count} fire times from {first} to {last}: {missed.reason}"
            origin_key = f"missed:{self.name}:{first}:{last}"
        body = event_body(
            self.trigger.kind, self.name, event_id, now, scheduled_for=last, missed=missed.count - 1
        )
        return NewEvent(
            function=self.function.name,
            queue=self.function.name,
            trigger=self.trigger.kind,
            source=self.name,
            body=body,
            id=event_id,
            origin_key=origin_key,
            scheduled_for=missed.last_at,
            skip_reason="missed",
            skip_detail=detail,
        )

    def _origin(self, at: float) -> str:
        """Return the tick's key, the same after a crash and on every machine that shares the store."""
        return f"tick:{self.name}:{to_iso(at)}"


def _written(trigger: ScheduleTrigger) -> str:
    if trigger.kind == "every":
        return format_duration(trigger.interval_s or 0.0)
    return (to_iso(trigger.at) if trigger.kind == "at" else trigger.expression) or ""
