"""Start, idleness, a crash, and the command line's own start."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count as counted
from pathlib import Path

from benchmarks.daemon import MeasuredDaemon, running, wait_until, write_project
from benchmarks.groups.api import uvicorn_running
from benchmarks.groups.throughput import FUNCTIONS
from benchmarks.model import Bound, Contestant, CouldNotMeasure, Row, Sample, Stage
from benchmarks.peering import long_running, python_of, redis_running
from benchmarks.queues import QUEUE_PEERS
from benchmarks.starting import timed_processes
from benchmarks.usage import longest_silence_s, memory_bytes, scheduled_s, voluntary_switches

__all__ = ["cold_rows", "idle_rows", "recovery_rows", "start_rows"]

#: The same at every scale: what the daemon looks at every five seconds it does in one burst, so less would be luck.
IDLE_S = 10.0
IDLERS = ("huey", "celery")
TEN_FUNCTIONS = """
    from faasd import cron, files, function, queue

    def handler(event, context):
        pass

    for number in range(10):
        triggers = [
            cron("0 3 * * *", name=f"nightly-{{number}}"),
            queue(f"work-{{number}}"),
            files({watched!r} + f"/{{number}}"),
        ]
        globals()[f"f{{number}}"] = function(name=f"f{{number}}", triggers=triggers)(handler)
"""
_AT_MOST_MIB = Bound(80.0, is_at_least=False)
_AT_MOST_CPU = Bound(0.3, is_at_least=False)
#: Who polls faster than that never sleeps so long.
_A_SECOND = Bound(1.0, is_at_least=True)
_SLOW = """
    import time
    from faasd import function

    @function(timeout="120s", retry={{"attempts": 3, "first": "10s"}}, write=[{marks!r}])
    def slow(event, context):
        began = time.time()
        if context.attempt == 1 and not event["body"]["again"]:
            open(event["body"]["mark"], "w").close()
            time.sleep(100)
        return began
"""


@contextmanager
def start_rows(stage: Stage) -> Iterator[list[Row]]:
    """From the start of the process to its answer."""
    directory = Path(stage.directory)
    rounds = counted()

    def ours() -> Sample:
        daemon = MeasuredDaemon(_ten_functions(directory / f"start-{next(rounds)}"))
        try:
            return Sample(daemon.start(), None, memory_bytes({daemon.pid}))
        finally:
            daemon.stop()

    def uvicorn() -> Sample:
        began = time.monotonic()
        (directory / "uvicorn.sock").unlink(missing_ok=True)
        with uvicorn_running(stage, directory) as (_, pid):
            return Sample(time.monotonic() - began, None, memory_bytes({pid}))

    yield [
        Row(
            "start",
            "start → ready, 10 functions with a schedule, a queue and a directory each",
            "s",
            Contestant("faasd", ours),
            (Contestant("bare uvicorn and Starlette", uvicorn, "a server and nothing behind it"),),
            absolute=Bound(0.8, is_at_least=False),
        )
    ]


@contextmanager
def idle_rows(stage: Stage) -> Iterator[list[Row]]:
    """An idle daemon's memory, processor time and wake-ups, all read over the same seconds."""
    directory = Path(stage.directory)
    (directory / "peer").mkdir()
    daemon = MeasuredDaemon(_ten_functions(directory / "daemon"))
    daemon.start()
    _let_settle({daemon.pid})
    sides = [
        ("faasd", _Idle(lambda: _read({daemon.pid}))),
        *((QUEUE_PEERS[name].name, _idle_peer(stage, directory, name)) for name in IDLERS),
    ]
    whose = "an idle daemon with 10 functions, all its processes"
    try:
        yield [
            _idle_row("idle-memory", f"memory of {whose}", "MiB", sides, _AT_MOST_MIB),
            _idle_row("idle-cpu", f"processor time of {whose}", "% of a core", sides, _AT_MOST_CPU),
            _idle_row("idle-wakeups", f"wake-ups of {whose}", "/s", sides, None),
            _idle_row("idle-silence", f"longest sleep of {whose}, together", "s", sides, _A_SECOND),
        ]
    finally:
        daemon.stop()


class _Idle:
    """One side while it is idle: what is read together is asked for by unit, a row for each."""

    def __init__(self, read: Callable[[], dict[str, float]]) -> None:
        self._read = read
        self._left: dict[str, float] = {}

    def take(self, unit: str) -> Sample:
        """Return one value, read anew when it was taken before."""
        if unit not in self._left:
            self._left = self._read()
        return Sample(self._left.pop(unit))


def _idle_row(
    name: str, title: str, unit: str, sides: list[tuple[str, _Idle]], bound: Bound | None
) -> Row:
    contestants = [
        Contestant(
            who, partial(side.take, unit), "" if who == "faasd" else "no schedules, no files"
        )
        for who, side in sides
    ]
    return Row(name, title, unit, contestants[0], tuple(contestants[1:]), bound)


