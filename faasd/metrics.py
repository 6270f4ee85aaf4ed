"""What faasd counts and measures: every metric by name, and the text in which Prometheus reads them.

The text is Prometheus' format 0.0.4. Counting costs a dictionary look-up and an addition. Label values
that could grow without end share one series, `_other`, beyond a bound.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "CONTENT_TYPE",
    "METRICS",
    "OTHER",
    "SERIES_MAX",
    "Cell",
    "Family",
    "HistogramCell",
    "Metric",
    "Registry",
    "render",
]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Stands for every label value beyond a family's bound.
OTHER = "_other"
SERIES_MAX = 5000

_RUN_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0)
_SHORT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


@dataclass(frozen=True)
class Metric:
    """One metric as it is declared. `bounds` are the upper bounds of a histogram's buckets."""

    kind: str  # counter, gauge, histogram
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


#: Everything that `/metrics` may hold; docs/metrics.md is made from it.
METRICS: dict[str, Metric] = {
    # What comes in.
    "faasd_invocations_accepted_total": Metric(
        "counter", "Events that became invocations.", ("function", "trigger")
    ),
    "faasd_invocations_skipped_total": Metric(
        "counter",
        "Events and ticks that will not run, by reason: missed, skipped-overlap, expired, filtered, duplicate.",
        ("function", "trigger", "reason"),
    ),
    "faasd_ticks_missed_total": Metric(
        "counter",
        "Fire times that did not run, by reason: missed, skipped-overlap.",
        ("schedule", "reason"),
    ),
    # What runs.
    "faasd_attempts_total": Metric(
        "counter", "Attempts that ended, by outcome.", ("function", "outcome")
    ),
    "faasd_invocations_total": Metric(
        "counter",
        "Invocations that are finished, by the outcome of their last attempt.",
        ("function", "outcome"),
    ),
    "faasd_retries_total": Metric(
        "counter", "Invocations sent back to be tried again.", ("function",)
    ),
    "faasd_dead_letters_total": Metric(
        "counter", "Invocations whose attempts were used up.", ("function",)
    ),
    "faasd_attempt_duration_seconds": Metric(
        "histogram", "How long attempts ran.", ("function",), _RUN_S
    ),
    "faasd_queue_wait_seconds": Metric(
        "histogram", "How long invocations were due before an attempt began.", ("function",), _RUN_S
    ),
    "faasd_cold_starts_total": Metric(
        "counter", "Attempts that waited for a new zygote.", ("function",)
    ),
    "faasd_init_seconds_total": Metric(
        "counter", "How long cold starts took, together.", ("function",)
    ),
    "faasd_cpu_seconds_total": Metric(
        "counter", "Processor time of attempts, where the host can tell.", ("function",)
    ),
    "faasd_memory_byte_seconds_total": Metric(
        "counter",
        "Duration of attempts times their memory limit; divided by 2^30 it is GB-seconds.",
        ("function",),
    ),
    "faasd_memory_peak_bytes": Metric(
        "gauge",
        "The highest memory peak of an attempt in the last five to ten minutes.",
        ("function",),
    ),
    "faasd_memory_limit_bytes": Metric("gauge", "What one attempt may use.", ("function",)),
    "faasd_attempts_running": Metric("gauge", "Attempts that run now.", ("function",)),
    "faasd_sandboxes_waiting": Metric(
        "gauge", "Sandboxes that wait for an attempt, `warm` or `spare`.", ("function", "kind")
    ),
    "faasd_function_paused": Metric("gauge", "1 while the function is paused.", ("function",)),
    "faasd_slots": Metric("gauge", "How many attempts may run at once, over all functions."),
    "faasd_functions": Metric("gauge", "Functions in force."),
    "faasd_function_info": Metric(
        "gauge",
        "Always 1; the version of its code that new attempts run.",
        ("function", "code_version"),
    ),
    "faasd_problems": Metric("gauge", "Problems that `faasd status` lists."),
    # What is in force.
    "faasd_reloads_total": Metric(
        "counter", "Reloads, by result: applied, partial, unchanged, refused.", ("result",)
    ),
    "faasd_reload_timestamp_seconds": Metric(
        "gauge", "When a reload last ended with this result; absent before the first.", ("result",)
    ),
    "faasd_configuration_whole": Metric(
        "gauge",
        "1 while all that the files said at the last start or reload is in force; 0 when the reload was "
        "refused, or functions are as they were or left out because of a mistake.",
    ),
    "faasd_configuration_info": Metric(
        "gauge",
        "Always 1; the first 12 digits of the SHA-256 of the configuration file that is in force.",
        ("sha256",),
    ),
    # What waits.
    "faasd_queue_waiting": Metric("gauge", "Invocations that are due and wait.", ("queue",)),
    "faasd_queue_delayed": Metric("gauge", "Invocations that are due later.", ("queue",)),
    "faasd_queue_in_flight": Metric("gauge", "Invocations that run.", ("queue",)),
    "faasd_queue_dead": Metric("gauge", "Dead letters that are kept.", ("queue",)),
    "faasd_queue_oldest_waiting_seconds": Metric(
        "gauge",
        "How long the oldest waiting invocation has been due; 0 when none waits.",
        ("queue",),
    ),
    # Triggers.
    "faasd_schedule_last_timestamp_seconds": Metric(
        "gauge", "The last fire time that a schedule has handled.", ("schedule",)
    ),
    "faasd_schedule_next_timestamp_seconds": Metric(
        "gauge", "When a schedule fires next; absent while it is paused or over.", ("schedule",)
    ),
    "faasd_schedule_paused": Metric("gauge", "1 while the schedule is paused.", ("schedule",)),
    "faasd_files_seen": Metric("gauge", "Files in a files trigger's ledger.", ("trigger",)),
    "faasd_files_pending": Metric("gauge", "Files present but not complete yet.", ("trigger",)),
    "faasd_files_in_flight": Metric("gauge", "Files accepted and not done yet.", ("trigger",)),
    "faasd_files_failed": Metric("gauge", "Files whose invocation failed for good.", ("trigger",)),
    "faasd_watch_problem": Metric(
        "gauge",
        "1 while a watched directory is missing, unreadable or otherwise in trouble.",
        ("trigger",),
    ),
    # The daemon itself.
    "faasd_store_commit_seconds": Metric(
        "histogram", "How long one group of changes took to be on disk.", (), _SHORT_S
    ),
    "faasd_store_works_total": Metric("counter", "Changes committed; many share one commit."),
    "faasd_store_failures_total": Metric(
        "counter", "Groups of changes that could not be committed."
    ),
    "faasd_store_bytes": Metric("gauge", "Size of the database and of its log.", ("file",)),
    "faasd_state_dir_free_bytes": Metric("gauge", "Free space where the state directory lies."),
    "faasd_state_dir_bytes": Metric(
        "gauge",
        "What the state directory holds, to the minute; only with `state_bytes_max`.",
    ),
    "faasd_state_dir_bytes_max": Metric("gauge", "What it may hold; only with `state_bytes_max`."),
    "faasd_accepting_events": Metric(
        "gauge", "0 while new events are refused because there is no room for them, else 1."
    ),
    "faasd_no_room_refusals_total": Metric(
        "counter", "Events refused because there was no room for them."
    ),
    "faasd_log_lines_dropped_total": Metric(
        "counter", "Lines that functions printed and that could not be written."
    ),
    "faasd_loop_lag_seconds": Metric(
        "histogram", "How late the daemon's event loop came to what was due.", (), _SHORT_S
    ),
    "faasd_build_info": Metric("gauge", "Always 1.", ("version", "python")),
    "process_start_time_seconds": Metric("gauge", "When the daemon started."),
    "process_cpu_seconds_total": Metric("counter", "Processor time of the daemon itself."),
    "process_resident_memory_bytes": Metric("gauge", "Memory of the daemon itself."),
    "process_open_fds": Metric("gauge", "Descriptors that the daemon has open."),
    "process_max_fds": Metric("gauge", "Descriptors that it may have open."),
}

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Cell:
    """One series of a counter or a gauge. Add to `value`, or set it."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class HistogramCell:
    """One series of a histogram. One thread at a time may observe."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class Family:
    """One metric with its series by label values."""

    def __init__(self, name: str, metric: Metric, series_max: int = SERIES_MAX) -> None:
        if not _NAME.fullmatch(name) or (metric.kind == "counter") != name.endswith("_total"):
            raise ValueError(f"{name!r} is no name for a {metric.kind}")
        self.name = name
        self.metric = metric
        self._series_max = series_max
        self._cells: dict[tuple[str, ...], Cell | HistogramCell] = {}

    def cell(self, *labels: str) -> Cell:
        """Return the series of these label values, made when it is new."""
        found = self._cells.get(labels) or self._new(labels)
        assert isinstance(found, Cell)
        return found

    def histogram(self, *labels: str) -> HistogramCell:
        """Return the histogram of these label values, made when it is new."""
        found = self._cells.get(labels) or self._new(labels)
        assert isinstance(found, HistogramCell)
        return found

    def add(self, *labels: str, amount: float = 1) -> None:
        """Add to the series of these label values."""
        self.cell(*labels).value += amount

    def set(self, value: float, *labels: str) -> None:
        """Set the series of these label values; beyond the bound, values are summed."""
        cell = self.cell(*labels)
        shared = labels not in self._cells
        cell.value = cell.value + value if shared else value

    def _new(self, labels: tuple[str, ...]) -> Cell | HistogramCell:
        if len(labels) != len(self.metric.labels):
            raise ValueError(f"{self.name} has the labels {self.metric.labels}, not {labels}")
        if len(self._cells) >= self._series_max:
            labels = (OTHER,) * len(labels)
            if labels in self._cells:
                return self._cells[labels]
        is_histogram = self.metric.kind == "histogram"
        made = HistogramCell(self.metric.bounds) if is_histogram else Cell()
        return self._cells.setdefault(labels, made)

    def lines(self) -> list[str]:
        """Return the family as text; nothing when it has no series."""
        # The list is made in one step, so that other threads may add series meanwhile.
        cells = sorted(list(self._cells.items()), key=lambda item: item[0])  # noqa: C414
        if not cells:
            return []
        lines = [
            f"# HELP {self.name} {_escaped(self.metric.meaning, quote=False)}",
            f"# TYPE {self.name} {self.metric.kind}",
        ]
        for values, cell in cells:
            pairs = ",".join(
                f'{name}="{_escaped(value)}"'
                for name, value in zip(self.metric.labels, values, strict=True)
            )
            if isinstance(cell, Cell):
                lines.append(f"{self.name}{f'{{{pairs}}}' if pairs else ''} {_number(cell.value)}")
            else:
                lines += _histogram_lines(self.name, pairs, cell, self.metric.bounds)
        return lines


