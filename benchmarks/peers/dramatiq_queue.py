"""Dramatiq on Redis, with its default middleware."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers.jobs import serve
from benchmarks.peers.marks import write_mark

broker = RedisBroker(url=os.environ["BENCH_REDIS"])
dramatiq.set_broker(broker)


@dramatiq.actor
def noop() -> None:
    pass


@dramatiq.actor
def mark() -> None:
    write_mark()


def enqueue(count: int) -> None:
    for _ in range(count):
        noop.send()


if __name__ == "__main__":
    serve(enqueue, mark.send)
