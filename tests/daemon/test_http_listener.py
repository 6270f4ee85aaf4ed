"""`[http] listen`: metrics and health over TCP, and nothing else."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon.harness import DaemonProcess, write_project
from tests.patience import patient

FUNCTIONS = """
from faasd import function, queue

@function(triggers=[queue("letters")])
def read_letter(event, context):
    pass
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ask(host: str, port: int, method: str, path: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request(method, path, body=b"{}" if method == "POST" else None)
        answer = connection.getresponse()
        return answer.status, answer.headers["content-type"] or "", answer.read().decode()
    finally:
        connection.close()


def test_metrics_and_health_are_read_over_tcp_and_nothing_else_is_there(tmp_path: Path) -> None:
    """Whoever reaches the port may read numbers, and not put events on queues."""
    port = _free_port()
    config = write_project(tmp_path, FUNCTIONS, f'[http]\nlisten = "127.0.0.1:{port}"\n')
    with DaemonProcess(config).running() as daemon:
        status, kind, text = _ask("127.0.0.1", port, "GET", "/metrics")
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        families = {family.name for family in text_string_to_metric_families(text)}
        assert {"faasd_build_info", "faasd_functions"} <= families
        assert _ask("127.0.0.1", port, "GET", "/healthz")[0] == 200
        assert json.loads(_ask("127.0.0.1", port, "GET", "/readyz")[2]) == {"state": "ready"}
        for method, path in (
            ("GET", "/api/v1/status"),
            ("GET", "/api/v1/invocations"),
            ("POST", "/api/v1/queues/letters/events"),
            ("POST", "/api/v1/functions/read_letter/invocations"),
        ):
            assert _ask("127.0.0.1", port, method, path)[0] == 404, path
        assert _ask("127.0.0.1", port, "POST", "/metrics")[0] == 405
        assert daemon.client.request("GET", "/api/v1/status")["http"] == f"127.0.0.1:{port}"
        assert daemon.stop() == 0
    with pytest.raises(ConnectionRefusedError):
        _ask("127.0.0.1", port, "GET", "/healthz")


def test_an_address_that_is_taken_stops_the_start_with_a_word(tmp_path: Path) -> None:
    """Nothing that was asked for is left out in silence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = write_project(tmp_path, FUNCTIONS, f'[http]\nlisten = "127.0.0.1:{port}"\n')
        daemon = DaemonProcess(config)
        daemon.start(wait=False)
        assert daemon.process is not None
        assert daemon.process.wait(patient(60)) == 1
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in daemon.log()


def test_another_address_takes_a_restart_and_a_reload_says_so(tmp_path: Path) -> None:
    """What is said to be in force is."""
    port = _free_port()
    config = write_project(tmp_path, FUNCTIONS)
    with DaemonProcess(config).running() as daemon:
        text = config.read_text() + f'[http]\nlisten = "127.0.0.1:{port}"\n'
        config.write_text(text)
        report = daemon.client.request("POST", "/api/v1/reload")
        assert [one["setting"] for one in report["needs_restart"]] == ["http.listen"]
        assert "http" not in daemon.client.request("GET", "/api/v1/status")
        assert daemon.stop() == 0
        daemon.start()
        assert _ask("127.0.0.1", port, "GET", "/readyz")[0] == 200
