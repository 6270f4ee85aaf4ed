"""faasd's intake and store without the socket: 64 callers in one process. Runs in faasd's own environment."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from benchmarks.usage import cpu_s, memory_bytes
from faasd.clock import Clock
from faasd.functions.registry import Registry
from faasd.intake import Intake
from faasd.model.function import Function
from faasd.model.invocation import NewEvent
from faasd.store.open import open_store


async def caller(intake: Intake, count: int) -> None:
    for _ in range(count):
        await intake.accept(
            NewEvent(
                function="noop", queue="noop", trigger="queue", source="bench", body={"body": None}
            )
        )


async def run(path: str, count: int, callers: int) -> dict[str, float]:
    clock = Clock()
    store = await open_store(Path(path), clock)
    intake = Intake(
        Registry([Function("noop", "app:noop")]), store.invocations, clock, lambda *_: None
    )
    me = {os.getpid()}
    used = -cpu_s(me)
    began = time.perf_counter()
    await asyncio.gather(*(caller(intake, count // callers) for _ in range(callers)))
    seconds = time.perf_counter() - began
    used += cpu_s(me)
    answer = {"seconds": seconds, "cpu_s": used, "memory_bytes": memory_bytes(me)}
    await store.close()
    return answer


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
