"""How late schedules fire when there are many: all of them due at once, and spread over the seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count as counted
from pathlib import Path

from benchmarks.daemon import MeasuredDaemon, running, wait_until
from benchmarks.model import Bound, Contestant, Row, Sample, Stage
from benchmarks.peering import ask, python_of
from benchmarks.summary import percentile
from benchmarks.usage import Window

__all__ = ["cron_rows"]

#: So many, each due once in so many seconds. Ten thousand are not spread as well: how many are due in a second counts.
SCHEDULES, PERIOD_S = 1000, 10
MANY, MANY_PERIOD_S = 10_000, 30
_FUNCTIONS = """
    from faasd import cron, function

    @function(triggers=[
        cron(",".join(str(s) for s in range(number % {period} if {spread} else 0, 60, {period})) + " * * * * *",
             name="s%d" % number)
        for number in range({schedules})
    ])
    def tick(event, context):
        pass
"""
_DUE = "SELECT created_at - scheduled_for FROM invocations WHERE trigger = 'cron' AND state != 'skipped'"
_PATIENCE_S = 180.0
_LACKS = "nothing is written down and no process is started: it calls a coroutine; a crash forgets what was due"
_AT_MOST = Bound(20.0, is_at_least=False)


@contextmanager
def cron_rows(stage: Stage) -> Iterator[list[Row]]:
    """p99 of the time from the due second to the moment that intake took it; its commit follows."""
    some = Load(stage.count(SCHEDULES, 50), PERIOD_S)
    many = Load(stage.count(MANY, 500), MANY_PERIOD_S)
    yield [
        _row(stage, "cron-spread", replace(some, is_spread=True), _AT_MOST),
        _row(stage, "cron-burst", some, _AT_MOST),
        _row(stage, "cron-many-burst", many, None),
    ]


@dataclass(frozen=True)
class Load:
    """Schedules that fire once in a period, spread over its seconds or all in its first."""

    schedules: int
    period_s: int
    is_spread: bool = False

    def __str__(self) -> str:
        over = f"over {self.period_s} s" if self.is_spread else "due in one second"
        return f"{self.schedules:,} schedules {over}"


def _row(stage: Stage, name: str, load: Load, at_most: Bound | None) -> Row:
    return Row(
        name,
        f"{load}: due → taken by intake, p99",
        "ms late",
        Contestant("faasd", _ours(Path(stage.directory) / name, load)),
        (
            Contestant(
                "APScheduler, memory store: due → called",
                lambda: _apscheduler(stage, load),
                _LACKS,
            ),
        ),
        absolute=at_most,
    )


def _ours(directory: Path, load: Load) -> Callable[[], Sample]:
    rounds = counted()

    def measure() -> Sample:
        functions = _FUNCTIONS.format(
            period=load.period_s, spread=load.is_spread, schedules=load.schedules
        )
        with running(directory / str(next(rounds)), functions) as daemon:
            with Window({daemon.pid}) as window:
                wait_until(
                    lambda: _fired(daemon) >= load.schedules,
                    f"{load.schedules} fire times",
                    _PATIENCE_S,
                    0.1,
                )
            late_s = [row[0] for row in daemon.rows(_DUE)]
        each = window.cpu_s * 1000 / len(late_s)
        return Sample(percentile(late_s, 99) * 1000, each, window.memory_bytes)

    return measure


def _fired(daemon: MeasuredDaemon) -> int:
    count: int = daemon.rows(f"SELECT count(*) FROM ({_DUE})")[0][0]
    return count


def _apscheduler(stage: Stage, load: Load) -> Sample:
    numbers = (load.schedules, load.period_s, int(load.is_spread), 1)
    answer = ask(python_of(stage), "peers.cron_burst", *numbers)
    late_s = answer["late_s"]
    each = answer["cpu_s"] * 1000 / len(late_s)
    return Sample(percentile(late_s, 99) * 1000, each, int(answer["memory_bytes"]))
