"""`python -m benchmarks.growth`: how cost grows with concurrency, payload, imports, functions and queue depth.

Ours alone: what counts here is the shape. Prints JSON; with --plots writes an SVG for each into a directory.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.daemon import MeasuredDaemon, running, write_project
from benchmarks.load import latencies_s, request_bytes
from benchmarks.machine import machine
from benchmarks.peering import ask
from benchmarks.plot import Line, plot
from benchmarks.usage import memory_bytes

__all__ = ["CURVES", "main", "parse"]

PLAIN = """
    from faasd import function

    @function()
    def noop(event, context):
        pass
"""
IMPORTS = {
    "nothing": "",
    "asyncio, http, sqlite3": "import asyncio, http.client, sqlite3, decimal, email",
    "pydantic": "import pydantic",
    "SQLAlchemy": "import sqlalchemy, sqlalchemy.orm",
}
PAYLOADS = {"1 KB": 10**3, "10 KB": 10**4, "100 KB": 10**5, "1 MB": 10**6, "5 MB": 5 * 10**6}
DEPTHS = {"1,000": 1000, "10,000": 10**4, "100,000": 10**5, "1,000,000": 10**6}
ROUNDS = 3
Point = dict[str, Any]


def concurrency(scratch: Path, scale: float) -> list[Point]:
    """Fresh attempts a second with so many at once."""
    found = []
    for at_once in (1, 2, 4, 8, 16):
        with running(scratch / str(at_once), PLAIN, f"slots = {at_once}\n") as daemon:
            rates = [_drained(daemon, max(20, round(500 * scale))) for _ in range(ROUNDS)]
        found.append({"label": str(at_once), "attempts/s": statistics.median(rates)})
    return found


def payload(scratch: Path, scale: float) -> list[Point]:
    """A synchronous invoke with an event of this size, which the handler returns."""
    functions = PLAIN.replace("pass", "return event")
    found = []
    with running(scratch, functions) as daemon:
        for label, size in PAYLOADS.items():
            count = max(5, round(min(100, 3 * 10**7 / size) * scale))
            body = json.dumps({"text": "x" * size}).encode()
            found.append({"label": label, "p50 ms": _invoked_ms(daemon, body, count)})
    return found


def imports(scratch: Path, scale: float) -> list[Point]:
    """The first invoke and every later one, for handlers that import more and more."""
    found = []
    for number, (label, line) in enumerate(IMPORTS.items()):
        text = f"{line}\nfrom faasd import function\n\n@function()\ndef noop(event, context):\n    pass\n"
        with running(scratch / str(number), text) as daemon:
            cold = _invoked_ms(daemon, b"{}", 1)
            fresh = _invoked_ms(daemon, b"{}", max(10, round(100 * scale)))
            found.append(
                {
                    "label": label,
                    "first ms": cold,
                    "later p50 ms": fresh,
                    "MiB": memory_bytes({daemon.pid}) / 2**20,
                }
            )
    return found


def functions(scratch: Path, scale: float) -> list[Point]:
    """Start, memory and throughput with so many functions, each in a module of its own, all of them used."""
    found = []
    for count in (1, 10, 200):
        project = scratch / str(count)
        write_project(project, "")
        for number in range(count):
            text = f"from faasd import function\n\n@function()\ndef f{number}(event, context):\n    pass\n"
            (project / "functions" / f"m{number}.py").write_text(text)
        daemon = MeasuredDaemon(project / "faasd.toml")
        start_s = daemon.start()
        try:
            idle = memory_bytes({daemon.pid}) / 2**20
            jobs = max(count, round(400 * scale))
            with daemon.attempts_awaited(jobs):
                for number in range(count):
                    share = jobs // count + (number < jobs % count)
                    if share:
                        daemon.fill(f"f{number}", share)
            used = memory_bytes({daemon.pid}) / 2**20
        finally:
            daemon.stop()
        found.append(
            {"label": str(count), "start s": start_s, "idle MiB": idle, "all used MiB": used}
        )
    return found


def depth(scratch: Path, scale: float) -> list[Point]:
    """A claim and an enqueue, each with its commit, when so many invocations wait."""
    depths = [number for number in DEPTHS.values() if number <= max(1000, 10**6 * scale)]
    answer = ask(sys.executable, "own_depth", scratch / "state", *depths)
    return [
        {"label": label, "claim ms": one["claim_ms"], "enqueue ms": one["enqueue_ms"]}
        for label, one in zip(DEPTHS, answer["depths"], strict=False)
    ]


#: By name: what to run, the plot's title, the name of x, and which values share the plot.
CURVES: dict[str, tuple[Callable[[Path, float], list[Point]], str, str, tuple[str, ...]]] = {
    "concurrency": (concurrency, "Fresh attempts a second", "slots", ("attempts/s",)),
    "payload": (payload, "Synchronous invoke, p50", "event and result", ("p50 ms",)),
    "imports": (imports, "Invoke by imports", "imported", ("first ms", "later p50 ms")),
    "functions": (functions, "Memory by functions", "functions", ("idle MiB", "all used MiB")),
    "depth": (depth, "Claim and enqueue, p50", "waiting", ("claim ms", "enqueue ms")),
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(CURVES), help="this curve only")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 for a tenth of the work")
    parser.add_argument("--directory", default=tempfile.gettempdir())
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="write growth.json and the SVGs here"
    )
    return parser.parse_args(arguments)


def main() -> int:
    """Measure, print, and plot where asked to."""
    options = parse(sys.argv[1:])
    # As Ctrl-C does: what was started is stopped, and scratch states are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report: dict[str, Any] = {"machine": machine(options.directory), "curves": {}}
    for name in options.only or CURVES:
        measure, title, x_name, y_names = CURVES[name]
        with tempfile.TemporaryDirectory(prefix="faasd-growth-", dir=options.directory) as scratch:
            points = measure(Path(scratch), options.scale)
        print(f"{name}: {points}", file=sys.stderr, flush=True)
        report["curves"][name] = points
        if options.plots:
            options.plots.mkdir(parents=True, exist_ok=True)
            lines = [
                Line(y_name, [(place, point[y_name]) for place, point in enumerate(points)])
                for y_name in y_names
            ]
            labels = [point["label"] for point in points]
            unit = y_names[0].split()[-1]
            svg = plot(title, x_name, unit, lines, labels)
            (options.plots / f"growth-{name}.svg").write_text(svg, encoding="utf-8")
    text = json.dumps(report, indent=1)
    if options.plots:
        (options.plots / "growth.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


def _drained(daemon: MeasuredDaemon, count: int) -> float:

    daemon.client.invoke("noop")
    daemon.pause("noop")
    daemon.fill("noop", count)
    began = time.monotonic()
    with daemon.attempts_awaited(count):
        daemon.resume("noop")
    return count / (time.monotonic() - began)


def _invoked_ms(daemon: MeasuredDaemon, body: bytes, count: int) -> float:
    request = request_bytes("POST", "/api/v1/functions/noop/invocations", body)
    return statistics.median(latencies_s(daemon.client.socket_path, request, count)) * 1000


if __name__ == "__main__":
    sys.exit(main())
