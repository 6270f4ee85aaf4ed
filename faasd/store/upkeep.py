"""What an open store needs now and then: the expired ends, the old is forgotten, the room is watched."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from faasd.clock import Clock
from faasd.errors import StoreError
from faasd.logs import get_logger
from faasd.store.open import Store
from faasd.store.retention import Retention
from faasd.store.space import is_crowded, over_goal

__all__ = ["Upkeep"]

_log = get_logger("store")
RETENTION_INTERVAL_S = 300.0
EXPIRY_INTERVAL_S = 60.0
ROOM_INTERVAL_S = 10.0
#: While there is none: as soon as there is some again, events are taken.
NO_ROOM_INTERVAL_S = 1.0


class Upkeep:
    """Keeps one store in order.

    `retention` is asked each time, because a reload may change it. `on_expired` hears that what waited behind
    the expired may be due now, `on_room_changed` that new events are refused, or taken again.
    """

    def __init__(
        self,
        store: Store,
        retention: Callable[[], Retention],
        clock: Clock,
        on_expired: Callable[[], None],
        on_room_changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._retention = retention
        self._clock = clock
        self._on_expired = on_expired
        self._on_room_changed = on_room_changed
        self._done_at: dict[str, float] = {}
        self._begun_at = clock.monotonic()
        self._room_changed = asyncio.Event()
        store.space.on_changed = self._tell_room

    async def run(self) -> None:
        """Do everything in its time, until cancelled."""
        while True:
            try:
                if self._is_time("expiry", EXPIRY_INTERVAL_S):
                    # Claims expire in passing; this is for what nobody claims, such as a paused function's.
                    await self._store.invocations.expire_due()
                    self._on_expired()
                    await self._store.space.survey()
                if is_crowded(self._store.space.look()):
                    await self._keep_to_budget()
                if self._is_time("retention", RETENTION_INTERVAL_S):
                    up_s = self._clock.monotonic() - self._begun_at
                    count = await self._store.retain(self._retention().while_up(up_s))
                    _log.debug("history_retained", deleted=count)
            except StoreError as error:
                _log.error("retention_failed", error=str(error))
            self._store.space.look()
            self._room_changed.clear()
            is_short = self._store.space.problem is not None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NO_ROOM_INTERVAL_S if is_short else ROOM_INTERVAL_S):
                    await self._room_changed.wait()

    def _is_time(self, what: str, interval_s: float) -> bool:
        now = self._clock.monotonic()
        is_time = what not in self._done_at or now - self._done_at[what] >= interval_s
        if is_time:
            self._done_at[what] = now
        return is_time

    async def _keep_to_budget(self) -> None:
        """Forget the oldest until the state directory is within its budget, or nothing is left to forget."""
        space = self._store.space
        room = await space.survey()
        log_bytes, record_bytes = over_goal(room)
        freed_logs = self._store.logs.free(log_bytes)
        forgotten = 0
        while record_bytes > 0:
            count = await self._store.forget_oldest()
            forgotten += count
            if not count:
                break
            _, record_bytes = over_goal(await space.survey())
        if freed_logs or forgotten:
            _log.warning(
                "budget_kept",
                log_bytes_removed=freed_logs,
                invocations_forgotten=forgotten,
                held_bytes=(await space.survey()).held_bytes,
                budget_bytes=space.budget_bytes,
            )

    def _tell_room(self) -> None:
        space = self._store.space
        if space.problem is None:
            _log.info("room_returned", free_bytes=space.last.free_bytes)
        else:
            _log.error("room_ended", reason=space.problem, free_bytes=space.last.free_bytes)
        self._room_changed.set()
        self._on_room_changed()
