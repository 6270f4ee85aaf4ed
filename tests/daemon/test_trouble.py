"""What a box does to a daemon: streams that nobody reads, damaged stores, full disks, odd signals."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from faasd.errors import StoreFull
from faasd.store.migrations import APPLICATION_ID
from tests.daemon.harness import REPOSITORY, DaemonProcess, tmpfs, wait_for, write_project

FUNCTIONS = """
    import os, time
    from faasd import function, queue

    def note(text):
        fd = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, (text + "\\n").encode())
        os.close(fd)

    @function(triggers=[queue("plain")])
    def plain(event, context):
        return event["body"]

    @function(triggers=[queue("brief", visibility_timeout="1s")], timeout="1s")
    def brief(event, context):
        note("brief")
        time.sleep(0.6)

    @function(triggers=[queue("batched", batch_size=50, batch_window="200ms")])
    def batched(event, context):
        note(f"batch {len(event['records'])}")
        time.sleep(0.5)

    @function(triggers=[queue("loud", concurrency=1)], retry={"attempts": 1})
    def loud(event, context):
        raise ValueError("x" * 400)
"""


def project(directory: Path) -> DaemonProcess:
    env = f'[defaults]\nenv = {{ NOTES = "{directory / "notes"}" }}\n'
    return DaemonProcess(write_project(directory, FUNCTIONS, env))


def notes(daemon: DaemonProcess) -> list[str]:
    """Return what the handlers noted."""
    path = daemon.config.parent / "notes"
    return path.read_text().splitlines() if path.exists() else []


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


def test_an_attempt_needs_no_room_on_a_full_disk(tmp_path: Path) -> None:
    """Its private directory is in memory; the database can still be written over in place."""
    daemon = project(tmp_path)
    daemon.state_dir.mkdir()
    with tmpfs(daemon.state_dir, "16m,nr_inodes=100") as unmount:
        with daemon.running():
            daemon.wait_for_state(daemon.client.enqueue("plain", 0), "done")
            hoard = [daemon.state_dir / f"hoard{n}" for n in range(200)]
            with contextlib.suppress(OSError):
                for path in hoard:
                    path.touch()
            for id_ in [daemon.client.enqueue("plain", n) for n in range(5)]:
                assert daemon.wait_for_state(id_, "done")["attempts"] == 1
        unmount()


# ---- signals


def test_a_daemon_that_stands_still_longer_than_its_leases_runs_nothing_twice(
    tmp_path: Path,
) -> None:
    """After a suspend every lease has run out by the clock, and its attempt may still be ours."""
    daemon = project(tmp_path)
    with daemon.running():
        assert daemon.process is not None
        ids = [daemon.client.enqueue("brief", n) for n in range(3)]
        for id_ in ids:
            daemon.wait_for_state(id_, "running")
        daemon.process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        wait_for(lambda: time.monotonic() - stopped > 2.5, "the leases to run out")
        daemon.process.send_signal(signal.SIGCONT)
        for id_ in ids:
            done = daemon.wait_for_state(id_, "done")
            assert [one["outcome"] for one in done["attempt_records"]] == ["ok"]
        assert notes(daemon) == ["brief"] * 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_middle_of_a_batch_and_a_burst_charges_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    """SIGINT too: an interrupt from the keyboard is no reason to lose what runs."""
    daemon = project(tmp_path)
    daemon.start()
    assert daemon.process is not None
    batch = [row["id"] for row in daemon.client.enqueue_many("batched", [{"body": 1}] * 30)]
    burst = [row["id"] for row in daemon.client.enqueue_many("plain", [{"body": 1}] * 100)]
    wait_for(lambda: notes(daemon), "the batch to run")
    daemon.process.send_signal(number)
    assert daemon.process.wait(30) == 0
    daemon.process = None
    assert not daemon.leftovers()
    with daemon.running():
        for id_ in batch + burst:
            done = daemon.wait_for_state(id_, "done")
            assert [one["outcome"] for one in done["attempt_records"]] == ["ok"]
        assert sum(int(line.split()[1]) for line in notes(daemon)) == 30


# ---- the state directory


def garbage(state: Path) -> None:
    (state / "faasd.db").write_bytes(b"no database at all" * 500)


def newer_schema(state: Path) -> None:
    with contextlib.closing(sqlite3.connect(state / "faasd.db")) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 99")


def directory_for_database(state: Path) -> None:
    (state / "faasd.db").mkdir()


def directory_for_lock(state: Path) -> None:
    (state / "faasd.lock").mkdir()


def file_for_state(state: Path) -> None:
    state.rmdir()
    state.write_text("x")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (garbage, "restore a backup"),
        (newer_schema, "upgrade faasd"),
        (directory_for_database, "faasd.db"),
        (directory_for_lock, "faasd.lock"),
        (file_for_state, "state directory"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_by_daemon_and_enqueue(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    """In one sentence that names it; and nothing is acknowledged."""
    daemon = project(tmp_path)
    daemon.state_dir.mkdir(mode=0o750)
    damage(daemon.state_dir)
    for command in (["run"], ["enqueue", "plain", "1"]):
        done = daemon.cli(*command)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert not done.stdout
    assert not daemon.leftovers()


def test_an_occupied_socket_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A file in its place is somebody's; a socket that answers is another program's."""
    daemon = project(tmp_path)
    daemon.state_dir.mkdir(mode=0o750)
    path = daemon.state_dir / "faasd.sock"
    path.write_text("precious")
    refused = daemon.cli("run")
    assert (refused.returncode, str(path) in refused.stderr) == (1, True)
    assert path.read_text() == "precious"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        refused = daemon.cli("run")
        assert (refused.returncode, "answers on it" in refused.stderr) == (1, True)
    assert path.is_socket()
    (daemon.state_dir / "faasd.lock").write_bytes(os.urandom(2000))  # Means nothing by itself.
    with daemon.running():  # Nor does a socket that nobody listens on.
        daemon.wait_for_state(daemon.client.enqueue("plain", 1), "done")


