"""What a box does to a daemon: streams that nobody reads, damaged stores, full disks, odd signals."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

from faasd.errors import StoreFull
from tests.daemon.harness import REPOSITORY, DaemonProcess, tmpfs, wait_for, write_project

FUNCTIONS = """
    import os, time
    from faasd import function, queue

    @function(triggers=[queue("plain")])
    def plain(event, context):
        return event["body"]

    @function(triggers=[queue("loud", concurrency=1)], retry={"attempts": 1})
    def loud(event, context):
        raise ValueError("x" * 400)
"""


def project(directory: Path, toml: str = "") -> DaemonProcess:
    return DaemonProcess(write_project(directory, FUNCTIONS, toml))


def run_command(daemon: DaemonProcess) -> list[str]:
    return [sys.executable, "-m", "faasd", "run", "--config", str(daemon.config)]


# ---- standard streams


def test_a_log_that_nobody_reads_any_more_does_not_end_the_daemon(tmp_path: Path) -> None:
    """`faasd run | head -1`: the reader has gone, the work goes on, and so does the orderly stop."""
    daemon = project(tmp_path)
    reading, writing = os.pipe()
    daemon.process = subprocess.Popen(
        run_command(daemon), cwd=REPOSITORY, stdout=writing, stderr=writing, start_new_session=True
    )
    os.close(writing)
    os.close(reading)
    daemon.wait_until_ready()
    daemon.wait_for_state(daemon.client.enqueue("plain", 1), "done")
    daemon.wait_for_state(daemon.client.enqueue("loud", 1), "dead")
    assert daemon.stop() == 0
    assert not daemon.leftovers()


def test_a_log_reader_that_hangs_does_not_hold_up_the_daemon(tmp_path: Path) -> None:
    """A full pipe blocks whoever writes to it. The lines are dropped, and counted, instead."""
    daemon = project(tmp_path)
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    daemon.process = subprocess.Popen(
        run_command(daemon), cwd=REPOSITORY, stdout=writing, stderr=writing, start_new_session=True
    )
    os.close(writing)
    daemon.wait_until_ready()
    for id_ in [daemon.client.enqueue("loud", n) for n in range(12)]:
        daemon.wait_for_state(id_, "dead")
    assert daemon.stop() == 0
    os.close(reading)


def test_a_daemon_without_standard_streams_runs(tmp_path: Path) -> None:
    """Some supervisors close them. No other file may get their numbers: a stray print would hit it."""
    daemon = project(tmp_path)
    daemon.process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *run_command(daemon)],
        cwd=REPOSITORY,
        start_new_session=True,
    )
    daemon.wait_until_ready()
    streams = [Path(f"/proc/{daemon.process.pid}/fd/{fd}").readlink() for fd in range(3)]
    assert streams == [Path("/dev/null")] * 3
    daemon.wait_for_state(daemon.client.enqueue("plain", 1), "done")
    assert daemon.stop() == 0


# ---- a full disk

FULL_FUNCTIONS = """
    import time
    from faasd import every, files, function, queue

    @function(triggers=[queue("plain")])
    def plain(event, context):
        return "x" * 200

    @function(triggers=[queue("slow")])
    def slow(event, context):
        time.sleep(event["body"])
        return "x" * 3000

    @function(triggers=[every("1s", name="tick", overlap="allow")])
    def ticks(event, context):
        pass

    @function(triggers=[files("inbox", name="in", on_success="delete")])
    def takes(event, context):
        pass
"""


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_refuses_loudly_loses_nothing_and_is_recovered_from(tmp_path: Path) -> None:
    """Queue, files, schedules and the outcomes of what runs; with no help but the freed space."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    daemon = DaemonProcess(write_project(tmp_path, FULL_FUNCTIONS))
    daemon.state_dir.mkdir()
    with tmpfs(daemon.state_dir) as unmount:
        with daemon.running():
            running = [daemon.client.enqueue("slow", 2.0) for _ in range(2)]
            accepted = [daemon.client.enqueue("plain", n) for n in range(20)]
            for id_ in running:
                daemon.wait_for_state(id_, "running")
            fill(daemon.state_dir / "filler")
            refused = 0
            for n in range(40):
                fill(daemon.state_dir / "filler")
                try:
                    accepted.append(daemon.client.enqueue("plain", "y" * 2000))
                except StoreFull:
                    refused += 1
                (inbox / str(n)).write_text("x")
            command = daemon.cli("enqueue", "plain", json.dumps("y" * 2000))
            assert command.returncode == 1
            assert "no space is left" in command.stderr
            assert refused
            wait_for(lambda: daemon.log().count("finish_delayed") >= 2, "outcomes to wait")
            assert daemon.client.request("GET", "/readyz")

            (daemon.state_dir / "filler").unlink()
            for id_ in running + accepted:
                assert daemon.wait_for_state(id_, "done")["attempts"] == 1
            wait_for(lambda: not os.listdir(inbox), "the files", 30.0)
            rows = daemon.client.request("GET", "/api/v1/invocations", query={"limit": "1000"})[
                "invocations"
            ]
            count = Counter(row["function"] for row in rows)
            assert (count["plain"], count["slow"], count["takes"]) == (len(accepted), 2, 40)
            due = [
                daemon.invocation(row["id"])["event"]["scheduled_for"]
                for row in rows
                if row["function"] == "ticks"
            ]
            assert len(due) == len(set(due))
            seconds = [round(datetime.fromisoformat(one).timestamp()) for one in due]
            assert sorted(seconds) == list(range(min(seconds), max(seconds) + 1))
        unmount()


def test_an_attempt_that_has_no_room_for_its_sandbox_waits_for_it(tmp_path: Path) -> None:
    """The database can still be written over in place, so a whole queue would end as dead letters."""
    daemon = project(tmp_path)
    daemon.state_dir.mkdir()
    with tmpfs(daemon.state_dir, "16m,nr_inodes=100") as unmount:
        with daemon.running():
            daemon.wait_for_state(daemon.client.enqueue("plain", 0), "done")
            hoard = [daemon.state_dir / f"hoard{n}" for n in range(200)]
            with contextlib.suppress(OSError):
                for path in hoard:
                    path.touch()
            ids = [daemon.client.enqueue("plain", n) for n in range(5)]
            cancelled = daemon.client.enqueue("plain", 5)
            wait_for(lambda: "attempt_delayed" in daemon.log(), "an attempt without a directory")
            daemon.client.request("POST", f"/api/v1/invocations/{cancelled}/cancel")
            for path in hoard:
                path.unlink(missing_ok=True)
            for id_ in ids:
                assert daemon.wait_for_state(id_, "done")["attempts"] == 1
            assert daemon.wait_for_state(cancelled, "cancelled")
        unmount()
