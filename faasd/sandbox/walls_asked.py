"""Asking interpreters what this host builds around the functions that run in them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from faasd.model.function import Function
from faasd.model.walls import MissingWall
from faasd.sandbox.missing_walls import missing_walls
from faasd.sandbox.policy import Walls

__all__ = ["ask_for_missing_walls"]

#: How long the start of the daemon waits for the walls of other interpreters.
_ASK_TIMEOUT_S = 5.0


async def ask_for_missing_walls(
    functions: Sequence[Function], walls_of: Callable[[Function], Awaitable[Walls]]
) -> dict[str, tuple[MissingWall, ...]]:
    """Return, by function, which walls it lacks; without those whose interpreter does not answer within a moment."""
    kinds = {(one.python, one.permissions.user): one for one in functions}
    asked = {kind: asyncio.ensure_future(walls_of(one)) for kind, one in kinds.items()}
    if asked:
        await asyncio.wait(asked.values(), timeout=_ASK_TIMEOUT_S)
    found = {}
    for function in functions:
        future = asked[function.python, function.permissions.user]
        if not future.done():
            future.cancel()  # Only our waiting.
        elif future.exception() is None:
            found[function.name] = missing_walls(function, future.result())
    return found