def test_of_daemons_that_start_together_one_runs(tmp_path: Path) -> None:
    """The others are told who it is."""
    daemon = project(tmp_path)
    started = [
        subprocess.Popen(
            run_command(daemon), cwd=REPOSITORY, stderr=subprocess.PIPE, start_new_session=True
        )
        for _ in range(3)
    ]
    wait_for(lambda: sum(one.poll() is not None for one in started) == 2, "two to give up", 40.0)
    [winner] = [one for one in started if one.poll() is None]
    for one in started:
        if one is winner:
            continue
        _, said = one.communicate(timeout=10)
        assert one.returncode == 1
        assert f"process {winner.pid}".encode() in said
    daemon.process = winner
    daemon.wait_until_ready()
    winner.send_signal(signal.SIGTERM)
    winner.communicate(timeout=30)
    assert winner.returncode == 0


def test_a_backup_under_load_is_a_store_that_another_daemon_can_open(tmp_path: Path) -> None:
    """All or nothing of each event; what ran at that moment is `lost` there and runs again."""
    daemon = project(tmp_path)
    backup = tmp_path / "backup.tar.gz"
    with daemon.running():
        acknowledged = [
            row["id"] for row in daemon.client.enqueue_many("plain", [{"body": 1}] * 200)
        ]
        assert daemon.cli("backup", str(backup)).returncode == 0
        again = daemon.cli("backup", str(backup))
        assert (again.returncode, "exists" in again.stderr) == (1, True)
        refused = daemon.cli("restore", "--force", str(backup))
        assert (refused.returncode, "holds it; stop that process" in refused.stderr) == (1, True)
        for id_ in acknowledged:
            daemon.wait_for_state(id_, "done")
    other = project(tmp_path / "elsewhere")
    restored = other.cli("restore", str(backup), "--json")
    assert restored.returncode == 0, restored.stderr
    counts = json.loads(restored.stdout)["database"]
    lost = 0
    with other.running():
        for id_ in acknowledged:
            records = other.wait_for_state(id_, "done")["attempt_records"]
            words = [one["outcome"] for one in records]
            assert words in (["ok"], ["lost", "ok"])
            lost += words[0] == "lost"
        assert lost == counts["running"]


# ---- an ordinary user

UID = 64_322  # Nobody else's.


@pytest.fixture
def ordinary(tmp_path: Path) -> Iterator[tuple[DaemonProcess, dict[str, Any]]]:
    """A project of an ordinary user's, and how to start processes as that user."""
    if os.geteuid() != 0:
        (tmp_path / "inbox").mkdir()
        yield DaemonProcess(write_project(tmp_path, ORDINARY_FUNCTIONS)), {"args": [sys.executable]}
        return
    how: dict[str, Any] = {
        "user": UID,
        "group": UID,
        "extra_groups": [],
        "env": {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
    }
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            tried = [python, "-c", "import sys, faasd.daemon; sys.exit(sys.version_info < (3, 11))"]
            tried_out = subprocess.run(
                tried, cwd=REPOSITORY, capture_output=True, check=False, **how
            )
            if tried_out.returncode == 0:
                break
    else:
        pytest.skip("no Python >= 3.11 that another user can run with this checkout")
    root = Path(tempfile.mkdtemp(prefix="faasd-ordinary-"))  # pytest's own are closed to others.
    try:
        daemon = DaemonProcess(write_project(root, ORDINARY_FUNCTIONS))
        (root / "inbox").mkdir()
        for path in (root, root / "inbox", root / "functions"):
            os.chown(path, UID, UID)
        yield daemon, {"args": [python], **how}
    finally:
        shutil.rmtree(root)


ORDINARY_FUNCTIONS = """
    from faasd import files, function

    @function(triggers=[files("inbox", name="in", recursive=True, on_success="delete")])
    def takes(event, context):
        open(event["path"]).read()
"""


def test_directories_that_an_ordinary_user_may_not_read_are_said_and_taken_up_again(
    ordinary: tuple[DaemonProcess, dict[str, Any]],
) -> None:
    """Root can read everything, so this shows only for others. A foreign state directory is refused."""
    daemon, how = ordinary
    python = how.pop("args")[0]
    command = [python, "-m", "faasd", "run", "--config", str(daemon.config)]
    inbox = daemon.config.parent / "inbox"
    if os.geteuid() == 0:
        daemon.state_dir.mkdir(mode=0o755)
        refused = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, check=False, **how
        )
        assert (refused.returncode, "owner and mode" in refused.stderr) == (1, True)
        os.chown(daemon.state_dir, UID, UID)
    with daemon.log_path.open("ab") as log:
        daemon.process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True, **how
        )
    daemon.wait_until_ready()

    def problem() -> str:
        return str(daemon.client.request("GET", "/api/v1/watches")["watches"][0]["problem"] or "")

    try:
        closed = inbox / "closed"
        closed.mkdir(mode=0)
        wait_for(lambda: f"cannot read {closed}" in problem(), "the closed sub-directory", 30.0)
        closed.rmdir()
        inbox.chmod(0)
        wait_for(lambda: "permission to read" in problem(), "the closed directory", 30.0)
        (inbox / "file").write_text("x")
        inbox.chmod(0o777)
        wait_for(lambda: not os.listdir(inbox), "the file to be taken", 30.0)
        wait_for(lambda: not problem(), "the problem to be over")
    finally:
        assert daemon.stop() == 0
