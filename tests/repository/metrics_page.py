"""docs/metrics.md: every metric, from where it is declared."""

from __future__ import annotations

from faasd.metrics import METRICS

__all__ = ["render_metrics"]

_HEAD = """\
# Metrics

Generated from the code by `make generate`. [Observability](observability.md) says how to scrape them.

Counters begin at zero with each start of the daemon. What alerts stand on is there from the start, with
zero; other series appear with their first event. A label value beyond the 5,000th of a metric is counted as `_other`.

| Metric | Kind | Labels | Means |
| --- | --- | --- | --- |
"""


def render_metrics() -> str:
    """Return the page."""
    rows = [
        f"| `{name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.meaning} |\n"
        for name, metric in METRICS.items()
    ]
    return _HEAD + "".join(rows)
