"""What a claim costs beside so many finished invocations, and while retention deletes them. In faasd's own environment.

`own_history STATE_DIR FINISHED:WAITING …` fills the history step by step, and measures at each size with so many waiting.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.summary import percentile
from faasd.clock import Clock
from faasd.functions.registry import Registry
from faasd.intake import Intake
from faasd.model.function import Function, Lane
from faasd.model.invocation import NewEvent
from faasd.store.database import DATABASE_NAME
from faasd.store.open import Store, open_store
from faasd.store.retention import Retention

__all__: list[str] = []

PORTION = 5000
TIMES = 200
DELETED = 20_000
_EVENT = NewEvent(
    function="noop", queue="noop", trigger="queue", source="bench", body={"body": None}
)
_LANE = Lane("noop", "noop")
#: As the daemon leaves them behind, made by SQLite itself: through the daemon a million would take minutes.
_FINISHED = """
    WITH RECURSIVE n (x) AS (SELECT :first UNION ALL SELECT x + 1 FROM n WHERE x + 1 < :last)
    INSERT INTO invocations (id, function, queue, trigger, source, state, readiness, priority, created_at,
        due_at, attempts, started_at, ended_at, outcome, event_json, result_json)
    SELECT printf('00000000-0000-7000-8000-%012x', x), 'noop', 'noop', 'queue', 'noop', 'done', 1, 0,
        1e9 + x, 1e9 + x, 1, 1e9 + x, 1e9 + x, 'ok', '{"body":null,"queue":"noop"}', 'null' FROM n
"""
_ATTEMPTS = """
    INSERT INTO attempts (invocation_seq, number, attempt_id, function, code_version, outcome, started_at,
        ended_at, queue_wait_s, wall_s, batch_size, output_truncated, degraded_json, log_tail)
    SELECT seq, 1, id, 'noop', 'v1', 'ok', started_at, ended_at, 0, 0.01, 1, 0, '[]', ''
    FROM invocations WHERE state = 'done' AND created_at >= 1e9 + :first AND created_at < 1e9 + :last
"""


class Size(NamedTuple):
    """How much there is when claims are measured."""

    finished: int
    waiting: int


def fill(state_dir: Path, first: int, last: int) -> None:
    """Add finished invocations with an attempt each, while no store has the database open."""
    connection = sqlite3.connect(state_dir / DATABASE_NAME)
    for statement in (_FINISHED, _ATTEMPTS):
        connection.execute(statement, {"first": first, "last": last})
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def claimed(store: Store, count: int) -> tuple[list[float], float]:
    """Claim one invocation after the other, each with its commit; returns each one's ms, and its processor ms."""
    took = []
    used = -time.process_time()
    for _ in range(count):
        began = time.perf_counter()
        claims = await store.invocations.claim(_LANE, 1, 600.0)
        took.append((time.perf_counter() - began) * 1000)
        if not claims:
            raise RuntimeError("nothing is left to claim")
    used += time.process_time()
    return took, used * 1000 / count


async def during_retention(store: Store, kept: int) -> dict[str, float]:
    """Measure claims while retention deletes what is more than `kept`."""
    began = time.perf_counter()
    retaining = asyncio.create_task(
        store.retain(Retention(finished_s=None, finished_count_max=kept, dead_s=None))
    )
    took: list[float] = []
    while not retaining.done():
        took += (await claimed(store, 1))[0]
    deleted = await retaining
    return {
        "deleted": deleted,
        "deleted_a_second": deleted / (time.perf_counter() - began),
        "retention_ms": percentile(took, 50),
        "retention_p99_ms": percentile(took, 99),
    }


async def measure(state_dir: Path, size: Size, first: int, have: int) -> dict[str, float]:
    """Bring the history to a size, of which it has so many, and measure; its next row has the number `first`."""
    clock = Clock()
    store = await open_store(state_dir, clock)  # Makes the schema, where there is none.
    intake = Intake(
        Registry([Function("noop", "app:noop")]), store.invocations, clock, lambda *_: None
    )
    for begin in range(0, size.waiting, PORTION):
        await intake.accept_many([_EVENT] * min(PORTION, size.waiting - begin))
    await store.close()  # What was written goes into the database, so claims do not pay for it.
    if size.finished > have:
        fill(state_dir, first, first + size.finished - have)
    store = await open_store(state_dir, clock)
    took, cpu_ms = await claimed(store, TIMES)
    found = {
        "finished": size.finished,
        "waiting": size.waiting,
        "claim_ms": percentile(took, 50),
        "claim_p99_ms": percentile(took, 99),
        "claim_cpu_ms": cpu_ms,
    }
    if size.finished > 2 * DELETED:
        found |= await during_retention(store, size.finished - DELETED)
    await store.close()
    return found


async def run(state_dir: Path, sizes: Sequence[Size]) -> list[dict[str, float]]:
    found: list[dict[str, float]] = []
    first = have = 0
    for size in sizes:
        one = await measure(state_dir, size, first, have)
        first += max(0, size.finished - have)
        have = size.finished - int(one.get("deleted", 0))
        found.append(one)
    return found


if __name__ == "__main__":
    sizes = [Size(*map(int, argument.split(":"))) for argument in sys.argv[2:]]
    print(json.dumps({"sizes": asyncio.run(run(Path(sys.argv[1]), sizes))}))
