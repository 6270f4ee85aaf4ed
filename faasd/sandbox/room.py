"""How many attempts one zygote runs at once; the others wait here, where they can still be stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

__all__ = ["Room"]


class Room:
    """So many places; those who wait get one in the order of their coming. None: as many as are wanted."""

    def __init__(self, places: int | None) -> None:
        self._free = asyncio.Semaphore(places) if places is not None else None

    @contextlib.asynccontextmanager
    async def taken(self, stop: asyncio.Future[Any]) -> AsyncIterator[bool]:
        """Hold a place for the block; the value is whether we have one, which `stop` may come before."""
        if self._free is None:
            yield True
            return
        has_place = await _acquire(self._free, stop)
        try:
            yield has_place
        finally:
            if has_place:
                self._free.release()


async def _acquire(free: asyncio.Semaphore, stop: asyncio.Future[Any]) -> bool:
    if not free.locked():
        return await free.acquire()  # At once.
    taking = asyncio.ensure_future(free.acquire())
    try:
        await asyncio.wait({taking, stop}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        if taking.done():
            free.release()
        taking.cancel()
        raise
    if not taking.done():
        taking.cancel()
        return False
    return True
