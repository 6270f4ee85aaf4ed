"""The dispatcher: when there is room and work is due, claim it and start it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from faasd.dispatch.batching import ripe_at
from faasd.dispatch.run_attempt import Spine
from faasd.dispatch.running import Running
from faasd.dispatch.slots import Slots
from faasd.dispatch.stock import count_ahead, count_in_burst
from faasd.errors import StoreError
from faasd.logs import get_logger
from faasd.model.attempt import Attempt, Claim
from faasd.model.function import Function, Lane
from faasd.model.ids import new_id

__all__ = ["Dispatcher"]

_log = get_logger("dispatch")
_STORE_RETRY_S = 1.0


@dataclass
class _Attention:
    """When a lane must be looked at next, on the wall clock. None: when something wakes it."""

    at: float | None = 0.0


class Dispatcher:
    """One loop over lanes. It sleeps until it is woken or the next thing is due; it never polls."""

    def __init__(
        self,
        spine: Spine,
        slots: Slots,
        running: Running,
        paused: set[str],
        refused: Mapping[str, str],
    ) -> None:
        """`paused` holds names of functions; whoever changes it calls `wake`.

        `refused` says by name why a function may not run on this host: its events wait.
        """
        self._spine = spine
        self._slots = slots
        self._running = running
        self._stock = running.stock
        self._paused = paused
        self._refused = refused
        self._attention: dict[str, _Attention] = {}
        self._no_room: set[str] = set()  # Queues that had work looked for and no slot to run it.
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._turn = 0
        self._asked_ahead: dict[str, int] = {}  # By queue: how many were last to be held.

    def start(self) -> asyncio.Task[None]:
        """Begin to claim. The returned task ends only with `stop`, or by a mistake of ours."""
        self._task = asyncio.create_task(self._loop())
        return self._task

    async def stop(self) -> None:
        """Claim nothing any more, and give back what has not begun. What runs goes on."""
        # Not by cancelling: a claim must not be torn from what it has claimed, and before Python 3.12
        # wait_for can swallow a cancellation that comes together with a wake.
        self._is_stopping = True
        self._woken.set()
        if self._task is not None:
            await self._task
        for queue in self._stock.queues():
            try:
                await self._give_back(queue)
            except StoreError as error:  # The next start of the daemon returns them.
                _log.error("claims_kept", queue=queue, error=str(error))

    def wake(self, queues: Iterable[str] | None = None) -> None:
        """Look at these queues now; with None, at all of them."""
        if queues is None:
            self._attention.clear()
        else:
            for queue in queues:
                self._attention.pop(queue, None)
        self._woken.set()

    def slot_freed(self, queue: str) -> None:
        """Give the slot to what is claimed already; else look at this queue, and at those that had no room."""
        others = self._no_room - {queue}
        if not queue and not others:
            return  # It was a direct invoke's, which is in no queue, and nobody was without room.
        is_begun = not others and self._start_held(queue)
        if is_begun and self._stock.count(queue) > self._kept_at_least(queue):
            return
        queues = {queue, *others}
        self._no_room.clear()
        self.wake(queues)

    def _start_held(self, queue: str) -> bool:
        """Begin what is held for a queue, while there is room; False when it is not to begin, or none is held."""
        lane = self._stock.lane(queue)
        function = self._spine.catalog.get(lane.function) if lane is not None else None
        if lane is None or function is None or self._is_stopping or self._is_held_back(function):
            return False
        now = self._spine.clock.monotonic()
        slots = self._slots.most_of(function, lane)
        pace = self._stock.pace_of(function.name)
        for _ in range(self._slots.free_for(function, lane)):
            count = count_in_burst(pace, function, self._stock.count(queue), slots)
            claims = self._stock.take(queue, now, count)
            if not claims:
                break
            self._start_each(lane, function, claims)
        return True

    def _is_held_back(self, function: Function) -> bool:
        name = function.name
        is_held = name in self._paused or name in self._refused
        return is_held or self._spine.breakers.is_open(name)

    def _kept_at_least(self, queue: str) -> int:
        """How many are to be held at least, before more are claimed."""
        return self._asked_ahead.get(queue, 0) // 2

    async def _loop(self) -> None:
        while not self._is_stopping:
            self._woken.clear()
            try:
                await self._feed_all()
            except StoreError as error:
                _log.error("claim_failed", error=str(error), retry_in_s=_STORE_RETRY_S)
                self._attention.clear()
                await asyncio.sleep(_STORE_RETRY_S)
                continue
            await self._wait_for_attention()

    async def _feed_all(self) -> None:
        """Look at every lane that wants it, beginning with another one each time, so that none starves."""
        lanes = list(self._spine.catalog.lanes())
        if not lanes:
            return
        self._turn = (self._turn + 1) % len(lanes)
        now = self._spine.clock.now()
        for queue in set(self._stock.queues()).difference(lane.queue for lane in lanes):
            await self._give_back(queue)  # A reload has taken its lane away.
        for lane in lanes[self._turn :] + lanes[: self._turn]:
            if self._is_stopping:
                return
            attention = self._attention.get(lane.queue)
            if attention is None:
                attention = self._attention[lane.queue] = _Attention()
            if attention.at is not None and attention.at <= now:
                attention.at = None  # Before the claim: whatever wakes us meanwhile must count.
                next_at = await self._feed(lane)
                if next_at is not None:
                    self._attend(lane, next_at)

    def _attend(self, lane: Lane, at: float) -> None:
        attention = self._attention.get(lane.queue)
        if attention is not None and (attention.at is None or at < attention.at):
            attention.at = at

    async def _wait_for_attention(self) -> None:
        """Sleep until woken or until the next lane wants a look, at most a minute for a clock that jumps."""
        times = [one.at for one in self._attention.values() if one.at is not None]
        delay_s = min([60.0, *(at - self._spine.clock.now() for at in times)])
        if delay_s > 0:
            # Not wait_for, which takes two more turns of the loop until a wake is heard.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._woken.wait()

    async def _feed(self, lane: Lane) -> float | None:
        """Start what this lane has due and room for; return when to look again, None for when woken."""
        function = self._spine.catalog.get(lane.function)
        if function is None or self._is_held_back(function):
            await self._give_back(lane.queue)
        if function is None or function.name in self._paused or function.name in self._refused:
            return None
        if self._spine.breakers.is_open(function.name):
            return await self._feed_trial(lane, function)
        if lane.is_batch or lane.rate is not None:
            await self._give_back(lane.queue)  # Should it have become so by a reload.
            return await self._feed_measured(lane, function)
        return await self._feed_freely(lane, function)

    async def _feed_trial(self, lane: Lane, function: Function) -> float | None:
        """With an open breaker: one attempt at one event when the pause is over, and nothing else."""
        breakers = self._spine.breakers
        if not breakers.may_begin(function.name):
            return breakers.next_look_at(function.name)
        breakers.reserve(function.name)
        try:
            return await self._feed_measured(lane, function, is_trial=True)
        finally:
            breakers.release(function.name)

    async def _feed_freely(self, lane: Lane, function: Function) -> float | None:
        """Fill the free slots, from what is held first; and claim ahead what they will need within a moment."""
        stale_at = self._stock.stale_at(lane.queue)
        if stale_at is not None and stale_at <= self._spine.clock.monotonic():
            self._stock.forget_pace(function.name)  # It goes slower than we thought.
            await self._give_back(lane.queue)
        self._start_held(lane.queue)
        room = self._slots.free_for(function, lane)
        held = self._stock.count(lane.queue)
        ahead = count_ahead(self._stock.pace_of(function.name), self._slots.most_of(function, lane))
        self._asked_ahead[lane.queue] = ahead
        more = ahead - held if held <= ahead // 2 else 0
        if room + more == 0:
            self._no_room.add(lane.queue)
            return self._stale_on_the_wall(lane)
        claims, next_at = await self._spine.store.claim_due(
            lane, room + more, lane.visibility_timeout_s, room
        )
        self._stock.put(lane, claims, self._spine.clock.monotonic())
        self._start_held(lane.queue)
        if len(claims) == room + more:
            return self._spine.clock.now()
        times = [at for at in (next_at, self._stale_on_the_wall(lane)) if at is not None]
        return min(times, default=None)

    def _stale_on_the_wall(self, lane: Lane) -> float | None:
        stale_at = self._stock.stale_at(lane.queue)
        if stale_at is None:
            return None
        clock = self._spine.clock
        return clock.now() + max(0.0, stale_at - clock.monotonic())

    async def _give_back(self, queue: str) -> None:
        """Return what is held for a queue to those that wait, as if it had never been claimed."""
        lane = self._stock.lane(queue)
        if lane is None:
            return
        claims = self._stock.take_all(queue)
        try:
            await self._spine.store.release([claim.lease for claim in claims])
        except StoreError:
            self._stock.put(lane, claims, self._spine.clock.monotonic())
            raise

    async def _feed_measured(
        self, lane: Lane, function: Function, *, is_trial: bool = False
    ) -> float | None:
        """Claim just what may begin now: for batches, rates and the trial of a breaker."""
        room = self._slots.free_for(function, lane)
        if room == 0:
            self._no_room.add(lane.queue)
            return None
        rate = self._slots.rate_of(lane)
        if rate is not None:
            free = rate.free(self._spine.clock.monotonic())
            if free <= 0:
                return self._rate_frees_at(lane)
            room = min(room, free) if not lane.is_batch else room
        if lane.is_batch:
            return await self._feed_batch(lane, function, 1 if is_trial else lane.batch_size)
        room = 1 if is_trial else room
        claims, next_at = await self._spine.store.claim_due(lane, room, lane.visibility_timeout_s)
        for claim in claims:
            self._start(lane, function, (claim,))
        return self._spine.clock.now() if len(claims) == room else next_at

    async def _feed_batch(self, lane: Lane, function: Function, count: int) -> float | None:
        due_count, oldest_at, next_at = await self._spine.store.waiting_since(lane.queue)
        now = self._spine.clock.now()
        ripe = ripe_at(lane, due_count, oldest_at, now)
        if ripe is None or ripe > now:
            candidates = [at for at in (ripe, next_at) if at is not None]
            return min(candidates, default=None)
        rate = self._slots.rate_of(lane)
        if rate is not None:
            count = min(count, rate.free(self._spine.clock.monotonic()))
        claims = await self._spine.store.claim(lane, count, lane.visibility_timeout_s)
        if claims:
            self._start(lane, function, tuple(claims))
            return now
        return next_at

    def _rate_frees_at(self, lane: Lane) -> float | None:
        rate = self._slots.rate_of(lane)
        free_at = rate.next_free_at() if rate is not None else None
        if free_at is None:
            return None
        clock = self._spine.clock
        return clock.now() + max(0.0, free_at - clock.monotonic())

    def _start(self, lane: Lane, function: Function, claims: tuple[Claim, ...]) -> None:
        rate = self._slots.rate_of(lane)
        if rate is not None:
            rate.take(len(claims), self._spine.clock.monotonic())
        attempt = self._attempt(lane, function, claims)
        self._running.start(attempt, lane.queue, self._spine)

    def _start_each(self, lane: Lane, function: Function, claims: list[Claim]) -> None:
        """Start an attempt for each claim, all in one slot, one after another."""
        attempts = [self._attempt(lane, function, (claim,)) for claim in claims]
        if len(attempts) == 1:
            self._running.start(attempts[0], lane.queue, self._spine)
        else:
            self._running.start_all(attempts, lane.queue, self._spine)

    def _attempt(self, lane: Lane, function: Function, claims: tuple[Claim, ...]) -> Attempt:
        return Attempt(
            id=new_id(),
            # Again: a reload may have been while it was claimed, and what begins now is to run the new code.
            function=self._spine.catalog.get(function.name) or function,
            claims=claims,
            started_at=self._spine.clock.now(),
            is_batch=lane.is_batch,
        )
