"""`python -m benchmarks.growth`: how cost grows with concurrency, payload, imports, functions and queue depth.

Ours alone: what counts here is the shape. Prints JSON; with --page keeps a plot and a table of each in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from benchmarks.__main__ import PEERS_PYTHON
from benchmarks.daemon import ROOT, MeasuredDaemon, running, write_project
from benchmarks.harness import Quiet
from benchmarks.load import latencies_s, request_bytes
from benchmarks.machine import machine
from benchmarks.model import CouldNotMeasure, Sample
from benchmarks.page import PAGE, replaced_between
from benchmarks.peering import ask
from benchmarks.plot import Line, plot
from benchmarks.usage import Window, cpu_s, memory_bytes
from faasd.errors import FaasdError

__all__ = ["BEGIN", "CURVES", "END", "drawn", "main", "parse", "section"]

PLAIN = """
    from faasd import function

    @function()
    def noop(event, context):
        pass

    @function(reuse=1_000_000)
    def warm(event, context):
        pass
"""
#: numpy and pandas are in the peers' environment, whose interpreter the handlers are given.
IMPORTS = {
    "nothing": "",
    "asyncio, http, sqlite3": "import asyncio, http.client, sqlite3, decimal, email",
    "numpy": "import numpy",
    "pandas": "import pandas",
}
PAYLOADS = {"1 KB": 10**3, "10 KB": 10**4, "100 KB": 10**5, "1 MB": 10**6, "5 MB": 5 * 10**6}
#: Finished, and waiting.
HISTORY = ((1000, 5000), (10**5, 5000), (10**6, 5000), (10**6, 10**5))
DEPTHS = {"1,000": 1000, "10,000": 10**4, "100,000": 10**5, "1,000,000": 10**6}
ROUNDS = 3
DATA = ROOT / "docs" / "benchmarks" / "growth.json"
BEGIN = "<!-- Growth: written by `python -m benchmarks.growth --page`. -->"
END = "<!-- End of the growth. -->"
Point = dict[str, Any]


def concurrency(scratch: Path, scale: float) -> list[Point]:
    """Fresh attempts a second with so many at once, and, in the table, warm ones."""
    found = []
    for at_once in (1, 2, 4, 8, 16):
        with running(scratch / str(at_once), PLAIN, f"slots = {at_once}\n") as daemon:
            fresh = _drained(daemon, "noop", max(20, round(500 * scale)))
            warm = _drained(daemon, "warm", max(100, round(10_000 * scale)))
        found.append(
            {
                "label": str(at_once),
                "attempts/s": fresh.value,
                "CPU ms": fresh.cpu_ms_each,
                "warm/s": warm.value,
                "warm CPU ms": warm.cpu_ms_each,
            }
        )
    return found


def payload(scratch: Path, scale: float) -> list[Point]:
    """A synchronous invoke with an event of this size, which the handler returns."""
    functions = PLAIN.replace("pass", "return event")
    found = []
    with running(scratch, functions) as daemon:
        for label, size in PAYLOADS.items():
            count = max(5, round(min(100, 3 * 10**7 / size) * scale))
            body = json.dumps({"text": "x" * size}).encode()
            one = _invoked(daemon, body, count)
            found.append({"label": label, "p50 ms": one.value, "CPU ms": one.cpu_ms_each})
    return found


def imports(scratch: Path, scale: float) -> list[Point]:
    """The first invoke and every later one, for handlers that import more and more."""
    found = []
    if not PEERS_PYTHON.exists():
        raise CouldNotMeasure(
            "numpy and pandas are not installed; `make bench-growth` installs them"
        )
    toml = f'[functions.noop]\nhandler = "app:noop"\npython = "{PEERS_PYTHON}"\nmemory = "1GiB"\n'
    toml += f'read = ["{PEERS_PYTHON.parents[1]}"]\n'
    for number, (label, line) in enumerate(IMPORTS.items()):
        text = f"{line}\n\ndef noop(event, context):\n    pass\n"
        with running(scratch / str(number), text, toml) as daemon:
            cold = _invoked(daemon, b"{}", 1)
            fresh = _invoked(daemon, b"{}", max(10, round(100 * scale)))
            found.append(
                {
                    "label": label,
                    "first ms": cold.value,
                    "later p50 ms": fresh.value,
                    "later CPU ms": fresh.cpu_ms_each,
                    "MiB": memory_bytes({daemon.pid}) / 2**20,
                }
            )
    return found


def functions(scratch: Path, scale: float) -> list[Point]:
    """Memory, start and throughput with so many functions, each in a module of its own, all of them used."""
    found = []
    for count in (1, 10, 200):
        project = scratch / str(count)
        write_project(project, "")
        for number in range(count):
            text = f"from faasd import function\n\n@function()\ndef f{number}(event, context):\n    pass\n"
            (project / "functions" / f"m{number}.py").write_text(text)
        daemon = MeasuredDaemon(project / "faasd.toml")
        start_s = daemon.start()
        start_cpu_s = cpu_s({daemon.pid})
        try:
            idle = memory_bytes({daemon.pid}) / 2**20
            jobs = max(count, round(400 * scale))
            _spread(daemon, count, jobs)  # Each function's zygote starts.
            with Window({daemon.pid}) as window:
                _spread(daemon, count, jobs)
        finally:
            daemon.stop()
        found.append(
            {
                "label": str(count),
                "idle MiB": idle,
                "all used MiB": window.memory_bytes / 2**20,
                "start s": start_s,
                "start CPU s": start_cpu_s,
                "attempts/s": jobs / window.seconds,
                "CPU ms": window.cpu_s * 1000 / jobs,
            }
        )
    return found


def depth(scratch: Path, scale: float) -> list[Point]:
    """A claim and an enqueue, each with its commit, when so many invocations wait."""
    depths = [number for number in DEPTHS.values() if number <= max(1000, 10**6 * scale)]
    answer = ask(sys.executable, "own_depth", scratch / "state", *depths)
    return [
        {
            "label": label,
            "claim ms": one["claim_ms"],
            "enqueue ms": one["enqueue_ms"],
            "claim CPU ms": one["claim_cpu_ms"],
            "enqueue CPU ms": one["enqueue_cpu_ms"],
        }
        for label, one in zip(DEPTHS, answer["depths"], strict=False)
    ]


def history(scratch: Path, scale: float) -> list[Point]:
    """A claim with its commit beside so many finished and waiting ones, and while retention deletes 20,000 of them."""
    sizes = [one for one in HISTORY if one[0] <= max(1000, 10**6 * scale)]
    asked = [f"{finished}:{waiting}" for finished, waiting in sizes]
    answer = ask(sys.executable, "own_history", scratch / "state", *asked)
    return [
        {
            "label": f"{one['finished']:,} + {one['waiting']:,}",
            "claim ms": one["claim_ms"],
            # Where there is too little to delete, retention ends before it can be in the way.
            "during retention ms": one.get("retention_ms", one["claim_ms"]),
            "claim CPU ms": one["claim_cpu_ms"],
            "deleted/s": one.get("deleted_a_second"),
        }
        for one in answer["sizes"]
    ]


#: By name: what to run, the plot's title, the name of x, and which values share the plot.
CURVES: dict[str, tuple[Callable[[Path, float], list[Point]], str, str, tuple[str, ...]]] = {
    "concurrency": (concurrency, "Fresh attempts a second", "slots", ("attempts/s",)),
    "payload": (payload, "Synchronous invoke, p50", "event and result", ("p50 ms",)),
    "imports": (imports, "Invoke by imports", "imported", ("first ms", "later p50 ms")),
    "functions": (functions, "Memory by functions", "functions", ("idle MiB", "all used MiB")),
    "depth": (depth, "Claim and enqueue, p50", "waiting", ("claim ms", "enqueue ms")),
    "history": (history, "Claim, p50", "finished + waiting", ("claim ms", "during retention ms")),
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(CURVES), help="this curve only")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 for a tenth of the work")
    parser.add_argument(
        "--patience",
        type=float,
        default=10.0,
        metavar="S",
        help="seconds to wait before each curve for other programs to be quiet (10)",
    )
    parser.add_argument("--directory", default=tempfile.gettempdir())
    parser.add_argument(
        "--page",
        action="store_true",
        help="keep plots and tables in docs/benchmarks and benchmarks.md",
    )
    return parser.parse_args(arguments)


def main() -> int:
    """Measure, print, and keep where asked to."""
    options = parse(sys.argv[1:])
    # As Ctrl-C does: what was started is stopped, and scratch states are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    failed = False
    for name in options.only or CURVES:
        Quiet(options.patience).wait()
        before = machine(options.directory)
        try:
            points = taken(name, options)
        except (
            CouldNotMeasure,
            FaasdError,
            SubprocessError,
        ) as error:  # The other curves are measured all the same.
            print(f"cannot measure {name}: {error}", file=sys.stderr, flush=True)
            failed = True
            continue
        if options.page:
            keep(name, {"machine": before, "scale": options.scale, "points": points})
        print(json.dumps({name: points}), flush=True)
    return int(failed)


def taken(name: str, options: argparse.Namespace) -> list[Point]:
    """Take one curve in a scratch directory. Raises CouldNotMeasure."""
    with tempfile.TemporaryDirectory(prefix="faasd-growth-", dir=options.directory) as scratch:
        return CURVES[name][0](Path(scratch), options.scale)


def keep(name: str, measured: dict[str, Any]) -> None:
    """Put one curve in the place of the earlier one: its plot, its data, and its section on the page."""
    known = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
    known[name] = measured
    known = {each: known[each] for each in CURVES if each in known}
    DATA.parent.mkdir(exist_ok=True)
    DATA.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    plot_path(name).write_text(drawn(name, measured["points"]), encoding="utf-8")
    text = "\n".join(section(each, known[each]) for each in known)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replaced_between(page, BEGIN, END, text), encoding="utf-8")


def plot_path(name: str) -> Path:
    """Return where a curve's plot is kept."""
    return DATA.parent / f"growth-{name}.svg"


