"""How late schedules fire when there are many: all of them due at once, and spread over the seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count as counted
from pathlib import Path

from benchmarks.daemon import MeasuredDaemon, running, wait_until
from benchmarks.model import Bound, Contestant, Row, Sample, Stage
from benchmarks.peering import ask, python_of
from benchmarks.summary import percentile
from benchmarks.usage import Window

__all__ = ["cron_rows"]

SCHEDULES = 1000
PERIOD_S = 10
_FUNCTIONS = """
    from faasd import cron, function

    @function(triggers=[
        cron("%d-59/{period} * * * * *" % (number % {period} if {spread} else 0), name="s%d" % number)
        for number in range({schedules})
    ])
    def tick(event, context):
        pass
"""
_DUE = "SELECT created_at - scheduled_for FROM invocations WHERE trigger = 'cron' AND state != 'skipped'"
_LACKS = "nothing is written down and no process is started: it calls a coroutine; a crash forgets what was due"
_AT_MOST = Bound(20.0, is_at_least=False)


@contextmanager
def cron_rows(stage: Stage) -> Iterator[list[Row]]:
    """p99 of the time from the due second to the moment that intake took it; its commit follows."""
    schedules = stage.count(SCHEDULES, 50)
    yield [
        _row(stage, "cron-spread", f"{schedules} schedules over {PERIOD_S} s", schedules, True),
        _row(stage, "cron-burst", f"{schedules} schedules due in one second", schedules, False),
    ]


def _row(stage: Stage, name: str, title: str, schedules: int, is_spread: bool) -> Row:
    return Row(
        name,
        f"{title}: due → taken by intake, p99",
        "ms late",
        Contestant("faasd", _ours(Path(stage.directory) / name, schedules, is_spread)),
        (
            Contestant(
                "APScheduler, memory store: due → called",
                lambda: _apscheduler(stage, schedules, is_spread),
                _LACKS,
            ),
        ),
        absolute=_AT_MOST,
    )


def _ours(directory: Path, schedules: int, is_spread: bool) -> Callable[[], Sample]:
    rounds = counted()

    def measure() -> Sample:
        functions = _FUNCTIONS.format(period=PERIOD_S, spread=is_spread, schedules=schedules)
        with running(directory / str(next(rounds)), functions) as daemon:
            with Window({daemon.pid}) as window:
                wait_until(
                    lambda: _fired(daemon) >= schedules, f"{schedules} fire times", 90.0, 0.1
                )
            late_s = [row[0] for row in daemon.rows(_DUE)]
        each = window.cpu_s * 1000 / len(late_s)
        return Sample(percentile(late_s, 99) * 1000, each, window.memory_bytes)

    return measure


def _fired(daemon: MeasuredDaemon) -> int:
    count: int = daemon.rows(f"SELECT count(*) FROM ({_DUE})")[0][0]
    return count


def _apscheduler(stage: Stage, schedules: int, is_spread: bool) -> Sample:
    answer = ask(python_of(stage), "peers.cron_burst", schedules, PERIOD_S, int(is_spread), 1)
    late_s = answer["late_s"]
    each = answer["cpu_s"] * 1000 / len(late_s)
    return Sample(percentile(late_s, 99) * 1000, each, int(answer["memory_bytes"]))
