"""The schedules in force: APScheduler keeps the time, and each wake walks what has become due.

APScheduler holds one job, "whatever is due next", whose trigger asks our agenda. A job per schedule
was measured: its loop spends 20 µs per due job before the first one starts, so that a thousand
schedules at the same minute began up to 30 ms late; and adding 10,000 jobs took 0.6 s.
"""

from __future__ import annotations

import asyncio
import heapq
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from faasd.clock import Clock
from faasd.errors import EventRefused, NotFound, StoreError
from faasd.interfaces import Accept, ScheduleCursors, ScheduleStatus
from faasd.linux import clock_change
from faasd.logs import get_logger
from faasd.model.function import Function
from faasd.model.invocation import Acceptance, NewEvent
from faasd.model.suggest import did_you_mean
from faasd.triggers.schedule import Schedule, fingerprint_of

__all__ = ["CronTriggers"]

_JOB = "due"
#: The longest sleep, in case a change of the clock goes unheard.
_POLL_S = 15.0
#: A difference between the clocks that grows by more than this is a step, not a drift.
_STEP_S = 1.0
#: Schedules whose ticks share one transaction: the first are on their way while others are decided.
_CHUNK = 64

_log = get_logger(__name__)


class CronTriggers:
    """Implements the seam `Schedules`, and turns fire times into events.

    Each fire time is handed to `accept` once, as a tick or as a record that it was missed, and only then
    is the cursor saved; a crash between the two repeats a tick whose origin key is already known.
    """

    def __init__(self, accept: Accept, cursors: ScheduleCursors, clock: Clock) -> None:
        self._accept = accept
        self._cursors = cursors
        self._clock = clock
        self._schedules: dict[str, Schedule] = {}
        self._agenda: list[tuple[float, str]] = []  # Entries that no longer hold are skipped.
        self._due = asyncio.Event()
        self._lock = asyncio.Lock()  # Held by whoever changes where schedules stand.
        self._scheduler: AsyncIOScheduler | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._clock_fd: int | None = None
        self._clocks_apart_s = 0.0
        self._clock_checked_at = 0.0  # By the monotonic clock.
        self._stepped_from: float | None = None

    async def start(self, functions: Sequence[Function]) -> None:
        """Take up the schedules where their cursors stand, and begin to fire."""
        self._clock_checked_at = self._clock.monotonic()
        self._clocks_apart_s = self._clock.now() - self._clock_checked_at
        async with self._lock:
            await self._take(functions)
            now = self._clock.now()
            for schedule in self._schedules.values():
                if schedule.fires_at_start:
                    schedule.offer_start(now)
                    self._put(schedule)
        self._listen_to_clock()
        self._scheduler = self._make_scheduler()
        self._scheduler.start()
        self._tasks = [
            asyncio.create_task(self._walk_whenever_due(), name="schedules"),
            asyncio.create_task(self._poll_clock(), name="schedules-clock"),
        ]
        self._due.set()

    async def reload(self, functions: Sequence[Function]) -> None:
        """Swap the declarations. A schedule that is still there misses no tick and repeats none."""
        async with self._lock:
            await self._walk()
            await self._take(functions)
        self._due.set()

    async def stop(self) -> None:
        """Fire no more. Ticks not yet accepted are taken up at the next start, by the misfire rules."""
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)
            self._scheduler = None
            await asyncio.sleep(0)  # It stops its timer in the loop's next turn.
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._clock_fd is not None:
            asyncio.get_running_loop().remove_reader(self._clock_fd)
            os.close(self._clock_fd)
            self._clock_fd = None

    def statuses(self) -> list[ScheduleStatus]:
        """Return every schedule, ordered by name."""
        now = self._clock.now()
        return [self._schedules[name].status(now) for name in sorted(self._schedules)]

    def firing_before(self, at: float) -> list[str]:
        """Return the functions whose schedules fire before this time, the next one first."""
        found: list[tuple[float, str]] = []
        places = [0]  # Of the agenda, which is a heap: below what is later is nothing earlier.
        while places:
            place = places.pop()
            if place < len(self._agenda) and self._agenda[place][0] < at:
                due_at, name = self._agenda[place]
                schedule = self._schedules.get(name)
                if schedule is not None and schedule.wake_at == due_at and not schedule.paused:
                    found.append((due_at, schedule.function.name))
                places += (2 * place + 1, 2 * place + 2)
        return list(dict.fromkeys(name for _, name in sorted(found)))

    def next_times(self, name: str, count: int, after: float | None = None) -> list[float]:
        """Return the next fire times, jitter included, as if nothing were paused."""
        schedule = self._get(name)
        return schedule.next_times(count, self._clock.now() if after is None else after)

    async def pause(self, name: str) -> bool:
        """Stop firing. Returns whether that changed anything."""
        async with self._lock:
            schedule = self._get(name)
            if schedule.paused:
                return False
            await self._walk()  # What is due by now is not part of the pause.
            schedule.paused = True
            await self._cursors.save(schedule.cursor)
        self._due.set()
        return True

    async def resume(self, name: str) -> bool:
        """Fire again from now on; ticks that passed are recorded as missed. Returns whether it changed."""
        async with self._lock:
            schedule = self._get(name)
            if not schedule.paused:
                return False
            now = self._clock.now()
            records = schedule.offer_paused(now)
            if records:
                await self._accept.accept_many(records)
            schedule.paused = False
            schedule.skip_to(max(now, schedule.seen_until))
            await self._cursors.save(schedule.cursor)
            self._put(schedule)
        self._due.set()
        return True

    async def run(self, name: str) -> Acceptance:
        """Fire once now, beside the schedule, whatever runs already."""
        return await self._accept.accept(self._get(name).extra_tick(self._clock.now()))

    async def walk(self) -> None:
        """Hand over everything that is due now. Runs by itself on each wake; tests call it."""
        async with self._lock:
            await self._walk()
        self._arm()

    def check_clock(self) -> bool:
        """Whether the wall clock has been set, or time was slept through; if so, follow it."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        apart_s = now - monotonic
        stepped_s, self._clocks_apart_s = apart_s - self._clocks_apart_s, apart_s
        # The step may be as old as the last look, and fire times since then come again.
        earliest = now - min(monotonic - self._clock_checked_at, 2 * _POLL_S)
        self._clock_checked_at = monotonic
        if abs(stepped_s) <= _STEP_S:
            return False
        _log.info("clock_step_noticed", step_s=round(stepped_s, 3))
        # The next walk follows it; one may be under way just now.
        self._stepped_from = min(earliest, self._stepped_from or earliest)
        self._due.set()
        return True

    async def _take(self, functions: Sequence[Function]) -> None:
        """Build what the declarations say, keeping what stands already."""
        known = await self._cursors.load()
        now = self._clock.now()
        before, self._schedules = self._schedules, {}
        fresh: list[Schedule] = []
        taken_up: list[Schedule] = []
        for function in functions:
            for trigger in function.schedules:
                schedule = before.get(trigger.name)
                if schedule is not None and schedule.fingerprint == fingerprint_of(trigger):
                    schedule.adopt(function, trigger)
                else:
                    schedule = Schedule(function, trigger, known.get(trigger.name), now)
                    (fresh if schedule.is_new else taken_up).append(schedule)
                    if trigger.name in before:
                        schedule.inherit(before[trigger.name])
                self._schedules[trigger.name] = schedule
            await asyncio.sleep(0)  # Thousands of schedules must not hold the loop.
        await self._skip_accepted(taken_up, now)
        # A schedule that never fired must know after a restart since when it has been there.
        await self._save(fresh)
        self._agenda = []
        for schedule in self._schedules.values():
            self._put(schedule)

    async def _skip_accepted(self, schedules: list[Schedule], now: float) -> None:
        """Move cursors behind what was accepted before a crash kept them from being saved."""
        spans = [schedule.key_spans(now) for schedule in schedules]
        keys = iter(await self._cursors.newest_keys([one for each in spans for one in each]))
        for schedule, each in zip(schedules, spans, strict=True):
            schedule.skip_accepted([next(keys) for _ in each])

    async def _walk(self) -> None:
        now = self._clock.now()
        if self._stepped_from is not None:
            self._follow_clock(self._stepped_from)
        due = self._pop_due(now)
        try:
            async with asyncio.TaskGroup() as group:
                for chunk in _chunks(due):
                    group.create_task(self._hand_over([(one, one.offer(now)) for one in chunk]))
                    await asyncio.sleep(0)  # Lets it set out before the next chunk is decided.
            # Nothing of this hurries, so it waits until every tick has been handed over.
            for chunk in _chunks(due):
                await self._move_on(chunk)
        except BaseException:
            for schedule in due:  # Whatever went wrong, a schedule stays on the agenda.
                self._put(schedule)
            raise

    def _follow_clock(self, stepped_from: float) -> None:
        self._stepped_from = None
        for schedule in self._schedules.values():
            schedule.follow_clock(stepped_from)
            self._put(schedule)

    async def _hand_over(self, offers: list[tuple[Schedule, list[NewEvent]]]) -> None:
        """Have offers accepted, together if possible, else one schedule at a time."""
        events = [event for _, offered in offers for event in offered]
        try:
            if events:
                await self._accept.accept_many(events)
        except (EventRefused, StoreError) as error:
            if len(offers) > 1:  # One schedule's trouble must not hold up the others.
                for offer in offers:
                    await self._hand_over([offer])
                return
            self._keep_for_later(offers[0][0], error)
            return
        for schedule, _ in offers:
            schedule.accepted()

    async def _move_on(self, schedules: list[Schedule]) -> None:
        """Set the cursors of accepted ticks, and get the next ones ready."""
        moved = [schedule for schedule in schedules if schedule.move_on()]
        for schedule in schedules:
            self._put(schedule)
        await self._save(moved)
        await asyncio.sleep(0)

    def _keep_for_later(self, schedule: Schedule, error: Exception) -> None:
        schedule.refused(str(error), self._clock.now())
        self._put(schedule)
        _log.warning("schedule_tick_delayed", schedule=schedule.name, error=str(error))

    async def _save(self, schedules: list[Schedule]) -> None:
        try:
            await asyncio.gather(*(self._cursors.save(schedule.cursor) for schedule in schedules))
        except StoreError as error:
            # The ticks are accepted; after a restart their origin keys tell them from new ones.
            _log.warning("schedule_cursor_not_saved", count=len(schedules), error=str(error))

    def _get(self, name: str) -> Schedule:
        schedule = self._schedules.get(name)
        if schedule is None:
            raise NotFound(f"there is no schedule {name!r}{did_you_mean(name, self._schedules)}")
        return schedule

    def _put(self, schedule: Schedule) -> None:
        if schedule.wake_at is not None:
            heapq.heappush(self._agenda, (schedule.wake_at, schedule.name))

    def _earliest(self) -> float | None:
        while self._agenda:
            at, name = self._agenda[0]
            schedule = self._schedules.get(name)
            if schedule is not None and schedule.wake_at == at:
                return at
            heapq.heappop(self._agenda)
        return None

    def _pop_due(self, now: float) -> list[Schedule]:
        due: dict[str, Schedule] = {}
        while (at := self._earliest()) is not None and at <= now:
            name = heapq.heappop(self._agenda)[1]
            due[name] = self._schedules[name]
        return list(due.values())

    def _make_scheduler(self) -> AsyncIOScheduler:
        scheduler = AsyncIOScheduler(
            jobstores={"default": MemoryJobStore()},
            timezone=UTC,
            # Late wakes must run, and the callable returns at once: what is late is decided by misfire.py.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1_000_000},
        )
        scheduler.add_job(self._wake, _NextDue(self), id=_JOB)
        return scheduler

    async def _wake(self) -> None:
        self._due.set()

    def wake_times(self, now: datetime) -> datetime:
        """Return when APScheduler should wake us next, as its own clock counts."""
        at = self._earliest()
        delay_s = _POLL_S if at is None else at - self._clock.now()
        if delay_s <= 0:
            delay_s = _POLL_S  # The walk that is due already sets the next wake when it is done.
        return now + timedelta(seconds=min(delay_s, _POLL_S), microseconds=1)

    def _arm(self) -> None:
        if self._scheduler is not None:
            self._scheduler.modify_job(_JOB, next_run_time=self.wake_times(datetime.now(UTC)))
            at = self._earliest()
            if at is not None and at <= self._clock.now():
                self._due.set()

    async def _walk_whenever_due(self) -> None:
        for chunk in _chunks(list(self._schedules.values())):
            for schedule in chunk:
                schedule.prepare()
            await asyncio.sleep(0)
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self.walk()
            except Exception:  # noqa: BLE001 - the loop of a long-lived task
                _log.exception("schedule_walk_failed")
                await asyncio.sleep(1.0)
                self._due.set()

    async def _poll_clock(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            self.check_clock()

    def _listen_to_clock(self) -> None:
        try:
            self._clock_fd = clock_change.open_clock_change()
        except OSError as error:
            _log.info("clock_changes_polled", interval_s=_POLL_S, reason=str(error))
            return
        asyncio.get_running_loop().add_reader(self._clock_fd, self._clock_changed)

    def _clock_changed(self) -> None:
        assert self._clock_fd is not None
        if clock_change.acknowledge(self._clock_fd):
            self.check_clock()


def _chunks(schedules: list[Schedule]) -> Iterator[list[Schedule]]:
    for begin in range(0, len(schedules), _CHUNK):
        yield schedules[begin : begin + _CHUNK]


class _NextDue(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types.
    """The trigger of the one job: the next fire time of any schedule."""

    def __init__(self, triggers: CronTriggers) -> None:
        self._triggers = triggers

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        """Return the next wake, always later than `now`, so that no wake is ever enumerated twice."""
        return self._triggers.wake_times(now)
