"""Who is got ready ahead: what fires soon, and what is kept warm; nobody who may not run."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

from faasd.dispatch.ahead import Ahead
from faasd.errors import ZygoteInitFailed
from faasd.model.function import Function


class Warmed:
    """Sandboxes that remember whom they were asked to warm."""

    def __init__(self, broken: str = "") -> None:
        self.names: list[str] = []
        self._broken = broken

    async def warm(self, function: Function) -> None:
        self.names.append(function.name)
        if function.name == self._broken:
            raise ZygoteInitFailed("cannot import", {"type": "X", "message": ""})


class Soon:
    """Schedules of these functions fire at these times."""

    def __init__(self, times: dict[str, float]) -> None:
        self._times = times

    def firing_before(self, at: float) -> list[str]:
        return sorted((n for n, t in self._times.items() if t < at), key=self._times.__getitem__)


def ahead(warmed: Warmed, times: dict[str, float], *functions: Function, **more: Any) -> Ahead:
    by_name = {one.name: one for one in functions}
    spine = SimpleNamespace(
        sandboxes=warmed,
        catalog=SimpleNamespace(get=by_name.get, all=lambda: list(by_name.values())),
        clock=SimpleNamespace(now=lambda: 1000.0, monotonic=lambda: 0.0),
    )
    given: dict[str, Any] = {"paused": set(), "refused": {}, "most": 16, **more}
    return Ahead(spine, Soon(times), **given)  # type: ignore[arg-type]


A, B, C = (Function(name, "m:f") for name in "abc")


async def test_what_fires_soon_is_warmed() -> None:
    """And what fires later, or was never heard of, is not."""
    warmed = Warmed()
    await ahead(warmed, {"a": 1004.0, "b": 1100.0, "gone": 1001.0}, A, B).step(keeps=False)
    assert warmed.names == ["a"]


async def test_who_may_not_run_is_not_warmed() -> None:
    """Paused functions keep their events waiting, refused ones may not even be imported."""
    warmed = Warmed()
    times = dict.fromkeys("abc", 1001.0)
    await ahead(warmed, times, A, B, C, paused={"a"}, refused={"b": "no"}).step(keeps=False)
    assert warmed.names == ["c"]


async def test_what_is_kept_warm_is_warmed_now_and_then() -> None:
    """At the start, and again in case that it died."""
    warmed = Warmed()
    one = ahead(warmed, {}, A, dataclasses.replace(B, keep_warm=True))
    await one.step(keeps=False)
    assert warmed.names == []
    await one.step(keeps=True)
    assert warmed.names == ["b"]


async def test_a_handler_that_cannot_be_imported_holds_nobody_up() -> None:
    """Its own attempts will say so."""
    warmed = Warmed(broken="a")
    await ahead(warmed, {"a": 1001.0, "b": 1002.0}, A, B).step(keeps=False)
    assert warmed.names == ["a", "b"]


async def test_not_more_are_warmed_than_could_run() -> None:
    """The first to fire first."""
    warmed = Warmed()
    times = {"a": 1003.0, "b": 1002.0, "c": 1001.0}
    await ahead(warmed, times, A, B, C, most=2).step(keeps=False)
    assert warmed.names == ["c", "b"]
