"""Processes that start, do their work and end, one after the other, against the clock."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Mapping

from benchmarks.daemon import ROOT
from benchmarks.model import CouldNotMeasure, Sample
from benchmarks.summary import percentile

__all__ = ["timed_processes"]


def timed_processes(
    command: list[str],
    count: int,
    environment: Mapping[str, str] | None = None,
    percent: float = 50,
) -> Sample:
    """Return how many milliseconds it took that `percent` of them did not exceed. Raises CouldNotMeasure."""
    took_s = []
    used_s = -_children_cpu_s()
    for _ in range(count):
        began = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        took_s.append(time.perf_counter() - began)
        if done.returncode != 0:
            raise CouldNotMeasure(
                f"{command[0]} ended with {done.returncode}: {done.stderr[-300:]}"
            )
    used_s += _children_cpu_s()
    return Sample(percentile(took_s, percent) * 1000, used_s * 1000 / count)


def _children_cpu_s() -> float:
    """Return what all children reaped so far have used; a daemon that still runs is not among them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
