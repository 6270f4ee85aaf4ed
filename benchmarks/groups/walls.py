"""What the walls cost: the same fresh attempt with all of them, and with some left off, in turn."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.model import Bound, Contestant, Row, Sample, Stage
from faasd.model.function import Function
from faasd.model.permissions import Permissions
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import RecordingServices, an_attempt

__all__ = ["walls_rows"]

_FILES = ("landlock", "mounts")
_ALL = (*_FILES, "seccomp", "network_namespace")
_VARIANTS = {
    "all walls": (),
    "without the file walls": _FILES,
    "without the system-call filter": ("seccomp",),
    "with none of these": _ALL,
}


class _Sandboxes:
    """One set of sandboxes for each variant, each with its zygote warm."""

    def __init__(self, directory: Path) -> None:
        self._runner = asyncio.Runner()
        code = directory / "code"
        code.mkdir()
        (code / "noop.py").write_text("def handler(event, context):\n    pass\n")
        # Strict would refuse what we leave off on purpose.
        willing = Permissions(containment="best-effort")
        self._function = Function("noop", "noop:handler", code_dir=str(code), permissions=willing)
        self._by_variant: dict[str, ProcessSandboxes] = {}
        for name, without in _VARIANTS.items():
            state_dir = directory / name.replace(" ", "-")
            self._by_variant[name] = self._runner.run(self._started(state_dir, without))

    async def _started(self, state_dir: Path, without: tuple[str, ...]) -> ProcessSandboxes:
        sandboxes = ProcessSandboxes(state_dir, without=without)
        await sandboxes.start()
        await self._attempt(sandboxes)
        return sandboxes

    async def _attempt(self, sandboxes: ProcessSandboxes) -> float:
        """Run one attempt, which must be ok; returns what it took in milliseconds."""
        stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        outcome = await sandboxes.run(an_attempt(self._function), RecordingServices(), stop)
        took_ms = (time.perf_counter() - began) * 1000
        if outcome.word != "ok":
            raise RuntimeError(f"an attempt ended as {outcome}")
        return took_ms

    def median_ms(self, variant: str, attempts: int) -> float:
        async def measure() -> float:
            sandboxes = self._by_variant[variant]
            return statistics.median([await self._attempt(sandboxes) for _ in range(attempts)])

        return self._runner.run(measure())

    def cost_ms(self, attempts: int) -> float:
        """Return how much longer an attempt takes with all walls, attempt by attempt in turn."""

        async def measure() -> float:
            walls, none = self._by_variant["all walls"], self._by_variant["with none of these"]
            pairs = [
                await self._attempt(walls) - await self._attempt(none) for _ in range(attempts)
            ]
            return statistics.median(pairs)

        return self._runner.run(measure())

    def stop(self) -> None:
        for sandboxes in self._by_variant.values():
            self._runner.run(sandboxes.stop())
        self._runner.close()


@contextmanager
def walls_rows(stage: Stage) -> Iterator[list[Row]]:
    """Milliseconds for one attempt, from the daemon's request to its outcome, one after the other."""
    sandboxes = _Sandboxes(Path(stage.directory))
    count = stage.count(100, 20)

    def median_of(variant: str) -> Callable[[], Sample]:
        return lambda: Sample(sandboxes.median_ms(variant, count))

    ours, *others = [Contestant(name, median_of(name)) for name in _VARIANTS]
    difference = Contestant("faasd", lambda: Sample(sandboxes.cost_ms(count)))
    try:
        yield [
            Row("walls", "a fresh attempt, one at a time", "ms", ours, tuple(others)),
            Row(
                "walls-cost",
                "what all walls add to a fresh attempt, in pairs",
                "ms",
                difference,
                absolute=Bound(1.0, is_at_least=False),
            ),
        ]
    finally:
        sandboxes.stop()
