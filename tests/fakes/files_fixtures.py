"""The fixture of every test of a files trigger: makes rigs, and stops them whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest_asyncio

from tests.fakes.files_rig import FilesRig

RigMaker = Callable[..., FilesRig]


@pytest_asyncio.fixture
async def make_rig(tmp_path: Path) -> AsyncIterator[RigMaker]:
    rigs: list[FilesRig] = []

    def make(**settings: object) -> FilesRig:
        rigs.append(FilesRig(tmp_path, **settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        await rig.stop()
