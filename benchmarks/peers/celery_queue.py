"""Celery on Redis, set for many short tasks as its guide to optimizing says: results ignored, a large prefetch."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.peers.jobs import serve
from benchmarks.peers.marks import write_mark

app = Celery("bench", broker=os.environ["BENCH_REDIS"])
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=128,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop() -> None:
    pass


@app.task(name="mark")
def mark() -> None:
    write_mark()


def enqueue(count: int) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(count):
            noop.apply_async(producer=producer)


if __name__ == "__main__":
    serve(enqueue, mark.apply_async)
