"""The metrics' text, read by Prometheus' own parser."""

from __future__ import annotations

import math
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from faasd.metrics import METRICS, OTHER, SERIES_MAX, Family, Metric, Registry, render


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found: list[Sample] = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for one in found}


@pytest.mark.parametrize(
    "value", ['say "hi"', "back\\slash", "two\nlines", "ünïcode", "\udcff", "{},="]
)
def test_any_label_value_survives_the_text(value: str) -> None:
    """Names of functions and queues are people's; one odd name must not spoil the whole page."""
    registry = Registry()
    registry.add("faasd_retries_total", value, amount=3)
    readable = value.encode("utf-8", "backslashreplace").decode()
    assert samples(render(registry)) == {("faasd_retries_total", (("function", readable),)): 3}


def test_a_histogram_is_cumulative_and_its_sum_and_count_agree() -> None:
    """Quantiles are computed from the buckets, so a value on a bound belongs to that bucket."""
    registry = Registry()
    cell = registry.family("faasd_loop_lag_seconds").histogram()
    for value in (0.0, 0.001, 0.02, 7.0):
        cell.observe(value)
    found = samples(render(registry))
    buckets = [value for (name, _), value in found.items() if name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert found["faasd_loop_lag_seconds_bucket", (("le", "0.001"),)] == 2
    assert found["faasd_loop_lag_seconds_bucket", (("le", "5"),)] == 3
    assert found["faasd_loop_lag_seconds_bucket", (("le", "+Inf"),)] == 4
    assert found["faasd_loop_lag_seconds_count", ()] == 4
    assert found["faasd_loop_lag_seconds_sum", ()] == pytest.approx(7.021)


@pytest.mark.parametrize("value", [0.1, 1e-9, 12345678901234.5, 1e300, math.inf, -math.inf, 2**60])
def test_numbers_keep_their_value(value: float) -> None:
    """A timestamp that was rounded to six digits would be hours away."""
    registry = Registry()
    registry.set("faasd_slots", value)
    [read] = samples(render(registry)).values()
    assert read == value


def test_label_values_without_end_share_one_series() -> None:
    """A program that makes a queue per customer must not fill the daemon's memory, or Prometheus'."""
    family = Registry().family("faasd_queue_waiting")
    for number in range(SERIES_MAX + 5):
        family.set(2, f"queue-{number}")
    lines = [line for line in family.lines() if not line.startswith("#")]
    assert len(lines) == SERIES_MAX + 1
    assert f'faasd_queue_waiting{{queue="{OTHER}"}} 10' in lines


@pytest.mark.parametrize(
    ("name", "kind"), [("requests", "counter"), ("x_total", "gauge"), ("a-b", "gauge")]
)
def test_a_name_that_prometheus_would_warn_of_is_refused(name: str, kind: str) -> None:
    """A counter's name ends in _total, and no other's does."""
    with pytest.raises(ValueError, match="is no name for a"):
        Family(name, Metric(kind, "x"))


def test_every_declared_metric_can_be_made_and_says_what_it_means() -> None:
    """The page in the docs is made from these."""
    registry = Registry()
    for name, metric in METRICS.items():
        labels = ("x",) * len(metric.labels)
        family = registry.family(name)
        if metric.kind == "histogram":
            family.histogram(*labels).observe(1)
            assert list(metric.bounds) == sorted(metric.bounds)
        else:
            family.cell(*labels).value = 1
        assert metric.meaning.endswith(".")
    kinds = {one.name: one.type for one in text_string_to_metric_families(render(registry))}
    assert kinds == {name.removesuffix("_total"): metric.kind for name, metric in METRICS.items()}


def test_counting_costs_microseconds() -> None:
    """Metrics must not be seen in a benchmark: an attempt takes a thousand times as long."""
    registry = Registry()
    cell = registry.family("faasd_loop_lag_seconds").histogram()
    best = math.inf
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(1000):
            registry.add("faasd_attempts_total", "thumbnail", "ok")
            cell.observe(0.3)
        best = min(best, (time.perf_counter() - began) / 1000)
    assert best < 50e-6
