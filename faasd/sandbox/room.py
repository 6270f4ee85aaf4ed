"""How many sandboxes one zygote has at once; who wants another waits here, where he can still be stopped."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

__all__ = ["Room"]


class Room:
    """So many places; those who wait get one in the order of their coming. None: as many as are wanted."""

    def __init__(self, places: int | None) -> None:
        self._free = places
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for a place."""
        return bool(self._waiting)

    def take_nowait(self) -> bool:
        """Take a place if one is free and nobody waits for it."""
        if self._free is None:
            return True
        if not self._free or self._waiting:
            return False
        self._free -= 1
        return True

    async def take(self, stop: asyncio.Future[Any]) -> bool:
        """Take a place; returns whether we have one, which `stop` may come before."""
        if self.take_nowait():
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait({turn, stop}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._leave(turn)
            raise
        if turn.done():
            return True
        self._leave(turn)
        return False

    def give_back(self) -> None:
        """Let another have our place."""
        if self._free is None:
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # It has our place.
                return
        self._free += 1

    def _leave(self, turn: asyncio.Future[None]) -> None:
        if turn.done():
            self.give_back()
        else:
            self._waiting.remove(turn)
