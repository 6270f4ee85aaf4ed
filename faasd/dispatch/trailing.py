"""Outcomes whose callers were answered already: nobody waits for their commit, so they share somebody else's.

A caller who invokes one function after another would otherwise wait, with each, for the commit of the outcome that he
knows already: the writer does one thing at a time.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Trailing"]

#: How long an outcome waits for a transaction to join.
LULL_S = 0.005


class Trailing:
    """Holds outcomes back for a moment. For one event loop."""

    def __init__(self) -> None:
        self._answered: set[str] = set()
        self._lulls: set[asyncio.Future[None]] = set()

    def answered(self, attempt_id: str, end: asyncio.Future[Any]) -> None:
        """Hear that an attempt's caller was told its outcome, before the attempt's own end."""
        self._answered.add(attempt_id)
        end.add_done_callback(lambda _: self._answered.discard(attempt_id))

    def is_answered(self, attempt_id: str) -> bool:
        """Whether nobody waits for the attempt's commit."""
        return attempt_id in self._answered

    async def lull(self) -> None:
        """Wait until somebody else writes, or a moment has passed."""
        loop = asyncio.get_running_loop()
        lull: asyncio.Future[None] = loop.create_future()
        self._lulls.add(lull)
        timer = loop.call_later(LULL_S, self._end, lull)
        try:
            await lull
        finally:
            timer.cancel()
            self._lulls.discard(lull)

    def hurry(self) -> None:
        """Have everything that was answered by now written without a lull: somebody looks for it."""
        self._answered.clear()
        for lull in self._lulls:
            self._end(lull)

    async def go_first(self) -> None:
        """End every lull; when this returns, the writer has what was held back."""
        if not self._lulls:
            return
        for lull in self._lulls:
            self._end(lull)
        await asyncio.sleep(0)  # In this turn they wake,
        await asyncio.sleep(0)  # and in this one each is handed over.

    @staticmethod
    def _end(lull: asyncio.Future[None]) -> None:
        if not lull.done():
            lull.set_result(None)
