"""A file is renamed in: how long until its handler runs, and what a burst of thousands does."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count as counted
from pathlib import Path

from benchmarks.daemon import MeasuredDaemon, running, wait_until, write_project
from benchmarks.model import Bound, Contestant, CouldNotMeasure, Row, Sample, Stage
from benchmarks.peering import ask, python_of
from benchmarks.summary import percentile
from benchmarks.usage import Window, cpu_s, memory_bytes

__all__ = ["files_rows"]

BURST = 10_000
LYING = 50_000
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
_LYING = """
    from faasd import files, function

    @function(triggers=[files({lying!r})])
    def burst(event, context):
        pass
"""
_LACKS = (
    "a callback in its own process: no handler process, no record, files of before the start unseen"
)
_ENDED = (
    "SELECT event_json, result_json FROM invocations WHERE function = 'seen' AND state = 'done'"
)
_ACCEPTED = "SELECT count(*) FROM invocations WHERE function = 'burst'"
_NAMES = "SELECT json_extract(event_json, '$.name') FROM invocations WHERE function = 'burst'"
_TWICE = f"{_NAMES} GROUP BY 1 HAVING count(*) > 1"
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
                f"a burst of {many:,} files → all accepted and on disk",
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
            Row(
                "file-once",
                "files of all bursts so far that were lost or accepted twice",
                "files",
                Contestant("faasd", lambda: Sample(_not_once(daemon, directory))),
                absolute=Bound(0.0, is_at_least=False),
            ),
            _lying_row(stage, directory),
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
    """Rename all in as fast as one process can, and wait until so many more are accepted."""
    names = [f"{next(_numbers)}.dat" for _ in range(count)]
    for name in names:
        (directory / "outside" / name).write_bytes(b"x")
    before = _accepted(daemon)
    with Window({daemon.pid}) as window:
        for name in names:
            (directory / "outside" / name).rename(directory / "burst" / name)
        wait_until(lambda: _accepted(daemon) - before >= count, "the burst", 120.0, 0.02)
    return Sample(count / window.seconds, window.cpu_s * 1000 / count, window.memory_bytes)


def _not_once(daemon: MeasuredDaemon, directory: Path) -> int:
    """Return how many files of the directory have no invocation, or more than one."""
    times = Counter(name for (name,) in daemon.rows(_NAMES))
    return sum(times[path.name] != 1 for path in (directory / "burst").iterdir())


def _accepted(daemon: MeasuredDaemon) -> int:
    [(count,)] = daemon.rows(_ACCEPTED)
    return int(count)


def _lying_row(stage: Stage, directory: Path) -> Row:
    count = stage.count(LYING, 500)
    return Row(
        "file-start",
        f"{count:,} files lie there when the daemon starts → all accepted and on disk, each once",
        "files/s",
        Contestant("faasd", lambda: _start(directory / f"lying-{next(_numbers)}", count)),
        (
            Contestant(
                "a script that lists them and commits with sqlite3",
                lambda: _script(stage, directory / f"lying-{next(_numbers)}", count),
                "no daemon starts, nothing is watched, no check whether a file is complete or known",
            ),
        ),
    )


def _start(directory: Path, count: int) -> Sample:
    """Start a daemon whose directory holds so many files; the function is paused, so nothing else runs."""
    files = _filled(directory, 0)
    daemon = MeasuredDaemon(write_project(directory / "daemon", _LYING.format(lying=str(files))))
    try:
        daemon.start()
        daemon.pause("burst")
        daemon.stop()
        _filled(directory, count)
        began = time.monotonic()
        daemon.start()
        wait_until(lambda: _accepted(daemon) >= count, "the files to be accepted", 300.0, 0.05)
        seconds = time.monotonic() - began
        if wrong := abs(_accepted(daemon) - count) + len(daemon.rows(_TWICE)):
            raise CouldNotMeasure(f"{wrong} of {count} files were accepted twice")
        return Sample(
            count / seconds, cpu_s({daemon.pid}) * 1000 / count, memory_bytes({daemon.pid})
        )
    finally:
        daemon.stop()
        shutil.rmtree(directory)


def _script(stage: Stage, directory: Path, count: int) -> Sample:
    files = _filled(directory, count)
    try:
        answer = ask(python_of(stage), "peers.file_list", files, directory / "list.db")
    finally:
        shutil.rmtree(directory)
    if answer["files"] != count:
        raise CouldNotMeasure(f"it saw {answer['files']} of {count} files")
    return Sample(
        count / answer["seconds"], answer["cpu_s"] * 1000 / count, int(answer["memory_bytes"])
    )


def _filled(directory: Path, count: int) -> Path:
    """Return a directory with so many small files."""
    files = directory / "files"
    files.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (files / f"{number}.dat").write_bytes(b"x")
    return files


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
