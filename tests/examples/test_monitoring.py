"""examples/monitoring: its rules and its dashboard are about metrics that exist, and its proxy serves them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from faasd.metrics import METRICS
from tests.examples.running import REPOSITORY, Example

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


@pytest.fixture
def proxied(nightly_report: Example, tmp_path: Path) -> Iterator[str]:
    """The proxy in front of a real daemon; the address that it listens on."""
    socket = nightly_report.folder / "state" / "faasd.sock"
    process = subprocess.Popen(
        [sys.executable, "metrics_proxy.py", "--socket", str(socket), "--listen", "127.0.0.1:0"],
        cwd=FOLDER,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield "http://" + process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def test_the_proxy_serves_the_metrics_and_nothing_else(
    proxied: str, nightly_report: Example
) -> None:
    """Whoever reaches its port may read numbers, and not put events on queues."""
    with urllib.request.urlopen(f"{proxied}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = list(text_string_to_metric_families(answer.read().decode()))
    assert "faasd_build_info" in {family.name for family in families}
    for method, path in (("GET", "/api/v1/status"), ("POST", "/metrics"), ("POST", "/api/v1/wake")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(proxied + path, method=method))
        assert refused.value.code in (404, 501)
        refused.value.close()
    nightly_report.stop()
    with pytest.raises(urllib.error.HTTPError) as gone:
        urllib.request.urlopen(f"{proxied}/metrics")
    assert gone.value.code == 502
    gone.value.close()
    nightly_report.start()
