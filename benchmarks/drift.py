"""Whether a measure that was taken again and again stays where it is. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

__all__ = ["WARM_UP_SHARE", "Drift", "Measure", "drift_of"]

#: The begin of a run is left out: caches fill, zygotes start, and history grows to what is kept.
WARM_UP_SHARE = 1 / 3
_POINTS_MAX = 240


@dataclass(frozen=True)
class Measure:
    """What is looked at, and how much of a change over a whole run still counts as none."""

    name: str
    unit: str
    tolerance: float  # In its unit,
    tolerance_share: float  # or as a share of its middle; the larger of the two counts.


@dataclass(frozen=True)
class Drift:
    """What became of one measure after the warm-up."""

    middle: float
    least: float
    most: float
    per_hour: float  # By Theil and Sen: one burst does not bend it.
    is_flat: bool


def drift_of(measure: Measure, seconds: Sequence[float], values: Sequence[float]) -> Drift:
    """Return how a measure has moved after the warm-up. Raises ValueError for fewer than three samples.

    It is flat when the slope, over the time looked at, comes to no more than the tolerance. What
    shrinks is flat too: it leaks nothing.
    """
    begin = seconds[0] + (seconds[-1] - seconds[0]) * WARM_UP_SHARE if seconds else 0.0
    points = [(at, value) for at, value in zip(seconds, values, strict=True) if at >= begin]
    if len(points) < 3:
        raise ValueError(f"{measure.name} was sampled too seldom to say how it moves")
    kept = [value for _, value in points]
    middle = statistics.median(kept)
    points = points[:: max(1, len(points) // _POINTS_MAX)]  # Pairs are many.
    slope = statistics.median(
        (after - before) / (later - earlier)
        for (earlier, before), (later, after) in combinations(points, 2)
        if later > earlier
    )
    change = slope * (points[-1][0] - points[0][0])
    allowed = max(measure.tolerance, measure.tolerance_share * middle)
    return Drift(middle, min(kept), max(kept), slope * 3600, change <= allowed)
