"""A file is renamed in: how long until its handler runs, and what a burst of thousands does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count as counted
from pathlib import Path

from benchmarks.daemon import MeasuredDaemon, running, wait_until
from benchmarks.model import Bound, Contestant, CouldNotMeasure, Row, Sample, Stage
from benchmarks.peering import ask, python_of
from benchmarks.summary import percentile
from benchmarks.usage import Window

__all__ = ["files_rows"]

BURST = 10_000
PAUSE_S = 0.1
_FUNCTIONS = """
    import time
    from faasd import files, function

    @function(triggers=[files({slow!r})])
    def seen(event, context):
        return time.time()

    @function(triggers=[files({burst!r})])
    def burst(event, context):
        pass
"""
_LACKS = (
    "a callback in its own process: no handler process, no record, files of before the start unseen"
)
_ENDED = (
    "SELECT event_json, result_json FROM invocations WHERE function = 'seen' AND state = 'done'"
)
_ACCEPTED = "SELECT count(*), count(DISTINCT json_extract(event_json, '$.name')) FROM invocations WHERE function = 'burst'"
_numbers = counted()


@contextmanager
def files_rows(stage: Stage) -> Iterator[list[Row]]:
    """One file after the other, then a burst."""
    directory = Path(stage.directory)
    for name in ("slow", "burst", "outside"):
        (directory / name).mkdir()
    functions = _FUNCTIONS.format(slow=str(directory / "slow"), burst=str(directory / "burst"))
    single, many = stage.count(50, 10), stage.count(BURST, 100)
    with running(directory / "daemon", functions) as daemon:
        daemon.pause(
            "burst"
        )  # The burst's rows ask when a file is accepted, not when its turn comes.
        yield [
            Row(
                "file-latency",
                "a file is renamed in → its handler's first line, p50",
                "ms",
                Contestant("faasd", lambda: _latency(daemon, directory, single)),
                (
                    Contestant(
                        "bare watchdog: renamed in → callback",
                        lambda: _watchdog(stage, directory, single, PAUSE_S)[0],
                        _LACKS,
                    ),
                ),
                absolute=Bound(10.0, is_at_least=False),
            ),
            Row(
                "file-burst",
                f"a burst of {many} files → all accepted and on disk; none lost, none twice",
                "files/s",
                Contestant("faasd", lambda: _burst(daemon, directory, many)),
                (
                    Contestant(
                        "bare watchdog: all called back",
                        lambda: _watchdog(stage, directory, many, 0.0)[1],
                        _LACKS,
                    ),
                ),
            ),
        ]


def _latency(daemon: MeasuredDaemon, directory: Path, count: int) -> Sample:
    """Rename one in, wait for its end and a moment more; the handler returns when its first line ran."""
    renamed = {}
    with Window({daemon.pid}) as window:
        for _ in range(count):
            name = f"{next(_numbers)}.dat"
            (directory / "outside" / name).write_bytes(b"x")
            renamed[name] = time.time()
            (directory / "outside" / name).rename(directory / "slow" / name)
            wait_until(
                lambda: _results(daemon).keys() >= renamed.keys(), f"{name} to end", 30.0, 0.02
            )
            time.sleep(PAUSE_S)  # As between the peer's.
    results = _results(daemon)
    took_s = [results[name] - at for name, at in renamed.items()]
    return Sample(percentile(took_s, 50) * 1000, window.cpu_s * 1000 / count, window.memory_bytes)


def _results(daemon: MeasuredDaemon) -> dict[str, float]:
    return {json.loads(event)["name"]: json.loads(result) for event, result in daemon.rows(_ENDED)}


def _burst(daemon: MeasuredDaemon, directory: Path, count: int) -> Sample:
    """Rename all in as fast as one process can, and wait until each is accepted."""
    names = [f"{next(_numbers)}.dat" for _ in range(count)]
    for name in names:
        (directory / "outside" / name).write_bytes(b"x")
    before = _accepted(daemon)[0]
    with Window({daemon.pid}) as window:
        for name in names:
            (directory / "outside" / name).rename(directory / "burst" / name)
        wait_until(lambda: _accepted(daemon)[0] - before >= count, "the burst", 120.0, 0.02)
    accepted, distinct = _accepted(daemon)
    if accepted - before != count or distinct != accepted:
        raise CouldNotMeasure(
            f"of {count} files {accepted - before} were accepted, {accepted - distinct} of them twice"
        )
    return Sample(count / window.seconds, window.cpu_s * 1000 / count, window.memory_bytes)


def _accepted(daemon: MeasuredDaemon) -> tuple[int, int]:
    [(count, distinct)] = daemon.rows(_ACCEPTED)
    return count, distinct


def _watchdog(stage: Stage, directory: Path, count: int, pause_s: float) -> tuple[Sample, Sample]:
    """Return one sample of how long each took, and one of files a second."""
    round_ = directory / f"watchdog-{next(_numbers)}"
    for name in ("in", "out"):
        (round_ / name).mkdir(parents=True)
    answer = ask(
        python_of(stage), "peers.file_arrival", round_ / "in", round_ / "out", count, pause_s
    )
    if answer["lost"] or answer["twice"]:
        raise CouldNotMeasure(
            f"of {count} files it lost {answer['lost']} and told of {answer['twice']} twice"
        )
    cpu_ms = answer["cpu_s"] * 1000 / count
    memory = int(answer["memory_bytes"])
    return (
        Sample(percentile(answer["took_s"], 50) * 1000, cpu_ms, memory),
        Sample(count / answer["seconds"], cpu_ms, memory),
    )
