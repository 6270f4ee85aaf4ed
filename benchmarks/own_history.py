"""What a claim costs beside so many finished invocations, and while retention deletes them. In faasd's own environment.

`own_history STATE_DIR COUNT …` fills the history step by step and measures at each size.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

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

WAITING = 3000
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


def fill(state_dir: Path, first: int, last: int) -> None:
    """Add finished invocations with an attempt each, while no store has the database open."""
    connection = sqlite3.connect(state_dir / DATABASE_NAME)
    for statement in (_FINISHED, _ATTEMPTS):
        connection.execute(statement, {"first": first, "last": last})
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def claims_ms(store: Store, count: int) -> list[float]:
    """Return how long claims of one invocation took, one after the other, each with its commit."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        claims = await store.invocations.claim(_LANE, 1, 600.0)
        took.append((time.perf_counter() - began) * 1000)
        if not claims:
            raise RuntimeError("nothing is left to claim")
    return took


async def during_retention_ms(store: Store, kept: int) -> list[float]:
    """Return how long claims took while retention deleted what is more than `kept`."""
    retaining = asyncio.create_task(
        store.retain(Retention(finished_s=None, finished_count_max=kept, dead_s=None))
    )
    took: list[float] = []
    while not retaining.done():
        took += await claims_ms(store, 1)
    await retaining
    return took


async def measure(state_dir: Path, wanted: int, before: int) -> dict[str, float]:
    """Bring the history to a size and measure."""
    clock = Clock()
    store = await open_store(state_dir, clock)  # Makes the schema, where there is none.
    await store.close()
    fill(state_dir, before, wanted)
    store = await open_store(state_dir, clock)
    intake = Intake(
        Registry([Function("noop", "app:noop")]), store.invocations, clock, lambda *_: None
    )
    await intake.accept_many([_EVENT] * WAITING)
    quiet = await claims_ms(store, TIMES)
    found = {
        "finished": wanted,
        "claim_ms": percentile(quiet, 50),
        "claim_p99_ms": percentile(quiet, 99),
    }
    if wanted > 2 * DELETED:
        began = time.perf_counter()
        busy = await during_retention_ms(store, wanted - DELETED)
        found["deleted_a_second"] = DELETED / (time.perf_counter() - began)
        found["retention_ms"] = percentile(busy, 50)
        found["retention_p99_ms"] = percentile(busy, 99)
    await store.close()
    return found


async def run(state_dir: Path, counts: Sequence[int]) -> list[dict[str, float]]:
    found, before = [], 0
    for wanted in counts:
        found.append(await measure(state_dir, wanted, before))
        before = wanted
    return found


if __name__ == "__main__":
    sizes = [int(argument) for argument in sys.argv[2:]]
    print(json.dumps({"sizes": asyncio.run(run(Path(sys.argv[1]), sizes))}))
