"""No-op jobs through a durable queue: ours beside queue systems, each with the processors of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.daemon import MeasuredDaemon, can, running
from benchmarks.model import Bound, Contestant, CouldNotMeasure, Row, Sample, Stage
from benchmarks.queues import QUEUE_PEERS, drain
from benchmarks.usage import Window

__all__ = ["drain_ours", "throughput_rows"]

FUNCTIONS = """
    from faasd import function

    @function({settings})
    def noop(event, context):
        pass
"""


@contextmanager
def throughput_rows(stage: Stage) -> Iterator[list[Row]]:
    """A warm sandbox against reused workers, a fresh one for each event against the same."""
    directory = Path(stage.directory)
    (directory / "peer").mkdir()
    peers = [
        _peer(stage, directory / "peer", "huey", 20_000, Bound(1.0, is_at_least=True)),
        _peer(stage, directory / "peer", "rq-simple", 2000),
        _peer(stage, directory / "peer", "celery", 4000),
        _peer(stage, directory / "peer", "dramatiq", 4000),
    ]
    with running(directory / "fresh", FUNCTIONS.format(settings="")) as fresh:
        fresh_row = Row(
            "queue-fresh",
            "no-op through the durable queue, a fresh sandbox for each, at least once",
            "jobs/s",
            Contestant("faasd", lambda: drain_ours(fresh, stage.count(2000, 50))),
            tuple(_without_target(peer) for peer in peers[:1]),
        )
        with _warm(directory / "warm", stage) as warm:
            yield [
                Row(
                    "queue-warm",
                    "no-op through the durable queue, reuse, at least once, synchronous=FULL",
                    "jobs/s",
                    warm,
                    tuple(peers),
                ),
                fresh_row,
            ]


def drain_ours(daemon: MeasuredDaemon, count: int) -> Sample:
    """Let a paused function's queue fill, then run; the time is from the resume to the last end."""
    daemon.client.invoke("noop")  # The zygote is there.
    daemon.pause("noop")
    daemon.fill("noop", count)
    with Window({daemon.pid}) as window, daemon.attempts_awaited(count):
        daemon.resume("noop")
    return Sample(count / window.seconds, window.cpu_s * 1000 / count, window.memory_bytes)


@contextmanager
def _warm(directory: Path, stage: Stage) -> Iterator[Contestant]:
    if not can("reuse"):

        def refuse() -> Sample:
            raise CouldNotMeasure("this version has no warm sandboxes (`reuse`)")

        yield Contestant("faasd", refuse)
        return
    with running(directory, FUNCTIONS.format(settings="reuse=1_000_000")) as daemon:
        yield Contestant("faasd", lambda: drain_ours(daemon, stage.count(20_000, 50)))


def _peer(
    stage: Stage, directory: Path, name: str, jobs: int, ratio: Bound | None = None
) -> Contestant:
    peer = QUEUE_PEERS[name]

    def measure() -> Sample:
        return drain(peer, stage, directory, stage.count(jobs, 50))

    return Contestant(peer.name, measure, peer.lacks, ratio)


def _without_target(contestant: Contestant) -> Contestant:
    return Contestant(contestant.name, contestant.measure, contestant.lacks)
