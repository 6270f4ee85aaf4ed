"""A caller who waits: a synchronous invoke over the socket beside starting an interpreter."""

from __future__ import annotations

import statistics
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count as counted
from pathlib import Path

from benchmarks.daemon import MeasuredDaemon, can, running, write_project
from benchmarks.groups.throughput import FUNCTIONS
from benchmarks.load import latencies_s, request_bytes
from benchmarks.model import Bound, Contestant, CouldNotMeasure, Row, Sample, Stage
from benchmarks.peering import found_or_reason
from benchmarks.peers.processes import NAMESPACES, WALLED
from benchmarks.starting import timed_processes
from benchmarks.summary import percentile
from benchmarks.usage import Window

__all__ = ["invoke_rows"]

COLD_FUNCTIONS = 10
#: Between two calls, so that a fresh sandbox is forked ahead: a caller who waits for none measures throughput.
PAUSE_S = 0.02
BARE = [sys.executable, "-I", "-c", "pass"]
_NOTHING = "no limits, no walls, no captured output, no record, no result"


@contextmanager
def invoke_rows(stage: Stage) -> Iterator[list[Row]]:
    """Fresh, warm and cold, each beside `python -I -c pass`."""
    directory = Path(stage.directory)
    fresh_count, warm_count = stage.count(200, 10), stage.count(500, 10)
    with running(directory / "fresh", FUNCTIONS.format(settings="")) as fresh:
        yield [
            Row(
                "invoke-fresh",
                f"synchronous invoke over the socket, fresh sandbox with a spare, {PAUSE_S * 1000:.0f} ms between calls, p50",
                "ms",
                Contestant("faasd", lambda: _invoke(fresh, fresh_count, PAUSE_S)),
                (_interpreter(stage, 0.2), _bubblewrap(stage)),
            ),
            Row(
                "invoke-fresh-p99",
                "the same, p99",
                "ms",
                Contestant("faasd", lambda: _invoke(fresh, fresh_count, PAUSE_S, 99)),
                (_interpreter(stage, None, 99),),
            ),
            Row(
                "invoke-fresh-busy",
                "the same without a pause: each call finds its predecessor's sandbox being ended and its own being made, p50",
                "ms",
                Contestant("faasd", lambda: _invoke(fresh, fresh_count)),
                (_interpreter(stage, None),),
            ),
            Row(
                "invoke-warm",
                "synchronous invoke over the socket, warm sandbox, p50",
                "ms",
                Contestant("faasd", _warm(directory, warm_count)),
                (_interpreter(stage, 0.1),),
            ),
            Row(
                "invoke-cold",
                f"first invoke of a function ever, standard library only, p50 of {COLD_FUNCTIONS}",
                "ms",
                Contestant("faasd", _cold(directory)),
                (_interpreter(stage, 2.0),),
            ),
        ]


def _invoke(
    daemon: MeasuredDaemon, count: int, pause_s: float = 0.0, percent: float = 50
) -> Sample:
    request = request_bytes("POST", "/api/v1/functions/noop/invocations", b"{}")
    latencies_s(daemon.client.socket_path, request, 5)
    with Window({daemon.pid}) as window:
        took_s = latencies_s(daemon.client.socket_path, request, count, pause_s)
    return Sample(
        percentile(took_s, percent) * 1000, window.cpu_s * 1000 / count, window.memory_bytes
    )


def _warm(directory: Path, count: int) -> Callable[[], Sample]:
    rounds = counted()

    def measure() -> Sample:
        if not can("reuse"):
            raise CouldNotMeasure("this version has no warm sandboxes (`reuse`)")
        functions = FUNCTIONS.format(settings="reuse=1_000_000")
        with running(directory / f"warm-{next(rounds)}", functions) as daemon:
            return _invoke(daemon, count)

    return measure


def _cold(directory: Path) -> Callable[[], Sample]:
    """Start a daemon with functions in modules of their own and invoke each for the first time."""
    rounds = counted()

    def measure() -> Sample:
        project = directory / f"cold-{next(rounds)}"
        write_project(project, "")
        for number in range(COLD_FUNCTIONS):
            text = f"from faasd import function\n\n@function()\ndef f{number}(event, context):\n    pass\n"
            (project / "functions" / f"m{number}.py").write_text(textwrap.dedent(text))
        daemon = MeasuredDaemon(project / "faasd.toml")
        daemon.start()
        try:
            took_s = []
            with Window({daemon.pid}) as window:
                for number in range(COLD_FUNCTIONS):
                    path = f"/api/v1/functions/f{number}/invocations"
                    took_s += latencies_s(
                        daemon.client.socket_path, request_bytes("POST", path, b"{}"), 1
                    )
        finally:
            daemon.stop()
        each = window.cpu_s * 1000 / COLD_FUNCTIONS
        return Sample(statistics.median(took_s) * 1000, each, window.memory_bytes)

    return measure


def _interpreter(stage: Stage, at_most: float | None, percent: float = 50) -> Contestant:
    bound = None if at_most is None else Bound(at_most, is_at_least=False)

    def measure() -> Sample:
        return timed_processes(BARE, stage.count(60, 10), percent=percent)

    return Contestant("subprocess python -I -c pass", measure, _NOTHING, bound)


def _bubblewrap(stage: Stage) -> Contestant:
    def measure() -> Sample:
        program = found_or_reason("bwrap", "bubblewrap")
        command = [program, *WALLED, *NAMESPACES, "--die-with-parent", *BARE]
        # bwrap does not wait for what it starts, so its processor time is known to nobody.
        return Sample(timed_processes(command, stage.count(40, 10)).value)

    return Contestant("bwrap python -I -c pass", measure, "no limits, no record, no result")
