"""examples/monitoring: its rules and its dashboard are about metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import promql_parser
import pytest
import yaml

from faasd.metrics import METRICS
from tests.examples.running import REPOSITORY

FOLDER = REPOSITORY / "examples" / "monitoring"
#: Prometheus' own.
FOREIGN = {"up"}
#: What Grafana fills in.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$function": ".*"}


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((FOLDER / "faasd-alerts.yml").read_text())["groups"]
    return list(group["rules"])


def expressions() -> dict[str, str]:
    """Return every expression by the name of its alert or panel."""
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in json.loads((FOLDER / "grafana-dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, text in VARIABLES.items():
                expression = expression.replace(variable, text)
            found[f"{panel['title']} {target['refId']}"] = expression
    return found


def known_series() -> set[str]:
    names = set(METRICS) | FOREIGN
    for name, metric in METRICS.items():
        if metric.kind == "histogram":
            names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    return names


@pytest.mark.parametrize("name", sorted(expressions()))
def test_each_expression_is_promql_about_metrics_and_labels_that_exist(name: str) -> None:
    """A rule about a metric that was renamed is silent for ever, and looks as if all were well."""
    expression = expressions()[name]
    promql_parser.parse(expression)
    metrics = set(re.findall(r"\b(?:faasd|process)_\w+|\bup\b", expression))
    assert metrics, expression
    assert metrics <= known_series()
    for metric, labels in re.findall(r"(\w+)\{([^}]*)\}", expression):
        base = re.sub(r"_(bucket|sum|count)$", "", metric)
        allowed = {"instance", "job", *getattr(METRICS.get(base), "labels", ())}
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", labels))
        assert used <= allowed, f"{metric} has the labels {allowed}"


def test_each_alert_says_what_it_is_about() -> None:
    """It is read at night."""
    assert len(rules()) == 17, "the README says how many"
    for rule in rules():
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_the_parser_refuses_what_is_no_promql() -> None:
    """The control of the test above."""
    with pytest.raises(ValueError, match="unexpected end of input"):
        promql_parser.parse("rate(faasd_attempts_total[5m")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed here")
@pytest.mark.parametrize(
    "arguments", [("check", "config", "prometheus.yml"), ("test", "rules", "faasd-alerts.test.yml")]
)
def test_promtool_is_content(arguments: tuple[str, ...]) -> None:
    """The alerts fire when they should, and the configuration is one that Prometheus starts with."""
    done = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
