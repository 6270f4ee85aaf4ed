"""Medians, ranges and ratios of rounds. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.model import Bound, Sample

__all__ = ["Spread", "cpu_ratios", "percentile", "ratios", "spread", "verdict"]


@dataclass(frozen=True)
class Spread:
    """The middle of some rounds and how far they lie apart."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Return median and range. There must be a value."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(ours: Sequence[Sample], theirs: Sequence[Sample]) -> list[float]:
    """Return ours by theirs, round by round: two neighbours in time saw the same machine.

    A round that only one of them finished is left out.
    """
    return [
        our.value / their.value for our, their in zip(ours, theirs, strict=False) if their.value > 0
    ]


def cpu_ratios(ours: Sequence[Sample], theirs: Sequence[Sample]) -> list[float]:
    """Return our processor time for an operation by theirs, round by round, where both are known.

    Steadier than wall time on a machine that does other work too.
    """
    pairs = [(our.cpu_ms_each, their.cpu_ms_each) for our, their in zip(ours, theirs, strict=False)]
    return [our / their for our, their in pairs if our is not None and their]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of all do not exceed: the nearest rank, never an invented value."""
    if not values:
        raise ValueError("there is no percentile of no values")
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # Rounded up.
    return ordered[max(0, min(len(ordered) - 1, int(rank) - 1))]


def verdict(bound: Bound | None, value: float | None) -> str:
    """Say in a word whether a target is met; empty where there is no target, a dash where nothing was measured."""
    if bound is None:
        return ""
    if value is None:
        return "not measured"
    return "met" if bound.holds(value) else "missed"
