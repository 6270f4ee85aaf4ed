"""What a claim and an enqueue cost when so many invocations wait. Runs in faasd's own environment.

`own_depth STATE_DIR DEPTH …` fills one queue step by step and measures at each depth.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.summary import percentile
from faasd.clock import Clock
from faasd.functions.registry import Registry
from faasd.intake import Intake
from faasd.model.function import Function, Lane
from faasd.model.invocation import NewEvent
from faasd.store.open import open_store

__all__: list[str] = []

PORTION = 5000
TIMES = 200
_EVENT = NewEvent(
    function="noop", queue="noop", trigger="queue", source="bench", body={"body": None}
)


async def timed(step: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return the median of many times, and the processor time of each, in milliseconds."""
    took_s = []
    used_s = -time.process_time()
    for _ in range(TIMES):
        began = time.perf_counter()
        await step()
        took_s.append(time.perf_counter() - began)
    used_s += time.process_time()
    return percentile(took_s, 50) * 1000, used_s * 1000 / TIMES


async def run(path: str, depths: list[int]) -> list[dict[str, float]]:
    clock = Clock()
    store = await open_store(Path(path), clock)
    intake = Intake(
        Registry([Function("noop", "app:noop")]), store.invocations, clock, lambda *_: None
    )
    lane = Lane("noop", "noop")
    found, depth = [], 0
    for wanted in depths:
        while depth < wanted:
            portion = min(PORTION, wanted - depth)
            await intake.accept_many([_EVENT] * portion)
            depth += portion
        claim_ms, claim_cpu_ms = await timed(lambda: store.invocations.claim(lane, 1, 600.0))
        # As many as were claimed.
        enqueue_ms, enqueue_cpu_ms = await timed(lambda: intake.accept(_EVENT))
        found.append(
            {
                "depth": wanted,
                "claim_ms": claim_ms,
                "claim_cpu_ms": claim_cpu_ms,
                "enqueue_ms": enqueue_ms,
                "enqueue_cpu_ms": enqueue_cpu_ms,
            }
        )
    await store.close()
    return found


if __name__ == "__main__":
    measured = asyncio.run(run(sys.argv[1], [int(argument) for argument in sys.argv[2:]]))
    print(json.dumps({"depths": measured}))
