"""A writer loop on bare sqlite3: 64 callers, one thread, whatever waits goes into one commit. No server, no checks."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import sqlite3
import sys
import threading
import time

from benchmarks.usage import cpu_s, memory_bytes

INSERT = "INSERT INTO events (id, queue, state, created_at, body) VALUES (?, 'q', 'waiting', ?, ?)"
TABLE = (
    "CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, queue TEXT NOT NULL,"
    " state TEXT NOT NULL, created_at REAL NOT NULL, body TEXT NOT NULL)"
)
INDEX = "CREATE INDEX waiting ON events (queue, seq) WHERE state = 'waiting'"
Item = tuple[tuple[str, float, str], "asyncio.Future[None]"]


def write_all(
    path: str, inbox: queue.SimpleQueue[Item | None], loop: asyncio.AbstractEventLoop
) -> None:
    """Commit what waits, then answer."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    while (item := inbox.get()) is not None:
        group = [item]
        while not inbox.empty() and (more := inbox.get()) is not None:
            group.append(more)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, [values for values, _ in group])
        connection.execute("COMMIT")
        loop.call_soon_threadsafe(answer, group)
    connection.close()


def answer(group: list[Item]) -> None:
    for _, future in group:
        future.set_result(None)


async def caller(inbox: queue.SimpleQueue[Item | None], name: int, count: int) -> None:
    loop = asyncio.get_running_loop()
    for number in range(count):
        future: asyncio.Future[None] = loop.create_future()
        inbox.put(((f"{name}-{number}", time.time(), '{"body":null}'), future))
        await future


async def run(path: str, count: int, callers: int) -> float:
    inbox: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
    loop = asyncio.get_running_loop()
    thread = threading.Thread(target=write_all, args=(path, inbox, loop))
    thread.start()
    began = time.perf_counter()
    await asyncio.gather(*(caller(inbox, name, count // callers) for name in range(callers)))
    seconds = time.perf_counter() - began
    inbox.put(None)
    thread.join()
    return seconds


def main() -> None:
    path, count, callers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(TABLE)
    connection.execute(INDEX)
    connection.close()
    me = {os.getpid()}
    before = cpu_s(me)
    seconds = asyncio.run(run(path, count, callers))
    used = cpu_s(me) - before
    print(json.dumps({"seconds": seconds, "cpu_s": used, "memory_bytes": memory_bytes(me)}))


if __name__ == "__main__":
    main()
