"""`python -m benchmarks.soak`: a daemon under mixed load for a long time; does anything of it grow?

Events on a queue (some fail once and are retried), files, a schedule and direct invokes, with a burst
every minute. Every few seconds the daemon's memory, descriptors, threads, processes and its state
directory are sampled. At the end: was everything that was accepted also done, and which curve is flat.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.curves import Panel, panels
from benchmarks.daemon import ROOT, MeasuredDaemon, running, wait_until
from benchmarks.drift import Measure, drift_of
from benchmarks.machine import machine
from benchmarks.page import replaced_between
from benchmarks.usage import cpu_s, descendants, memory_bytes

__all__ = ["MEASURES", "main", "parse", "report_of", "table"]

FUNCTIONS = """
    from faasd import every, files, function, queue

    @function(triggers=[queue("work")], retry={"attempts": 3, "backoff": "fixed", "first": "1s"})
    def work(event, context):
        print("working on", event["body"])
        if event["body"]["n"] % 20 == 0 and context.attempt == 1:
            raise RuntimeError("the first attempt fails")

    @function(triggers=[files("inbox", pattern="*.txt", settle="50ms", on_success="delete")], read=["inbox"])
    def file(event, context):
        print(open(event["path"]).read())

    @function(triggers=[every("1s", name="tick")])
    def tick(event, context):
        print("tick")

    @function()
    def ask(event, context):
        return {"answer": event["n"] * 2}
