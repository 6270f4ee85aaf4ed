"""Print how fast the store is here: `python -m tests.unit.store.report_speed`. A report, not a test."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import statistics
import tempfile
import threading
import time
from pathlib import Path

from faasd.clock import Clock
from faasd.model.function import Lane
from faasd.model.ids import new_id
from faasd.model.invocation import NewInvocation
from faasd.store.open import Store, open_store
from tests.conformance.making import LANE, a_finish, an_invocation

CALLERS = 64
COUNT = 20_000
BODY = '{"to":"' + "x" * 290 + '"}'


def fresh(now: float) -> NewInvocation:
    return an_invocation(created_at=now, due_at=now, event_json=BODY)


async def enqueues_per_s(store: Store) -> float:
    clock = Clock()

    async def caller() -> None:
        for _ in range(COUNT // CALLERS):
            await store.invocations.enqueue([fresh(clock.now())])

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return COUNT / (time.perf_counter() - began)


async def bare_per_s(directory: Path, schema_of: Path | None) -> float:
    """The same loop on bare sqlite3, into our table or, without a schema, into the least one."""
    driver = sqlite3.connect(directory / "bare.db", isolation_level=None, check_same_thread=False)
    driver.execute("PRAGMA journal_mode = WAL")
    driver.execute("PRAGMA synchronous = FULL")
    if schema_of is None:
        driver.execute("CREATE TABLE q (id TEXT PRIMARY KEY, queue TEXT, due REAL, body TEXT)")
        sql = "INSERT INTO q VALUES (?, ?, ?, ?)"
    else:
        ours = sqlite3.connect(schema_of)
        for (statement,) in ours.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        ):
            driver.execute(statement)
        ours.close()
        sql = (
            "INSERT INTO invocations (id, queue, due_at, event_json, function, trigger, source,"
            " state, readiness, priority, created_at)"
            " VALUES (?, ?, ?, ?, 'send', 'queue', 'mail', 'waiting', 1, 0, 0)"
        )
    inbox: queue.SimpleQueue[tuple[tuple[object, ...], asyncio.Future[None]] | None]
    inbox = queue.SimpleQueue()
    loop = asyncio.get_running_loop()
    writing = threading.Thread(target=bare_writer, args=(driver, sql, inbox, loop))
    writing.start()

    async def caller() -> None:
        for _ in range(COUNT // CALLERS):
            done = loop.create_future()
            inbox.put(((new_id(), "mail", time.time(), BODY), done))
            await done

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    took_s = time.perf_counter() - began
    inbox.put(None)
    writing.join()
    driver.close()
    return COUNT / took_s


def bare_writer(
    driver: sqlite3.Connection,
    sql: str,
    inbox: queue.SimpleQueue[tuple[tuple[object, ...], asyncio.Future[None]] | None],
    loop: asyncio.AbstractEventLoop,
) -> None:
    while (item := inbox.get()) is not None:
        group = [item]
        while not inbox.empty() and (more := inbox.get()) is not None:
            group.append(more)
        driver.execute("BEGIN IMMEDIATE")
        for values, _ in group:
            driver.execute(sql, values)
        driver.execute("COMMIT")
        loop.call_soon_threadsafe(lambda group=group: [done.set_result(None) for _, done in group])


async def claims_and_finishes_per_s(store: Store) -> float:
    count = 0
    began = time.perf_counter()
    while claims := await store.invocations.claim(LANE, 50, 30):
        await store.invocations.finish([a_finish(claim) for claim in claims])
        count += len(claims)
    return count / (time.perf_counter() - began)


async def claim_ms(store: Store, lane: Lane, count_max: int) -> float:
    times = []
    for _ in range(40):
        began = time.perf_counter()
        await store.invocations.claim(lane, count_max, 30)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        store = await open_store(directory / "state", Clock())
        ours = await enqueues_per_s(store)
        same_table = await bare_per_s(directory, store.path)
        (directory / "bare.db").unlink()
        least = await bare_per_s(directory, None)
        print(f"enqueue, {CALLERS} callers: {ours:,.0f}/s")
        print(f"  bare sqlite3, our table: {same_table:,.0f}/s, ratio {ours / same_table:.2f}")
        print(f"  bare sqlite3, least table: {least:,.0f}/s, ratio {ours / least:.2f}")
        print(f"claim + finish by 50: {await claims_and_finishes_per_s(store):,.0f}/s")
        await fill(store)
        print(f"claim of 1, 200k finished, 10k waiting: {await claim_ms(store, LANE, 1):.2f} ms")
        print(f"claim of 50: {await claim_ms(store, LANE, 50):.2f} ms")
        one_key = Lane("one-key", "send")
        began = time.perf_counter()
        await store.invocations.claim(one_key, 10, 30)
        first_ms = (time.perf_counter() - began) * 1000
        again_ms = await claim_ms(store, one_key, 10)
        print(f"claim, 10k behind one running key: first {first_ms:.0f} ms, then {again_ms:.2f} ms")
        began = time.perf_counter()
        await store.history.queue_counts()
        print(f"queue counts: {(time.perf_counter() - began) * 1000:.1f} ms")
        await store.close()


async def fill(store: Store) -> None:
    now = Clock().now()
    for _ in range(200):
        await store.invocations.enqueue(
            [an_invocation(skip_reason="missed", created_at=now) for _ in range(1000)]
        )
    for _ in range(10):
        await store.invocations.enqueue([fresh(now) for _ in range(1000)])
        await store.invocations.enqueue(
            [an_invocation(queue="one-key", group_key="k", due_at=now) for _ in range(1000)]
        )


if __name__ == "__main__":
    asyncio.run(main())