def _ten_functions(directory: Path) -> Path:
    watched = directory / "watched"
    for number in range(10):
        (watched / str(number)).mkdir(parents=True)
    return write_project(directory, TEN_FUNCTIONS.format(watched=str(watched)))


def _idle_peer(stage: Stage, directory: Path, name: str) -> _Idle:
    peer = QUEUE_PEERS[name]
    place = directory / "peer"

    def read() -> dict[str, float]:
        bin_ = Path(python_of(stage)).parent
        with redis_running(place) as (url, redis_pid):
            environment = {
                "BENCH_REDIS": url,
                "BENCH_MARKS": str(place / "marks"),
                "BENCH_DATABASE": str(place / "queue.db"),
            }
            command = [str(bin_ / peer.worker[0]), *peer.worker[1:]]
            with long_running(command, place / "worker.log", environment) as pid:
                _let_settle({pid})
                return _read({pid, redis_pid} if peer.needs_redis else {pid})

    return _Idle(read)


def _let_settle(roots: set[int]) -> None:
    """Wait until a program that was just started uses next to no processor time for a second."""

    def is_quiet() -> bool:
        before = scheduled_s(roots)
        time.sleep(1.0)
        return scheduled_s(roots) - before < 0.03

    wait_until(is_quiet, "what was started to be idle", 30.0)


def _read(roots: set[int]) -> dict[str, float]:
    used_s, switches = -scheduled_s(roots), -voluntary_switches(roots)
    silence_s = longest_silence_s(roots, IDLE_S)
    used_s += scheduled_s(roots)
    switches += voluntary_switches(roots)
    return {
        "MiB": memory_bytes(roots) / 2**20,
        "% of a core": used_s / IDLE_S * 100,
        "/s": switches / IDLE_S,
        "s": silence_s,
    }


@contextmanager
def recovery_rows(stage: Stage) -> Iterator[list[Row]]:
    """kill -9 with work in flight; how soon after the next start it runs again."""
    directory = Path(stage.directory)
    marks = directory / "marks"
    marks.mkdir()
    daemon = MeasuredDaemon(write_project(directory / "daemon", _SLOW.format(marks=str(marks))))
    daemon.start()
    rounds = counted()

    def ours() -> Sample:
        mark = marks / f"began-{next(rounds)}"
        body = {"mark": str(mark), "again": False}
        invocation = daemon.client.enqueue("slow", body)
        wait_until(mark.exists, "the first attempt to begin", 30.0)
        daemon.kill9()
        started_at = time.time()
        daemon.start()
        return Sample(float(daemon.result_of(invocation)) - started_at)

    def documented() -> Sample:
        raise CouldNotMeasure("not run here: their documentation names 1 hour and 30 seconds")

    try:
        yield [
            Row(
                "recovery",
                "kill -9 in the middle of an attempt; next start → it runs again",
                "s",
                Contestant("faasd", ours),
                (Contestant("River and Oban; Procrastinate", documented, "rescue by age"),),
                absolute=Bound(1.0, is_at_least=False),
            )
        ]
    finally:
        daemon.stop()


@contextmanager
def cold_rows(stage: Stage) -> Iterator[list[Row]]:
    """The wall time of a process that enqueues one event and ends, as a shell script starts it."""
    directory = Path(stage.directory)
    count = stage.count(40, 5)
    database = {"BENCH_DATABASE": str(directory / "cold.db")}
    with running(directory / "daemon", FUNCTIONS.format(settings="")) as daemon:
        daemon.pause("noop")
        faasd = str(Path(sys.executable).parent / "faasd")
        command = [faasd, "enqueue", "noop", "{}", "--config", str(daemon.config)]
        yield [
            Row(
                "cold-enqueue",
                "`faasd enqueue` from the shell, to the end of the process, p50",
                "ms",
                Contestant("faasd", lambda: timed_processes(command, count, {})),
                (
                    Contestant(
                        "python -I -c pass",
                        lambda: timed_processes([sys.executable, "-I", "-c", "pass"], count, {}),
                        "does nothing",
                    ),
                    Contestant(
                        "a script that commits with sqlite3",
                        _script(stage, "cold_sqlite", count, database),
                        "one row, no checks, nobody told",
                    ),
                    Contestant(
                        "a script that enqueues with Huey",
                        _script(stage, "cold_huey", count, database),
                        "fsync off",
                    ),
                ),
                absolute=Bound(40.0, is_at_least=False),
            )
        ]


def _script(
    stage: Stage, module: str, count: int, environment: dict[str, str]
) -> Callable[[], Sample]:
    def measure() -> Sample:
        command = [python_of(stage), "-m", f"benchmarks.peers.{module}"]
        return timed_processes(command, count, environment)

    return measure