"""
#: History is cut to what ten minutes hold and logs to a mebibyte, so that both reach their bound early.
SETTINGS = 'keep_finished = "10m"\nkeep_logs = "10m"\nlog_bytes_per_function = "1MiB"\n'

MEASURES = (
    Measure("daemon, resident", "MiB", 1.5, 0.03),
    Measure("all processes, shared pages once", "MiB", 3.0, 0.05),
    Measure("descriptors of the daemon", "", 3.0, 0.05),
    Measure("threads of the daemon", "", 1.0, 0.0),
    Measure("processes", "", 2.0, 0.1),
    Measure("state directory", "MiB", 2.0, 0.1),
    Measure("processor time", "% of a core", 1.0, 0.15),
)
EVENTS_A_SECOND, BURST = 3, 100
#: Done before the first sample: the database has its greatest size from then on, and SQLite's cache is full.
BACKLOG = 10_000
PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "benchmarks" / "soak.svg"
BEGIN = "<!-- Soak: written by `python -m benchmarks.soak --page`. -->"
END = "<!-- End of the soak. -->"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument("--directory", default=tempfile.gettempdir())
    parser.add_argument("--plot", type=Path, metavar="SVG", help="write the curves here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample here")
    parser.add_argument(
        "--page", action="store_true", help="keep curve and table in docs/benchmarks.md"
    )
    return parser.parse_args(arguments)


def main() -> int:
    """Run, print the verdict, and keep the curves where asked to. 1 when anything grows or is lost."""
    options = parse(sys.argv[1:])
    # As Ctrl-C does: the daemon is stopped and its scratch state removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    host = machine(options.directory)
    with tempfile.TemporaryDirectory(prefix="faasd-soak-", dir=options.directory) as scratch:
        found = _run(Path(scratch), options.minutes * 60)
    report = report_of(found, host, options.minutes)
    print(table(report))
    svg = panels(
        f"{options.minutes:g} minutes of mixed load",
        [Panel(one.name, one.unit, found["values"][one.name]) for one in MEASURES],
        found["seconds"],
    )
    if options.plot:
        options.plot.write_text(svg, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps({**report, **found}) + "\n", encoding="utf-8")
    if options.page:
        PLOT.parent.mkdir(exist_ok=True)
        PLOT.write_text(svg, encoding="utf-8")
        text = f"![Memory, descriptors, threads, processes and state over time](benchmarks/{PLOT.name})\n\n"
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(replaced_between(page, BEGIN, END, text + table(report)), encoding="utf-8")
    return 0 if report["is_flat"] and not report["lost"] else 1


def report_of(found: dict[str, Any], host: dict[str, Any], minutes: float) -> dict[str, Any]:
    """Return what a run comes to."""
    drifts = {
        one.name: drift_of(one, found["seconds"], found["values"][one.name]) for one in MEASURES
    }
    return {
        "machine": host,
        "minutes": minutes,
        "counts": found["counts"],
        "lost": found["lost"],
        "drifts": {name: vars(drift) for name, drift in drifts.items()},
        "is_flat": all(drift.is_flat for drift in drifts.values()),
    }


def table(report: dict[str, Any]) -> str:
    """Return the verdict as Markdown."""
    host, counts = report["machine"], report["counts"]
    head = (
        f"Taken {host['measured_at']} on faasd {host['version']} (commit {host['commit']}), {host['cpus']} "
        f"processors ({host['cpu']}), Linux {host['kernel']}, CPython {host['python']}: "
        f"{report['minutes']:g} minutes, {counts['events']:,} events, {counts['files']:,} files, "
        f"{counts['invokes']:,} invokes, {counts['ticks']:,} ticks, {counts['attempts']:,} attempts; "
        f"{report['lost']} lost. The first third is left out."
    )
    lines = [head, "", "| What | Middle | Least … most | An hour adds | |", "|---|---|---|---|---|"]
    for one in MEASURES:
        drift = report["drifts"][one.name]
        unit = f" {one.unit}" if one.unit else ""
        word = "flat" if drift["is_flat"] else "**grows**"
        lines.append(
            f"| {one.name} | {drift['middle']:.4g}{unit} | {drift['least']:.4g} … {drift['most']:.4g} "
            f"| {drift['per_hour']:+.2g}{unit} | {word} |"
        )
    return "\n".join(lines) + "\n"


def _run(scratch: Path, duration_s: float) -> dict[str, Any]:
    inbox = scratch / "daemon" / "inbox"
    inbox.mkdir(parents=True)
    every_s = min(10.0, max(1.0, duration_s / 60))
    with running(scratch / "daemon", FUNCTIONS, SETTINGS) as daemon:
        load = _Load(daemon, inbox, scratch)
        load.backlog()
        samples = _Samples(daemon)
        began = time.monotonic()
        turn = 0
        while (passed_s := time.monotonic() - began) < duration_s:
            if passed_s >= len(samples.seconds) * every_s:
                samples.take(passed_s)
            load.second(turn)
            turn += 1
            time.sleep(max(0.0, began + turn - time.monotonic()))
        lost = load.unfinished()
    return {
        "seconds": samples.seconds,
        "values": samples.values,
        "counts": load.counts,
        "lost": lost,
    }


class _Load:
    """What is asked of the daemon, second by second."""

    def __init__(self, daemon: MeasuredDaemon, inbox: Path, scratch: Path) -> None:
        self._daemon = daemon
        self._inbox = inbox
        self._scratch = scratch
        self.counts = {"events": 0, "files": 0, "invokes": 0, "ticks": 0, "attempts": 0}

    def backlog(self) -> None:
        """Send what fills every cache, and wait until it is done."""
        while self.counts["events"] < BACKLOG:
            self._enqueue(1000)
        wait_until(lambda: self._unfinished() <= 1, "the backlog", 600.0, 0.5)

    def second(self, turn: int) -> None:
        """Send one second's work; every minute a burst comes with it."""
        is_burst = turn % 60 == 30
        self._enqueue(BURST if is_burst else EVENTS_A_SECOND)
        for _ in range(BURST if is_burst else 1):
            self._drop()
        for _ in range(2):
            self._ask()

    def unfinished(self) -> int:
        """Wait until nothing is left to do; returns how much of what was accepted was not done."""
        client, counts = self._daemon.client, self.counts

        def is_done() -> bool:
            return self._unfinished() <= 1 and not any(self._inbox.glob("*.txt"))

        wait_until(is_done, "the rest of the work", 120.0, 0.2)
        did = _ended(client.text("/metrics"))
        counts["ticks"] = int(did.get("tick", 0))
        counts["attempts"] = int(sum(did.values()) + counts["events"] // 20)
        wanted = {"work": counts["events"], "file": counts["files"], "ask": counts["invokes"]}
        return sum(abs(count - int(did.get(name, 0))) for name, count in wanted.items())

    def _unfinished(self) -> int:
        """Return how much waits or runs: one, when a tick has just come."""
        rows = self._daemon.client.queues()
        return sum(row["waiting"] + row["delayed"] + row["in_flight"] for row in rows)

    def _enqueue(self, count: int) -> None:
        first = self.counts["events"]
        events = [{"body": {"n": first + number}} for number in range(count)]
        self._daemon.client.enqueue_many("work", events)
        self.counts["events"] += count

    def _drop(self) -> None:
        number = self.counts["files"]
        part = self._scratch / "part"
        part.write_text(f"file {number}")
        part.rename(self._inbox / f"{number}.txt")
        self.counts["files"] += 1

    def _ask(self) -> None:
        number = self.counts["invokes"]
        answer = self._daemon.client.invoke("ask", {"n": number})
        if answer["result"] != {"answer": number * 2}:
            raise RuntimeError(f"invoke {number} answered {answer}")
        self.counts["invokes"] += 1


class _Samples:
    """What is read from /proc and from the state directory, time after time."""

    def __init__(self, daemon: MeasuredDaemon) -> None:
        self._pid = daemon.pid
        self._state = daemon.state_dir
        self._used_s = cpu_s({self._pid})
        self._at = time.monotonic()
        self.seconds: list[float] = []
        self.values: dict[str, list[float]] = {one.name: [] for one in MEASURES}

    def take(self, passed_s: float) -> None:
        """Take one of each."""
        processes = descendants({self._pid})
        now, used_s = time.monotonic(), cpu_s({self._pid})
        share = 100 * (used_s - self._used_s) / max(1e-3, now - self._at)
        self._at, self._used_s = now, used_s
        taken = (
            _status(self._pid, "VmRSS") / 1024,
            memory_bytes({self._pid}) / 2**20,
            len(os.listdir(f"/proc/{self._pid}/fd")),
            _status(self._pid, "Threads"),
            len(processes),
            _tree_bytes(self._state) / 2**20,
            share,
        )
        self.seconds.append(round(passed_s, 1))
        for measure, value in zip(MEASURES, taken, strict=True):
            self.values[measure.name].append(round(value, 3))


def _ended(metrics: str) -> dict[str, float]:
    """Return how many invocations of each function ended as ok, from Prometheus' text."""
    found = {}
    for line in metrics.splitlines():
        if line.startswith("faasd_invocations_total{") and 'outcome="ok"' in line:
            found[line.split('function="')[1].split('"')[0]] = float(line.rsplit(" ", 1)[1])
    return found


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return float(line.split()[1])
    raise RuntimeError(f"/proc/{pid}/status has no {name}")


def _tree_bytes(directory: Path) -> int:
    """Return what files below a directory take up on the disk; what goes meanwhile counts as nothing."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


if __name__ == "__main__":
    sys.exit(main())
