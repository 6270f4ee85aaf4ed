"""`python -m benchmarks`: faasd beside its peers in the same run, as a table of ratios with the targets.

Read the ratios: how long anything takes depends on the machine and on what else it does, less so how
things compare. docs/benchmarks.md explains the rows.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from typing import Any

from benchmarks.daemon import ROOT
from benchmarks.groups import GROUPS
from benchmarks.harness import Quiet, run_group, selected
from benchmarks.machine import machine
from benchmarks.model import Stage
from benchmarks.page import keep, section
from benchmarks.table import as_json

__all__ = ["main", "parse"]

PEERS_PYTHON = ROOT / ".bench" / "bin" / "python"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="this group only; may be repeated",
    )
    parser.add_argument("--list", action="store_true", help="print the groups and end")
    parser.add_argument("--rounds", type=_positive, default=5, help="rounds of each row (5)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="0.1 for a quick look at a tenth of the work"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=10.0,
        metavar="S",
        help="seconds to wait before each measurement for other programs to be quiet (10)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--directory",
        default=tempfile.gettempdir(),
        help="where scratch states are made (that file system's fsync counts)",
    )
    parser.add_argument(
        "--page",
        action="store_true",
        help="keep these groups' results in docs/benchmarks.json and docs/benchmarks.md",
    )
    return parser.parse_args(arguments)


def main() -> int:
    """Measure and print."""
    options = parse(sys.argv[1:])
    if options.list:
        for name, (_, sentence) in GROUPS.items():
            print(f"{name:12} {sentence}")
        return 0
    try:
        names = selected(GROUPS, options.only)
    except ValueError as error:
        print(f"cannot measure: {error}", file=sys.stderr)
        return 2
    # As Ctrl-C does: what was started is stopped, and scratch states are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    groups = {}
    for name in names:
        groups[name] = measure(name, options)
        if options.page:
            keep({name: groups[name]}, list(GROUPS))
        if not options.json:
            print(section(name, groups[name]), flush=True)
    if options.json:
        print(json.dumps({"groups": groups}))
    return 0


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one group and return everything that is known afterwards."""
    group, sentence = GROUPS[name]
    _tell(f"{name}: {sentence}")
    peers = str(PEERS_PYTHON) if PEERS_PYTHON.exists() else None
    stage = Stage(options.directory, peers, options.scale)
    quiet = Quiet(options.patience)
    before = machine(options.directory)
    rows = as_json(run_group(group, stage, options.rounds, _tell, quiet))
    return {
        "about": sentence,
        "rounds": options.rounds,
        "scale": options.scale,
        "machine": before,
        "load_after": machine(options.directory)["load"],
        "measurements": quiet.measurements,
        "disturbed": quiet.disturbed,
        "rows": rows,
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
