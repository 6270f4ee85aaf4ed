"""Every implementation of the store, each over a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faasd.clock import FakeClock
from faasd.store.open import Store, open_store
from tests.conformance.making import START


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture(params=["sqlite"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock
) -> AsyncIterator[Store]:
    assert request.param == "sqlite"
    opened = await open_store(tmp_path / "state", clock)
    yield opened
    await opened.close()
