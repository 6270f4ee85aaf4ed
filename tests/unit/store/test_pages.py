"""How many pages of the database a synchronous invoke writes: each goes to the log, and later to the file."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from faasd.model.attempt import Claim
from faasd.store.open import Store
from tests.conformance.making import a_finish, an_invocation

INVOKES = 50
_FRAME_BYTES = 24 + 4096


async def test_a_direct_invoke_writes_no_page_that_tells_nothing(
    store: Store, state_dir: Path
) -> None:
    """It shares a commit with the outcome before it; the counter of leases, for one, stays as it is."""
    log = state_dir / "faasd.db-wal"
    before = log.stat().st_size
    claim: Claim | None = None
    for _ in range(INVOKES):
        begin = store.invocations.begin(an_invocation(queue="", trigger="invoke"), 60.0)
        if claim is None:
            claim = await begin
            continue
        finish = store.invocations.finish([a_finish(claim)], is_trailing=True)
        claim, _ = await asyncio.gather(_behind(begin), finish)
    pages = (log.stat().st_size - before) / _FRAME_BYTES / INVOKES
    assert 8 < pages < 11.5


async def _behind(begin: Coroutine[Any, Any, Claim]) -> Claim:
    await asyncio.sleep(0)  # The outcome is with the writer first.
    return await begin