class Registry:
    """The families of one daemon, or of one look at it: a metric stands in one of the two."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def family(self, name: str) -> Family:
        """Return the family of a declared metric. Raises KeyError for one that is not declared."""
        found = self._families.get(name)
        if found is None:
            found = self._families[name] = Family(name, METRICS[name])
        return found

    def add(self, name: str, *labels: str, amount: float = 1) -> None:
        """Add to one series of a counter."""
        self.family(name).add(*labels, amount=amount)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set one series of a gauge."""
        self.family(name).set(value, *labels)

    def get(self, name: str) -> Family | None:
        """Return the family, or None while it has no series."""
        return self._families.get(name)


def render(*registries: Registry) -> str:
    """Return every metric as text, in the order of METRICS."""
    found = [registry.get(name) for name in METRICS for registry in registries]
    return "".join(f"{line}\n" for family in found if family for line in family.lines())


def _histogram_lines(
    name: str, pairs: str, cell: HistogramCell, bounds: Sequence[float]
) -> list[str]:
    lead = f"{pairs}," if pairs else ""
    lines = []
    total = 0
    # Copied first and counted from the copy, so that +Inf and _count never disagree.
    for bound, count in zip([*bounds, math.inf], list(cell.counts), strict=True):
        total += count
        lines.append(f'{name}_bucket{{{lead}le="{_number(bound)}"}} {total}')
    labels = f"{{{pairs}}}" if pairs else ""
    lines.append(f"{name}_sum{labels} {_number(cell.sum)}")
    lines.append(f"{name}_count{labels} {total}")
    return lines


def _number(value: float) -> str:
    if value == math.inf:
        return "+Inf"
    if value == -math.inf:
        return "-Inf"
    if math.isnan(value):
        return "NaN"
    # Without an exponent that readers take for a rounded number, and without ".0".
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _escaped(text: str, *, quote: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    text = text.replace('"', '\\"') if quote else text
    return text.encode("utf-8", "backslashreplace").decode()