def drawn(name: str, points: list[Point]) -> str:
    """Return a curve as SVG."""
    _, title, x_name, y_names = CURVES[name]
    lines = [
        Line(y_name, [(place, point[y_name]) for place, point in enumerate(points)])
        for y_name in y_names
    ]
    labels = [point["label"] for point in points]
    return plot(title, x_name, y_names[0].split()[-1], lines, labels)


def section(name: str, measured: dict[str, Any]) -> str:
    """Return one curve's part of the page: what it is, its plot, its numbers."""
    measure, _, x_name, _ = CURVES[name]
    host, points = measured["machine"], measured["points"]
    names = [each for each in points[0] if each != "label"]
    rows = [
        f"| {point['label']} | {' | '.join(_number(point[each]) for each in names)} |"
        for point in points
    ]
    sentence = (measure.__doc__ or "").strip()
    scale = measured.get("scale", 1)
    at_scale = "" if scale == 1 else f", at scale {scale:g}"
    return (
        f"**{sentence}** Taken {host['measured_at']} (commit {host['commit']}), load average "
        f"{host['load'][0]:g}, on {host['file_system']}{at_scale}.\n\n"
        f"![{CURVES[name][1]}](benchmarks/{plot_path(name).name})\n\n"
        f"| {x_name} | {' | '.join(names)} |\n|---|{'---:|' * len(names)}\n"
        + "\n".join(rows)
        + "\n"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _spread(daemon: MeasuredDaemon, functions: int, jobs: int) -> None:
    """Run so many events, the same number for each function, to their end."""
    with daemon.attempts_awaited(jobs):
        for number in range(functions):
            share = jobs // functions + (number < jobs % functions)
            if share:
                daemon.fill(f"f{number}", share)


def _drained(daemon: MeasuredDaemon, function: str, count: int) -> Sample:
    """Let a paused function's queue fill, then run; of some rounds, the one in the middle."""
    rounds = []
    daemon.client.invoke(function)
    for _ in range(ROUNDS):
        daemon.pause(function)
        daemon.fill(function, count)
        with Window({daemon.pid}) as window, daemon.attempts_awaited(count):
            daemon.resume(function)
        rounds.append(Sample(count / window.seconds, window.cpu_s * 1000 / count))
    return sorted(rounds, key=lambda one: one.value)[ROUNDS // 2]


def _invoked(daemon: MeasuredDaemon, body: bytes, count: int) -> Sample:
    """Invoke one after the other; returns the median of the times, and the processor time of each."""
    request = request_bytes("POST", "/api/v1/functions/noop/invocations", body)
    with Window({daemon.pid}) as window:
        took_s = latencies_s(daemon.client.socket_path, request, count)
    return Sample(statistics.median(took_s) * 1000, window.cpu_s * 1000 / count)


if __name__ == "__main__":
    sys.exit(main())
