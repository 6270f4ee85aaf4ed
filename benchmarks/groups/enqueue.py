"""Durable enqueue: how many events a second are on disk when their senders go on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count as counted
from pathlib import Path

from benchmarks.daemon import MeasuredDaemon, running
from benchmarks.load import request_bytes, seconds_for
from benchmarks.model import Bound, Contestant, Row, Sample, Stage
from benchmarks.peering import ask
from benchmarks.queues import QUEUE_PEERS, enqueue
from benchmarks.usage import Window

__all__ = ["enqueue_rows"]

CALLERS = 64
BATCH = 100
FUNCTIONS = """
    from faasd import function

    @function()
    def noop(event, context):
        pass
"""
_PATH = "/api/v1/queues/noop/events"


@contextmanager
def enqueue_rows(stage: Stage) -> Iterator[list[Row]]:
    """64 callers over the socket, batches over the socket, and the intake without a socket."""
    directory = Path(stage.directory)
    (directory / "peer").mkdir()
    with running(directory / "daemon", FUNCTIONS) as daemon:
        daemon.pause("noop")
        bare = Contestant(
            "bare sqlite3, group commit",
            _alone(directory, sys.executable, "peers.bare_writer", stage.count(40_000, 640)),
            "no server, no checks, no ids, no wake: one thread that writes rows, in the callers' own process",
            Bound(0.5, is_at_least=True),
        )
        yield [
            Row(
                "enqueue-socket",
                f"durable enqueue through the daemon's socket, {CALLERS} callers, 1 event each",
                "events/s",
                Contestant("faasd", lambda: _over_socket(daemon, stage.count(10_000, 640), 1)),
                (bare, *_queue_peers(stage, directory / "peer")),
            ),
            Row(
                "enqueue-batch",
                f"the same in batches of {BATCH}, 4 callers",
                "events/s",
                Contestant("faasd", lambda: _over_socket(daemon, stage.count(40_000, 800), BATCH)),
                (bare,),
            ),
            Row(
                "enqueue-intake",
                f"intake and store in one process, {CALLERS} callers, no socket",
                "events/s",
                Contestant(
                    "faasd",
                    _alone(directory, sys.executable, "own_intake", stage.count(40_000, 640)),
                ),
                (bare,),
            ),
        ]


def _over_socket(daemon: MeasuredDaemon, events: int, batch: int) -> Sample:
    callers = CALLERS if batch == 1 else 4
    body = b'{"events":[' + b",".join([b'{"body":null}'] * batch) + b"]}"
    request = request_bytes("POST", _PATH, body)
    with Window({daemon.pid}) as window:
        seconds = seconds_for(daemon.client.socket_path, request, events // batch, callers)
    return Sample(events / seconds, window.cpu_s * 1000 / events, window.memory_bytes)


def _queue_peers(stage: Stage, directory: Path) -> list[Contestant]:
    def measured(name: str, events: int) -> Callable[[], Sample]:
        return lambda: enqueue(QUEUE_PEERS[name], stage, directory, events)

    return [
        Contestant(
            f"{QUEUE_PEERS[name].name.split(',')[0]}, 1 caller",
            measured(name, stage.count(events)),
            f"enqueue only; {QUEUE_PEERS[name].lacks.split(';')[0]}",
        )
        for name, events in (("huey", 5000), ("rq", 5000), ("celery", 2000), ("dramatiq", 5000))
    ]


def _alone(directory: Path, python: str, script: str, events: int) -> Callable[[], Sample]:
    """Run one process that enqueues into a fresh database and tells how long it took."""
    rounds = counted()

    def measure() -> Sample:
        path = directory / f"{script}-{next(rounds)}"
        answer = ask(python, script, path, events, CALLERS)
        return Sample(
            events / answer["seconds"], answer["cpu_s"] * 1000 / events, int(answer["memory_bytes"])
        )

    return measure
