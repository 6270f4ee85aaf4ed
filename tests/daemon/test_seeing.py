"""What an operator sees of a real daemon: metrics, usage, logs that follow, and the live view."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from faasd.metrics import METRICS
from tests.daemon.harness import REPOSITORY, DaemonProcess, wait_for, write_project

FUNCTIONS = """
    import os, time
    from faasd import files, function, every, queue

    @function(triggers=[queue("work")], retry={"attempts": 2, "first": "10ms"}, memory="128MiB")
    def work(event, context):
        print("work on", event["body"])
        if event["body"] == "bad":
            raise ValueError("bad")

    @function(triggers=[queue("gate")], timeout="60s", concurrency=1, read=["gates"])
    def gate(event, context):
        context.progress({"waits for": "the gate"})
        held = bytearray(40_000_000)
        while not os.path.exists(event["body"]):
            time.sleep(0.02)

    @function(triggers=[every("1h", name="hourly"), files("inbox", name="inbox")])
    def seldom(event, context):
        print("seldom")

    @function(triggers=[every("1s", name="busy", overlap="skip")], timeout="30s")
    def busy(event, context):
        time.sleep(2.5)
"""
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def daemon(tmp_path: Path) -> DaemonProcess:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "gates").mkdir()
    return DaemonProcess(write_project(tmp_path, FUNCTIONS, 'state_bytes_max = "1GiB"\n'))


def scrape(daemon: DaemonProcess) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(daemon.client.text("/metrics"))
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


def test_metrics_tell_what_happened(daemon: DaemonProcess, tmp_path: Path) -> None:
    """Each number that an alert may stand on, after the thing that it counts has happened."""
    go = tmp_path / "gates" / "go"
    with daemon.running():
        daemon.client.request("POST", "/api/v1/reload")
        for body in ("good", "good", "bad"):
            daemon.client.enqueue("work", body)
        for _ in range(3):
            daemon.client.enqueue("gate", str(go))
        daemon.client.invoke("work", {"body": "direct"})
        for _ in range(2):
            daemon.client.enqueue("gate", str(go), expires="1s", dedup="once")

        skipped = "faasd_invocations_skipped_total"

        def has_settled() -> Samples | None:
            seen = scrape(daemon)
            is_there = (
                value(seen, "faasd_dead_letters_total", function="work") == 1
                and value(seen, "faasd_attempts_total", function="work", outcome="ok") == 3
                and value(seen, "faasd_attempts_running", function="gate") == 1
                and value(
                    seen, "faasd_ticks_missed_total", schedule="busy", reason="skipped-overlap"
                )
                and value(seen, skipped, function="gate", trigger="queue", reason="expired") == 1
                and value(seen, "faasd_loop_lag_seconds_count")
                and value(seen, "faasd_queue_oldest_waiting_seconds", queue="gate") > 0.1
            )
            return seen if is_there else None

        seen = wait_for(has_settled, "the metrics to tell it")
        accepted = "faasd_invocations_accepted_total"
        assert value(seen, accepted, function="work", trigger="queue") == 3
        assert value(seen, accepted, function="work", trigger="invoke") == 1
        assert value(seen, skipped, function="gate", trigger="queue", reason="duplicate") == 1
        assert value(seen, "faasd_attempts_total", function="work", outcome="error") == 2
        assert '"error": "ValueError: bad"' in daemon.log(), "a KeyError's own text is only a key"
        assert value(seen, "faasd_invocations_total", function="work", outcome="error") == 1
        assert value(seen, "faasd_invocations_total", function="work", outcome="ok") == 3
        assert value(seen, "faasd_retries_total", function="work") == 1
        assert value(seen, "faasd_attempt_duration_seconds_count", function="work") == 5
        assert value(seen, "faasd_queue_wait_seconds_count", function="work") == 4
        assert value(seen, "faasd_cold_starts_total", function="work") >= 1
        assert value(seen, "faasd_memory_limit_bytes", function="work") == 128 * 2**20
        assert value(seen, "faasd_memory_peak_bytes", function="work") > 0
        assert value(seen, "faasd_queue_waiting", queue="gate") == 2
        assert value(seen, "faasd_queue_in_flight", queue="gate") == 1
        assert value(seen, "faasd_queue_dead", queue="work") == 1
        next_at = value(seen, "faasd_schedule_next_timestamp_seconds", schedule="hourly")
        assert next_at > value(seen, "process_start_time_seconds") > 0
        assert value(seen, "faasd_store_commit_seconds_count") > 5
        assert value(seen, "process_resident_memory_bytes") > 10 * 2**20
        assert value(seen, "faasd_reloads_total", result="unchanged") == 1
        assert value(seen, "faasd_configuration_whole") == 1
        kinds = {name for name, _ in seen}
        assert {name for name in METRICS if METRICS[name].kind == "gauge"} <= kinds
        go.touch()
        wait_for(
            lambda: value(scrape(daemon), "faasd_queue_in_flight", queue="gate") == 0, "the end"
        )


def test_pending_and_failed_files_are_told(tmp_path: Path) -> None:
    """A file that is not taken yet, and one that was taken in vain."""
    (tmp_path / "inbox").mkdir()
    functions = """
        from faasd import files, function

        @function(triggers=[files("inbox", name="inbox", settle="200ms")], retry={"attempts": 1})
        def take(event, context):
            raise ValueError("no")
    """
    daemon = DaemonProcess(write_project(tmp_path, functions))
    with daemon.running():
        with (tmp_path / "inbox" / "a.txt").open("w") as file:
            file.write("x")
            file.flush()
            wait_for(
                lambda: value(scrape(daemon), "faasd_files_pending", trigger="inbox"), "pending"
            )
        wait_for(lambda: value(scrape(daemon), "faasd_files_failed", trigger="inbox"), "failed")


def test_what_a_dead_daemon_was_running_is_counted_as_lost(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    """An alert on restarts under load needs no log to be read."""
    go = tmp_path / "gates" / "go"
    with daemon.running():
        id_ = daemon.client.enqueue("gate", str(go))
        daemon.wait_for_state(id_, "running")
        daemon.kill9()
        daemon.start()
        assert value(scrape(daemon), "faasd_attempts_total", function="gate", outcome="lost") == 1
        go.touch()
        daemon.wait_for_state(id_, "done")


def test_usage_is_counted_once_and_outlives_a_restart(daemon: DaemonProcess) -> None:
    """With the price from the configuration."""
    prices = "price_per_gb_second = 2.0\nprice_per_million_requests = 0\n"
    config = daemon.config.read_text()
    daemon.config.write_text(config.replace("[daemon]\n", "[daemon]\n" + prices))
    with daemon.running():
        ids = [daemon.client.enqueue("work", body) for body in ("a", "b", "bad")]
        for id_ in ids:
            daemon.wait_for_state(id_, "done", "dead")

        def used() -> dict[str, object]:
            done = daemon.cli("usage", "--function", "work", "--json")
            [row] = json.loads(done.stdout)
            return row

        first = used()
        assert first["month"] == f"{datetime.now(UTC):%Y-%m}"
        assert (first["requests"], first["errors"]) == (4, 2)
        assert first["gb_seconds"] == pytest.approx(first["duration_s"] / 8, abs=0.001)
        assert first["cost"] == pytest.approx(first["gb_seconds"] * 2, abs=1e-5)
        daemon.stop()
        daemon.start()
        assert used() == first


def test_logs_are_followed_across_functions_and_a_restart(daemon: DaemonProcess) -> None:
    """Somebody who watches a deployment must not have to start watching again."""
    with daemon.running():
        daemon.client.invoke("work", {"body": "first"})
        command = [
            sys.executable,
            "-m",
            "faasd",
            "logs",
            "-f",
            "--json",
            "--config",
            str(daemon.config),
        ]
        process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        try:
            assert "first" in process.stdout.readline()
            daemon.client.invoke("seldom", {})
            assert json.loads(process.stdout.readline())["function"] == "seldom"
            daemon.stop()
            daemon.start()
            daemon.client.invoke("work", {"body": "second"})
            assert "second" in process.stdout.readline()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def test_top_shows_what_runs_with_its_memory(daemon: DaemonProcess, tmp_path: Path) -> None:
    """The attempt that eats the memory is found before it is killed for it."""
    go = tmp_path / "gates" / "go"
    with daemon.running():
        id_ = daemon.client.enqueue("gate", str(go))

        def held() -> dict[str, object] | None:
            rows = daemon.client.request("GET", "/api/v1/attempts")["attempts"]
            return next((row for row in rows if (row["memory_bytes"] or 0) > 40_000_000), None)

        row = wait_for(held, "the attempt to hold its memory")
        assert (row["function"], row["invocation_id"], row["trigger"]) == ("gate", id_, "queue")
        frame = daemon.cli("top", "--once")
        assert frame.returncode == 0
        assert id_ in frame.stdout
        assert row["progress"] == {"waits for": "the gate"}
        assert '{"waits for": "the gate…' in frame.stdout
        assert "hourly" in frame.stdout
        go.touch()
        daemon.wait_for_state(id_, "done")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as another user")
def test_another_user_sees_numbers_and_no_work_of_others(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    """A scraper is given the socket's group and not root."""
    with daemon.running():
        socket = str(daemon.state_dir / "faasd.sock")
        script = (
            "import os, socket, sys\n"
            "directory = os.open(os.path.dirname(sys.argv[1]), os.O_PATH)\n"
            "os.fchdir(directory)\n"
            "os.chmod('faasd.sock', 0o666)\n"
            "os.setuid(65534)\n"
            "for path in ('/metrics', '/api/v1/attempts'):\n"
            "    s = socket.socket(socket.AF_UNIX)\n"
            "    s.connect('faasd.sock')\n"
            "    s.sendall(f'GET {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'.encode())\n"
            "    print(s.makefile('rb').readline().split()[1].decode())\n"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-c", script, socket],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.split() == ["200", "403"], done.stderr
