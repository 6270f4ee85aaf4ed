"""APScheduler with many schedules, all due at once or spread: how late each job was called.

`cron_burst SCHEDULES PERIOD_S SPREAD TICKS`; prints the lateness of each call in seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import UTC

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from benchmarks.usage import cpu_s, memory_bytes

late_s: list[float] = []


def job(second: int, period_s: int) -> None:
    """Note how long ago this job was due. As light as a job can be."""
    now = time.time()
    late_s.append((now - second) % period_s)


async def run(schedules: int, period_s: int, is_spread: bool, ticks: int) -> dict[str, object]:
    scheduler = AsyncIOScheduler(
        timezone=UTC,
        job_defaults={"misfire_grace_time": None, "max_instances": 1000, "coalesce": False},
        executors={"default": {"type": "asyncio"}},
    )
    for number in range(schedules):
        second = number % period_s if is_spread else 0
        seconds = ",".join(str(one) for one in range(second, 60, period_s))
        trigger = CronTrigger(second=seconds, timezone=UTC)
        scheduler.add_job(call, trigger, args=(second, period_s))
    scheduler.start()
    me = {os.getpid()}
    used = -cpu_s(me)
    while len(late_s) < schedules * ticks:  # noqa: ASYNC110 - A job that sets an event would do more than a job.
        await asyncio.sleep(0.05)
    used += cpu_s(me)
    memory = memory_bytes(me)
    scheduler.shutdown(wait=False)
    return {"late_s": late_s, "cpu_s": used, "memory_bytes": memory}


async def call(second: int, period_s: int) -> None:
    """Run on the loop itself: a thread for each call would be slower."""
    job(second, period_s)


if __name__ == "__main__":
    schedules, period_s, spread, ticks = (int(argument) for argument in sys.argv[1:])
    print(json.dumps(asyncio.run(run(schedules, period_s, bool(spread), ticks))))
