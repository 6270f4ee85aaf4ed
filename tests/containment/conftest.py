"""A real ProcessSandboxes per test, in each of the ways a host may let us build walls."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import WALLS, Bench, cgroups_of


@pytest.fixture
def token() -> str:
    """A number of seconds to sleep that no other process sleeps."""
    return str(10**9 + int.from_bytes(os.urandom(5), "big"))


async def a_bench(tmp_path: Path, walls: dict[str, Any]) -> AsyncIterator[Bench]:
    sandboxes = ProcessSandboxes(tmp_path / "state", **walls)
    await sandboxes.start()
    descriptors = len(os.listdir("/proc/self/fd"))
    bench = Bench(sandboxes)
    try:
        yield bench
    finally:
        await sandboxes.stop()
    assert not cgroups_of(sandboxes)
    assert not (tmp_path / "state" / "tmp").exists()
    assert len(os.listdir("/proc/self/fd")) < descriptors


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Every wall that this host can build."""
    async for found in a_bench(tmp_path, {}):
        yield found


@pytest.fixture(params=WALLS, ids=list(WALLS))
async def any_bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """Each way of building walls in turn."""
    async for found in a_bench(tmp_path, WALLS[request.param]):
        yield found


@pytest.fixture(params=WALLS, ids=list(WALLS))
async def any_bench_without_landlock(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Bench]:
    """The same, but for the wall that keeps signals in: for what must hold where a signal gets through."""
    async for found in a_bench(tmp_path, {**WALLS[request.param], "without": {"landlock"}}):
        yield found


@pytest.fixture(params=["namespaces+cgroups", "neither"])
async def both_benches(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """With every wall, and with none that the kernel keeps for us."""
    async for found in a_bench(tmp_path, WALLS[request.param]):
        yield found
