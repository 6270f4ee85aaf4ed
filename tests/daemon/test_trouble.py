"""What a box does to a daemon: streams that nobody reads, damaged stores, full disks, odd signals."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests.daemon.harness import REPOSITORY, DaemonProcess, write_project

FUNCTIONS = """
    import os, time
    from faasd import every, function, queue

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
