"""RQ: jobs enqueued through one pipeline in portions, results not kept."""

from __future__ import annotations

import os

from redis import Redis
from rq import Queue

from benchmarks.peers import rq_jobs
from benchmarks.peers.jobs import serve

PORTION = 500

queue = Queue("bench", connection=Redis.from_url(os.environ["BENCH_REDIS"]))


def enqueue(count: int) -> None:
    for begin in range(0, count, PORTION):
        portion = min(PORTION, count - begin)
        queue.enqueue_many([Queue.prepare_data(rq_jobs.noop, result_ttl=0) for _ in range(portion)])


def mark() -> None:
    queue.enqueue(rq_jobs.mark, result_ttl=0)


if __name__ == "__main__":
    serve(enqueue, mark)
