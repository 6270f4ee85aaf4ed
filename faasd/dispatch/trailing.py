"""Outcomes whose callers were answered already: nobody waits for their commit, so they share somebody else's.

A caller who invokes one function after another would otherwise wait, with each, for the commit of the outcome that he
knows already: the writer does one thing at a time.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Trailing"]


class Trailing:
    """Knows whose callers were answered before their attempt was at its end. For one event loop."""

    def __init__(self) -> None:
        self._answered: set[str] = set()

    def answered(self, attempt_id: str, end: asyncio.Future[Any]) -> None:
        """Hear that an attempt's caller was told its outcome, before the attempt's own end."""
        self._answered.add(attempt_id)
        end.add_done_callback(lambda _: self._answered.discard(attempt_id))

    def is_answered(self, attempt_id: str) -> bool:
        """Whether nobody waits for the attempt's commit."""
        return attempt_id in self._answered

    def forget(self) -> None:
        """Have what was answered by now written as if its callers waited: somebody looks for it."""
        self._answered.clear()
