"""A fresh process for each job: ours, with its durable queue and its limits, beside the bare ways to start one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.daemon import running
from benchmarks.groups.throughput import FUNCTIONS, drain_ours
from benchmarks.model import Bound, Contestant, Row, Sample, Stage
from benchmarks.peering import ask, found_or_reason, python_of
from benchmarks.queues import QUEUE_PEERS, drain

__all__ = ["fresh_rows"]

_NO_QUEUE = "no queue, no record of outcomes, no retry"


@contextmanager
def fresh_rows(stage: Stage) -> Iterator[list[Row]]:
    """Jobs a second, each in a process of its own."""
    directory = Path(stage.directory)
    (directory / "peer").mkdir()
    with running(directory / "daemon", FUNCTIONS.format(settings="")) as daemon:
        ours = Contestant("faasd", lambda: drain_ours(daemon, stage.count(1000, 50)))
        yield [
            Row(
                "fresh",
                "no-op, each in a fresh process, from a full durable queue",
                "jobs/s",
                ours,
                (*_queues(stage, directory / "peer"), *_bare_ways(stage)),
            )
        ]


def _queues(stage: Stage, directory: Path) -> list[Contestant]:
    def measured(name: str) -> Contestant:
        peer = QUEUE_PEERS[name]
        bound = Bound(8.0, is_at_least=True) if name == "rq" else None
        count = stage.count(400, 30)
        return Contestant(
            peer.name, lambda: drain(peer, stage, directory, count), peer.lacks, bound
        )

    return [measured("rq"), measured("rq-2")]


def _bare_ways(stage: Stage) -> list[Contestant]:
    def measured(
        name: str, way: str, loops: int, count: int, lacks: str, bound: Bound | None = None
    ) -> Contestant:
        def measure() -> Sample:
            python = python_of(stage)
            if way == "bubblewrap":
                found_or_reason("bwrap", "bubblewrap")
            jobs = stage.count(count, 10) // loops * loops
            answer = ask(python, "peers.processes", way, jobs, loops)
            # bwrap does not wait for what it starts, so its processor time is known to nobody.
            cpu_ms = None if way == "bubblewrap" else answer["cpu_s"] * 1000 / jobs
            return Sample(jobs / answer["seconds"], cpu_ms, int(answer["memory_bytes"]))

        return Contestant(name, measure, lacks, bound)

    nothing = f"{_NO_QUEUE}, no limits, no walls, no output"
    return [
        measured("fork and exit, one loop", "fork", 1, 600, nothing, Bound(0.6, is_at_least=True)),
        measured("fork and exit, two loops", "fork", 2, 600, nothing),
        measured("subprocess python -I -c pass, two loops", "interpreter", 2, 100, nothing),
        measured(
            "bwrap python -I -c pass, two loops", "bubblewrap", 2, 60, f"{_NO_QUEUE}, no limits"
        ),
        measured("multiprocessing forkserver", "forkserver", 1, 200, nothing),
        measured(
            "pebble, 2 workers of 1 task each",
            "pebble",
            1,
            30,
            f"{_NO_QUEUE}, no memory cap, no walls",
        ),
    ]
