"""What one fresh attempt costs: a real daemon empties a queue of no-ops, beside a bare fork in the same run.

`python -m benchmarks.fresh_attempts [--events N] [--rounds N] [--json]`. Read the ratios: how long
anything takes depends on the machine and on what else it does, less so how things compare.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.daemon.harness import DaemonProcess, write_project

FUNCTIONS = """
    from faasd import function

    @function(timeout="60s", memory="256MiB")
    def noop(event, context):
        pass
"""
FORKS = 300
INTERPRETERS = 20
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=1000, help="no-ops in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--directory", help="where the scratch state is made (its file system counts)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    rounds = []
    with started(options.directory) as daemon:
        empty_queue(daemon, 50)  # The zygote is there and every path has been taken once.
        for _ in range(options.rounds):
            rounds.append(one_round(daemon, options.events))
            if not options.json:
                print(table(rounds[-1:]), file=sys.stderr)
    if options.json:
        print(json.dumps({"events": options.events, "median": medians(rounds), "rounds": rounds}))
    else:
        print(f"median of {options.rounds} rounds of {options.events} no-ops:\n{table(rounds)}")


@contextmanager
def started(directory: str | None) -> Iterator[DaemonProcess]:
    """Run a daemon on a scratch directory."""
    with tempfile.TemporaryDirectory(prefix="faasd-bench-", dir=directory) as scratch:
        config = write_project(Path(scratch), FUNCTIONS, 'log_format = "json"\n')
        with DaemonProcess(config).running() as daemon:
            yield daemon


def one_round(daemon: DaemonProcess, events: int) -> dict[str, float]:
    """Take every measure once, one after the other."""
    fork_ms = milliseconds_each(bare_fork, FORKS)
    interpreter_ms = milliseconds_each(bare_interpreter, INTERPRETERS)
    before = cpu_ms(daemon)
    wall_ms = empty_queue(daemon, events)
    used = [(late - early) / events for late, early in zip(cpu_ms(daemon), before, strict=True)]
    return {
        "attempts_per_s": 1000 / wall_ms,
        "daemon_cpu_ms": used[0],
        "zygote_cpu_ms": used[1],
        "sandbox_cpu_ms": used[2],
        "bare_fork_ms": fork_ms,
        "interpreter_ms": interpreter_ms,
        "of_bare_fork_rate": fork_ms / wall_ms,
        "interpreter_rates": interpreter_ms / wall_ms,
    }


def empty_queue(daemon: DaemonProcess, events: int) -> float:
    """Enqueue no-ops in one transaction, wait for the last; returns milliseconds of wall time for each."""
    # The daemon's own log says it without making it work, unlike a question to its API.
    with daemon.log_path.open("rb") as log:
        log.seek(0, os.SEEK_END)
        began = time.monotonic()
        daemon.client.enqueue_many("noop", [{"body": None}] * events)
        seen = 0
        while seen < events:
            text = log.read()
            seen += text.count(b'"attempt_finished"')
            if time.monotonic() - began > 300:
                raise SystemExit(
                    f"only {seen} of {events} no-ops ended in 300 s:\n{daemon.log()[-2000:]}"
                )
            time.sleep(0.005)
        return (time.monotonic() - began) * 1000 / events


def milliseconds_each(step: Callable[[], None], count: int) -> float:
    """Return how long one step takes."""
    began = time.monotonic()
    for _ in range(count):
        step()
    return (time.monotonic() - began) * 1000 / count


def bare_fork() -> None:
    """What every fresh process costs at least."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def bare_interpreter() -> None:
    """What a fresh process costs without a zygote."""
    subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)


def cpu_ms(daemon: DaemonProcess) -> tuple[float, float, float]:
    """Return the processor time so far of the daemon, of its zygotes, and of the sandboxes they have reaped."""
    assert daemon.process is not None
    own, _ = ticks_ms(daemon.process.pid)
    zygotes = [ticks_ms(pid) for pid in daemon.leftovers() if name_of(pid) == "faasd-zygote"]
    return own, sum(own for own, _ in zygotes), sum(reaped for _, reaped in zygotes)


def ticks_ms(pid: int) -> tuple[float, float]:
    """Return the processor time of a process, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, reaped_user, reaped_system = (int(field) for field in fields[11:15])
    scale = 1000 / _TICKS_PER_S
    return (user + system) * scale, (reaped_user + reaped_system) * scale


def name_of(pid: int) -> str:
    """Return the name a process goes by; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each measure."""
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def table(rounds: list[dict[str, float]]) -> str:
    """Return one line for each measure."""
    return "\n".join(f"  {name:20}{value:10.3f}" for name, value in medians(rounds).items())


if __name__ == "__main__":
    main()
