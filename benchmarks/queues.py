"""The queue systems beside us: how each is filled and worked, by its own documentation's way to be fast."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.daemon import wait_until
from benchmarks.model import Sample, Stage
from benchmarks.peering import ask, long_running, python_of, redis_running
from benchmarks.usage import Window

__all__ = ["QUEUE_PEERS", "QueuePeer", "drain", "enqueue"]


@dataclass(frozen=True)
class QueuePeer:
    """One queue system: its script below benchmarks/peers, its worker's command, what it lacks beside us."""

    name: str
    script: str
    #: The worker's command line after the environment's `bin/`, with {redis} for the broker's URL.
    worker: tuple[str, ...]
    needs_redis: bool
    lacks: str


_REDIS = "Redis commits to memory: a crash loses what came after its last snapshot; "
_RQ = ("rq", "worker-pool", "bench", "--url", "{redis}", "-q", "--worker-class")

QUEUE_PEERS = {
    "huey": QueuePeer(
        "Huey, SQLite, 2 threads",
        "huey_queue",
        ("huey_consumer", "benchmarks.peers.huey_queue.huey", "-w", "2", "-k", "thread", "-q"),
        False,
        "fsync off; at most once (a task is deleted as it is taken); no isolation: threads of one process",
    ),
    "rq": QueuePeer(
        "RQ, fork per job, 1 worker",
        "rq_queue",
        (*_RQ, "rq.worker.Worker", "-n", "1"),
        True,
        _REDIS + "a fork for each job without memory cap or walls",
    ),
    "rq-2": QueuePeer(
        "RQ, fork per job, 2 workers",
        "rq_queue",
        (*_RQ, "rq.worker.Worker", "-n", "2"),
        True,
        _REDIS + "a fork for each job without memory cap or walls",
    ),
    "rq-simple": QueuePeer(
        "RQ SimpleWorker, 2 workers",
        "rq_queue",
        (*_RQ, "rq.worker.SimpleWorker", "-n", "2"),
        True,
        _REDIS + "no isolation: jobs run in the worker",
    ),
    "celery": QueuePeer(
        "Celery, Redis, 2 processes",
        "celery_queue",
        (
            *(
                "celery",
                "-A",
                "benchmarks.peers.celery_queue",
                "worker",
                "-c",
                "2",
                "-l",
                "WARNING",
            ),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ),
        True,
        _REDIS + "acknowledged before it runs, so at most once; processes are reused",
    ),
    "dramatiq": QueuePeer(
        "Dramatiq, Redis, 2 processes of 8 threads",
        "dramatiq_queue",
        ("dramatiq", "benchmarks.peers.dramatiq_queue", "-p", "2", "-t", "8"),
        True,
        _REDIS + "no isolation: threads of two processes",
    ),
}


def enqueue(peer: QueuePeer, stage: Stage, directory: Path, count: int) -> Sample:
    """Enqueue no-ops from one process, nobody working them. The sender's connection is open before."""
    python = python_of(stage)
    with _broker(peer, directory) as (environment, _):
        answer = ask(python, f"peers.{peer.script}", "enqueue", count, environment=environment)
    return Sample(count / float(answer["seconds"]))


def drain(peer: QueuePeer, stage: Stage, directory: Path, count: int) -> Sample:
    """Work a queue that holds `count` no-ops between two marks; the time is that between the marks.

    So the start of the workers is left out, and nothing counts while the workers work.
    """
    python = python_of(stage)
    bin_ = Path(python).parent
    with _broker(peer, directory) as (environment, brokers):
        ask(python, f"peers.{peer.script}", "fill", count, environment=environment)
        words = [word.format(redis=environment.get("BENCH_REDIS", "")) for word in peer.worker]
        command = [str(bin_ / words[0]), *words[1:]]
        marks = Path(environment["BENCH_MARKS"])
        with long_running(command, directory / "worker.log", environment) as pid:
            wait_until(lambda: len(_marks(marks)) >= 1, f"{peer.name} to begin", 60.0)
            with Window({pid, *brokers}) as window:
                wait_until(lambda: len(_marks(marks)) >= 2, f"{peer.name} to end", 300.0)
            seconds = (_marks(marks)[1] - _marks(marks)[0]) / 1e9
    return Sample(count / seconds, window.cpu_s * 1000 / count, window.memory_bytes)


@contextlib.contextmanager
def _broker(peer: QueuePeer, directory: Path) -> Iterator[tuple[dict[str, str], set[int]]]:
    """Yield the environment of the peer's processes, and the broker's process where there is one."""
    marks = directory / "marks"
    marks.unlink(missing_ok=True)
    environment = {"BENCH_MARKS": str(marks)}
    if peer.needs_redis:
        with redis_running(directory) as (url, pid):
            yield {**environment, "BENCH_REDIS": url}, {pid}
        (directory / "dump.rdb").unlink(missing_ok=True)
    else:
        for path in directory.glob("queue.db*"):
            path.unlink()
        yield {**environment, "BENCH_DATABASE": str(directory / "queue.db")}, set()


def _marks(path: Path) -> list[int]:
    try:
        lines = path.read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [int(line) for line in lines if line.endswith("\n")]
