"""The daemon's own life: one per state directory, drain, cancel, and what it says when it cannot start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.daemon.harness import REPOSITORY, DaemonProcess, wait_for, write_project

FUNCTIONS = """
    import os, time
    from faasd import every, function, queue

    @function(triggers=[queue("slow")], timeout="60s")
    def slow(event, context):
        print("begin", flush=True)
        time.sleep(event["body"])
        return context.attempt

    @function
    def descriptors(event, context):
        return sorted(int(name) for name in os.listdir("/proc/self/fd"))

    @function
    def echo(event, context):
        return event

    @function(timeout="60s")
    def waits(event, context):
        print("begin", flush=True)
        time.sleep(60)

    @function(triggers=[every("1s", overlap="skip", name="long")], timeout="60s")
    def ticks(event, context):
        time.sleep(2.5)
"""


def project(directory: Path, drain: str = "30s") -> DaemonProcess:
    return DaemonProcess(write_project(directory, FUNCTIONS, f'drain_timeout = "{drain}"\n'))


def test_a_second_daemon_on_the_same_state_is_refused_and_told_who_holds_it(
    tmp_path: Path,
) -> None:
    """Two would run everything twice."""
    daemon = project(tmp_path)
    with daemon.running():
        assert daemon.process is not None
        second = daemon.cli("run")
        assert second.returncode != 0
        assert f"process {daemon.process.pid}" in second.stderr
        assert daemon.client.request("GET", "/readyz")


def test_a_drain_lets_running_attempts_finish(tmp_path: Path) -> None:
    """The default SIGTERM is right: nothing charged, nothing lost, exit 0."""
    daemon = project(tmp_path)
    daemon.start()
    id_ = daemon.client.enqueue("slow", 1.0)
    daemon.wait_for_state(id_, "running")
    assert daemon.stop() == 0
    with daemon.running():
        found = daemon.invocation(id_)
        assert (found["state"], found["result"], found["attempts"]) == ("done", 1, 1)


def test_what_the_drain_does_not_wait_for_goes_back_uncharged(tmp_path: Path) -> None:
    """It runs again at the next start, and its attempts are still all there."""
    daemon = project(tmp_path, drain="200ms")
    daemon.start()
    id_ = daemon.client.enqueue("slow", 1.5)
    daemon.wait_for_state(id_, "running")
    assert daemon.leftovers()  # The control: sandboxes are seen while there are any.
    assert daemon.stop() == 0
    assert not daemon.leftovers()
    with daemon.running():
        found = daemon.wait_for_state(id_, "done")
        assert [one["outcome"] for one in found["attempt_records"]] == ["drained", "ok"]


#: The daemon as it is, with a SIGTERM at the moment in which its sandboxes begin to start.
_ASKED_TO_STOP = """
import os, signal, sys
from faasd.sandbox.sandboxes import ProcessSandboxes
start = ProcessSandboxes.start
async def start_and_be_asked(self):
    os.kill(os.getpid(), signal.SIGTERM)
    await start(self)
