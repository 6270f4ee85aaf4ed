"""Identities of what a zygote's walls name."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from faasd.clock import Clock
from faasd.sandbox import landmarks
from faasd.sandbox.file_rules import Premises
from faasd.sandbox.landmarks import Landmarks


async def test_who_asks_for_a_path_that_is_just_looked_at_waits_for_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it his zygote would be another one than the next attempt asks for, and end as such."""
    real, go = landmarks._look, threading.Event()
    kept = Landmarks(Premises(), Clock())
    await kept.look([])

    def slow(paths: list[str]) -> Any:
        go.wait(10)
        return real(paths)

    monkeypatch.setattr(landmarks, "_look", slow)
    looks = [asyncio.ensure_future(kept.look([str(tmp_path)])) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert kept.is_fresh()
    assert not any(look.done() for look in looks)
    go.set()
    await asyncio.gather(*looks)
    assert str(tmp_path) in kept.premises.identities
