"""How much room there is: on the disk, and in the budget that the operator has set for the state directory.

New events are refused while there is still room for the outcomes of those that were accepted before.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from faasd.clock import Clock
from faasd.errors import StoreFull
from faasd.metrics import Registry
from faasd.model.units import format_size
from faasd.store.database import DATABASE_NAME, driver_of, size_of
from faasd.store.readers import Readers

__all__ = ["Room", "Space", "check_room", "is_crowded", "over_goal", "shortage"]

#: Of the disk, a hundredth, at most so much, is kept for outcomes.
_RESERVE_BYTES_MAX = 16 * 2**20
#: A full database that has so much of itself free takes new events without growing.
_REUSABLE_BYTES = 2**20
#: Where so much of the budget is used, what may be forgotten is, until only so much is.
_BEGIN, _GOAL = 0.95, 0.9
#: The door looks at the disk at most so often, however many events come in. On a fast disk a second would
#: be many mebibytes past a budget, and a database does not shrink again.
_LOOK_EVERY_S = 0.05
_WAL_NAME = f"{DATABASE_NAME}-wal"


@dataclass(frozen=True, slots=True)
class Room:
    """What there is at one moment. `reusable_bytes` are free inside the database file."""

    disk_bytes: int
    free_bytes: int
    held_bytes: int = 0
    reusable_bytes: int = 0
    budget_bytes: int | None = None

    @property
    def reserve_bytes(self) -> int:
        """How much of the disk is kept for the outcomes of what was accepted."""
        return min(_RESERVE_BYTES_MAX, self.disk_bytes // 100)


def shortage(room: Room, state_dir: Path) -> str | None:
    """Say why no new events are taken, and what helps; None while they are."""
    if room.free_bytes < room.reserve_bytes:
        return (
            f"no space is left for new events: {format_size(room.free_bytes)} is free on the disk of "
            f"{state_dir}, and {format_size(room.reserve_bytes)} is kept for the outcomes of what was "
            f"accepted before. Free some space; faasd goes on by itself"
        )
    if room.budget_bytes is None or room.held_bytes < room.budget_bytes:
        return None
    if room.reusable_bytes >= min(_REUSABLE_BYTES, room.budget_bytes // 64):
        return None
    return (
        f"no space is left for new events: {state_dir} holds {format_size(room.held_bytes)}, and "
        f"`state_bytes_max` is {format_size(room.budget_bytes)}; what may be forgotten has been. Let queues "
        f"run empty, drop dead letters, remove old code and backups, or raise it; faasd goes on by itself"
    )


def is_crowded(room: Room) -> bool:
    """Whether the budget is so nearly used up that the oldest should go."""
    return room.budget_bytes is not None and room.held_bytes >= room.budget_bytes * _BEGIN


def over_goal(room: Room) -> tuple[int, int]:
    """Return how many bytes of logs and of finished invocations should go.

    A database does not shrink when rows go, but it grows no further until they are made up for. So
    logs make room on the disk, and finished invocations inside the database.
    """
    if not is_crowded(room) or room.budget_bytes is None:
        return 0, 0
    over = room.held_bytes - int(room.budget_bytes * _GOAL)
    return max(0, over), max(0, over - room.reusable_bytes)


def check_room(state_dir: Path, driver: sqlite3.Connection, budget_bytes: int | None) -> None:
    """Raise StoreFull when no new events are taken, for somebody who looks once. Blocks."""
    other_bytes, database = 0, size_of(driver)
    if budget_bytes is not None:
        other_bytes = _bytes_beside_database(state_dir)
    why = shortage(_room(state_dir, other_bytes, database, budget_bytes), state_dir)
    if why is not None:
        raise StoreFull(why)


class Space:
    """Looks at the room there is. `last` is what was found, `problem` why no new events are taken.

    `is_store_full` tells whether the last group of changes found no room, which happens also where the
    disk seems to have some: a quota, a broken file system.
    """

    def __init__(
        self,
        state_dir: Path,
        readers: Readers,
        clock: Clock,
        budget_bytes: int | None = None,
        is_store_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._state_dir = state_dir
        self._database = state_dir / DATABASE_NAME
        self._readers = readers
        self._clock = clock
        self._is_store_full = is_store_full
        self._looked_at: float | None = None
        self._other_bytes = 0  # Beside the database, as of the last survey.
        self._size = (0, 0)  # Of the database, and what is free in it.
        self._refusals = 0
        self._was_well = True
        #: Hears that `problem` has come or gone.
        self.on_changed: Callable[[], None] = lambda: None
        self.budget_bytes = budget_bytes
        self.last = self._now()
        self.shortage: str | None = None

    @property
    def problem(self) -> str | None:
        """What people should know: that events are refused, or that changes find no room."""
        if self.shortage is None and self._is_store_full():
            return f"the last change of {self._database} found no space; it is tried again"
        return self.shortage

    def check(self) -> None:
        """Raise StoreFull while no new events are taken. Cheap enough for every event."""
        now = self._clock.monotonic()
        if self._looked_at is None or not 0 <= now - self._looked_at < _LOOK_EVERY_S:
            self.look()
        if self.shortage is not None:
            self._refusals += 1
            raise StoreFull(self.shortage)

    def look(self) -> Room:
        """Look at the disk and the size of the database."""
        self._looked_at = self._clock.monotonic()
        try:
            self.last = self._now()
        except OSError:
            return self.last  # The directory has gone from under us; what is written next says so.
        self.shortage = shortage(self.last, self._state_dir)
        is_well = self.problem is None
        if is_well != self._was_well:
            self._was_well = is_well
            self.on_changed()
        return self.last

    async def survey(self) -> Room:
        """Look at what lies in the whole directory, in a reader's thread, and then as `look` does."""
        if self.budget_bytes is not None:
            await self._readers.read(self._survey)
        return self.look()

    def hear_size(self, size_bytes: int, free_bytes: int) -> None:
        """Take down how large the database is by now. For any thread."""
        self._size = (size_bytes, free_bytes)

    def measure(self, metrics: Registry) -> None:
        """Add to one look at the metrics."""
        metrics.set("faasd_accepting_events", self.shortage is None)
        metrics.add("faasd_no_room_refusals_total", amount=self._refusals)
        if self.budget_bytes is not None:
            metrics.set("faasd_state_dir_bytes", self.last.held_bytes)
            metrics.set("faasd_state_dir_bytes_max", self.budget_bytes)

    def _now(self) -> Room:
        return _room(self._state_dir, self._other_bytes, self._size, self.budget_bytes)

    def _survey(self, connection: Connection) -> None:
        self.hear_size(*size_of(driver_of(connection)))
        self._other_bytes = _bytes_beside_database(self._state_dir)


def _room(
    state_dir: Path, other_bytes: int, database: tuple[int, int], budget_bytes: int | None
) -> Room:
    """Return the room there is; `database` is its size, and what of it is free."""
    disk = os.statvfs(state_dir)
    # The superuser may write into what the file system keeps from others.
    free_blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
    return Room(
        disk_bytes=disk.f_blocks * disk.f_frsize,
        free_bytes=free_blocks * disk.f_frsize,
        held_bytes=other_bytes + database[0] + _size(state_dir / _WAL_NAME),
        reusable_bytes=database[1],
        budget_bytes=budget_bytes,
    )


def _bytes_beside_database(state_dir: Path) -> int:
    own = _size(state_dir / DATABASE_NAME) + _size(state_dir / _WAL_NAME)
    return max(0, _bytes_below(state_dir) - own)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _bytes_below(directory: Path) -> int:
    """Return what lies in a directory. Workspaces are left out: they have limits of their own."""
    total = 0
    for root, names, files in os.walk(directory):
        if Path(root) == directory and "tmp" in names:
            names.remove("tmp")
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return total
