"""An attempt's wait for its function's zygote, which somebody may end, and which a full disk makes longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from faasd.errors import NoRoomOnDisk
from faasd.interfaces import AttemptServices
from faasd.model.attempt import Attempt, OutputLine
from faasd.model.outcome import Outcome
from faasd.sandbox import full_disk
from faasd.sandbox.ends import not_begun
from faasd.sandbox.zygote_entry import ZygoteLease
from faasd.sandbox.zygote_pool import ZygotePool

__all__ = ["zygote_or_stop"]


async def zygote_or_stop(
    pool: ZygotePool,
    attempt: Attempt,
    services: AttemptServices,
    stop: asyncio.Future[str],
    is_stopping: Callable[[], bool],
) -> ZygoteLease | Outcome:
    """Wait for the zygote, and with a full disk for room; returns how the attempt ended if it was stopped before."""
    while True:
        try:
            return await _zygote_once(pool, attempt, services, stop)
        except NoRoomOnDisk as error:
            await full_disk.wait_for_room(stop, attempt.function.name, error)
        if stop.done() or is_stopping():
            return not_begun(stop, "while its disk was full")


async def _zygote_once(
    pool: ZygotePool,
    attempt: Attempt,
    services: AttemptServices,
    stop: asyncio.Future[str],
) -> ZygoteLease | Outcome:
    starting = asyncio.ensure_future(pool.zygote(attempt.function))
    waited: set[asyncio.Future[Any]] = {starting, stop}
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        starting.cancel()  # Only our waiting: others may want the zygote.
        raise
    if not starting.done():
        starting.cancel()
        return not_begun(stop, "before its zygote was ready")
    try:
        return await starting
    finally:
        _pass_on(pool.take_init_lines(attempt.function), attempt, services)


def _pass_on(lines: list[OutputLine], attempt: Attempt, services: AttemptServices) -> None:
    if lines:
        services.output(attempt, lines)