ProcessSandboxes.start = start_and_be_asked
from faasd.cli.main import main
sys.exit(main())
"""


def test_a_stop_that_comes_while_the_sandboxes_start_is_not_kept_for_later(tmp_path: Path) -> None:
    """On a busy host that start takes long; who asks to stop wants no daemon that says it is ready."""
    daemon = project(tmp_path)
    id_ = daemon.cli("enqueue", "slow", "0").stdout.strip()
    command = [sys.executable, "-c", _ASKED_TO_STOP, "run", "--config", str(daemon.config)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, "daemon_stopped" in done.stderr) == (0, True), done.stderr
    assert "daemon_ready" not in done.stderr
    assert not daemon.leftovers()
    with daemon.running():
        assert daemon.wait_for_state(id_, "done")["attempts"] == 1


def test_a_second_signal_means_now(tmp_path: Path) -> None:
    """Somebody at a terminal presses Ctrl-C twice."""
    daemon = project(tmp_path)
    daemon.start()
    assert daemon.process is not None
    id_ = daemon.client.enqueue("slow", 30)
    daemon.wait_for_state(id_, "running")
    asked = time.monotonic()
    daemon.process.send_signal(signal.SIGINT)
    wait_for(lambda: "daemon_stopping" in daemon.log(), "the drain to begin")
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.process.wait(20) == 0
    assert time.monotonic() - asked < 10
    daemon.process = None
    assert not daemon.leftovers()


def test_ctrl_c_cancels_a_direct_invoke_and_its_sandbox(tmp_path: Path) -> None:
    """The caller goes, so does the work."""
    daemon = project(tmp_path)
    with daemon.running():
        caller = subprocess.Popen(
            [sys.executable, "-m", "faasd", "invoke", "waits", "--config", str(daemon.config)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

        def running_id() -> str | None:
            rows = daemon.client.request("GET", "/api/v1/invocations", query={"function": "waits"})
            return next((r["id"] for r in rows["invocations"] if r["state"] == "running"), None)

        id_ = wait_for(running_id, "the invoke to run")
        caller.send_signal(signal.SIGINT)
        caller.communicate(timeout=20)
        assert caller.returncode == 130
        assert daemon.wait_for_state(id_, "cancelled")["outcome"] == "cancelled"
        wait_for(lambda: not daemon.client.request("GET", "/api/v1/status")["running"], "its end")


def test_what_a_caller_was_answered_is_there_for_whoever_looks(tmp_path: Path) -> None:
    """The answer comes before the outcome is on disk, and nobody can tell from what the daemon shows."""
    daemon = project(tmp_path)
    with daemon.running():
        for number in range(20):
            told = daemon.client.invoke("echo", {"number": number})
            shown = daemon.client.invocation(told["id"])
            assert (shown["state"], shown["outcome"]) == ("done", "ok")
            assert shown["result"] == told["result"] == {"number": number}


def test_an_answer_is_on_record_whenever_the_daemon_is_killed(tmp_path: Path) -> None:
    """What is on disk when a direct invoke is answered is that it runs; how it ended may be lost."""
    daemon = project(tmp_path)
    daemon.start()
    ids = []
    for _ in range(3):
        ids.append(daemon.client.invoke("echo", {"x": 1})["id"])
        daemon.kill9()
        daemon.start()
    try:
        found = [daemon.client.invocation(id_) for id_ in ids]
    finally:
        daemon.stop()
    assert {one["state"] for one in found} == {"done"}
    assert {one["outcome"] for one in found} <= {"ok", "lost"}
    assert [one["attempts"] for one in found] == [1, 1, 1]


def test_a_running_invocation_can_be_cancelled(tmp_path: Path) -> None:
    """Its attempt is recorded as cancelled and not tried again."""
    daemon = project(tmp_path)
    with daemon.running():
        id_ = daemon.client.enqueue("slow", 30)
        daemon.wait_for_state(id_, "running")
        assert daemon.cli("invocations", "cancel", id_).returncode == 0
        assert daemon.wait_for_state(id_, "cancelled")["attempts"] == 1
        wait_for(
            lambda: (
                [one["outcome"] for one in daemon.invocation(id_)["attempt_records"]]
                == ["cancelled"]
            ),
            "the attempt's record",
        )


def test_a_tick_that_overlaps_is_a_record_with_its_reason(tmp_path: Path) -> None:
    """Never only a log line: two of three ticks lost behind a green page is how trust is lost."""
    daemon = project(tmp_path)
    with daemon.running():

        def skipped() -> list[dict[str, object]]:
            rows = daemon.client.request("GET", "/api/v1/invocations", query={"function": "ticks"})
            return [row for row in rows["invocations"] if row["outcome"] == "skipped-overlap"]

        rows = wait_for(skipped, "an overlap")
        assert rows[0]["state"] == "skipped"
        assert "long" in daemon.cli("why", str(rows[0]["id"])).stdout


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[functions.slow]\ntimeot = '5s'\n", "timeout"),
        ("[functions.slow]\ntimeout = 5\n", "5s"),
    ],
)
def test_a_mistake_in_the_file_keeps_it_from_starting_with_its_place(
    tmp_path: Path, toml: str, said: str
) -> None:
    """Line and column, what was expected, and the likely word."""
    daemon = DaemonProcess(write_project(tmp_path, FUNCTIONS, toml))
    done = daemon.cli("run")
    assert done.returncode != 0
    assert f"{daemon.config}:" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "state" / "faasd.db").exists()


def test_a_broken_module_is_reported_and_the_others_run(tmp_path: Path) -> None:
    """One bad file must not take the box's other work with it."""
    daemon = project(tmp_path)
    (tmp_path / "functions" / "bad.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "functions" / "exits.py").write_text("import sys\nsys.exit(3)\n")
    with daemon.running():
        assert daemon.client.enqueue("slow", 0)
        assert "nothing_of_that_name" in daemon.log()
        assert "sys.exit" in daemon.log()
    checked = daemon.cli("check")
    assert checked.returncode == 1
    assert "bad.py:1" in checked.stderr
    assert "exits.py:2" in checked.stderr


def test_the_daemon_has_no_child_but_its_root_zygote_and_no_stray_descriptors(
    tmp_path: Path,
) -> None:
    """It never imports user code, and what it opens for an attempt it closes again."""
    daemon = project(tmp_path)
    with daemon.running():
        assert daemon.process is not None
        pid = daemon.process.pid
        daemon.cli("functions", "pause", "ticks")
        wait_for(lambda: not daemon.client.request("GET", "/api/v1/status")["running"], "quiet")
        for _ in range(5):
            daemon.wait_for_state(daemon.client.enqueue("slow", 0), "done")

        def descriptors() -> int:
            return len(os.listdir(f"/proc/{pid}/fd"))

        before = descriptors()
        for _ in range(30):
            daemon.wait_for_state(daemon.client.enqueue("slow", 0), "done")
        wait_for(lambda: descriptors() <= before + 2, "descriptors to be given back")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert len(children) == 1


def test_what_the_daemon_was_started_with_open_is_closed_to_every_sandbox(tmp_path: Path) -> None:
    """A shell or a supervisor may leave anything open; a handler finds its own descriptors alone."""
    daemon = project(tmp_path)
    read_end, write_end = os.pipe()
    daemon.start(pass_fds=(read_end, write_end))
    assert daemon.process is not None
    inherited = os.listdir(f"/proc/{daemon.process.pid}/fd")
    assert {str(read_end), str(write_end)} <= set(inherited)  # The control.
    found = daemon.client.invoke("descriptors")["result"]
    assert daemon.stop() == 0
    os.close(read_end)
    os.close(write_end)
    # Standard input, output and error, the directory being listed, and the channel.
    assert len(found) == 5
    assert found[:3] == [0, 1, 2]
