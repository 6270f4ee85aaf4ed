"""A store on a real file, over a clock that stands still."""

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


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
async def store(state_dir: Path, clock: FakeClock) -> AsyncIterator[Store]:
    opened = await open_store(state_dir, clock)
    yield opened
    await opened.close()
