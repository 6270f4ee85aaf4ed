"""Huey on SQLite, as its documentation shows it: fsync off, results not stored, worker threads."""

from __future__ import annotations

import os

from huey import SqliteHuey

from benchmarks.peers.jobs import serve
from benchmarks.peers.marks import write_mark

huey = SqliteHuey("bench", filename=os.environ["BENCH_DATABASE"], results=False, fsync=False)


@huey.task()
def noop() -> None:
    pass


@huey.task()
def mark() -> None:
    write_mark()


def enqueue(count: int) -> None:
    for _ in range(count):
        noop()


if __name__ == "__main__":
    # The consumer imports this file by its name in the package, and so must the sender.
    from benchmarks.peers import huey_queue  # noqa: PLW0406 - See above.

    serve(huey_queue.enqueue, huey_queue.mark)
