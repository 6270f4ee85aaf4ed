"""Warm sandboxes and spares in a real daemon: settings reach them, and nothing of them outlives it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from faasd.linux import proc_tree
from tests.daemon.harness import DaemonProcess, wait_for, write_project

FUNCTIONS = """
    import os, time
    from faasd import every, function, queue

    seen = []

    @function(triggers=[queue("numbers")], reuse=5, recycle_memory="128MiB", concurrency=1)
    def count(event, context):
        seen.append(event)
        print("number", len(seen))
        return len(seen)

    @function(spares=2, keep_warm=True)
    def kept(event, context):
        return os.getpid()

    @function(reuse=100, timeout="1s", grace="50ms", concurrency=1, retry={"attempts": 1})
    def hang(event, context):
        seen.append(event)
        if event.get("hang"):
            time.sleep(600)
        return len(seen)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path, FUNCTIONS)


def sandboxes_of(daemon: DaemonProcess) -> list[int]:
    """Return the processes of all sandboxes: those that the kernel shows under that name."""
    found = []
    for child in daemon.leftovers():
        try:
            if Path(f"/proc/{child}/comm").read_text() == "faasd-sandbox\n":
                found.append(child)
        except OSError:
            continue
    return found


def test_a_queue_is_served_by_warm_sandboxes_each_event_once(project: Path) -> None:
    """Five attempts to a sandbox, and each with a record and a log of its own."""
    daemon = DaemonProcess(project)
    with daemon.running():
        ids = [one["id"] for one in daemon.client.enqueue_many("numbers", [{"body": 1}] * 12)]

        def results() -> list[int]:
            found = [daemon.invocation(id_) for id_ in ids]
            done = all(one["state"] == "done" for one in found)
            return [one["result"] for one in found] if done else []

        assert wait_for(results, "all to be done") == [1, 2, 3, 4, 5] * 2 + [1, 2]
        for number, id_ in ((1, ids[0]), (5, ids[4]), (1, ids[5])):
            said = daemon.cli("logs", "--invocation", id_).stdout
            assert f"number {number}" in said
            assert said.count("number ") == 1
        shown = daemon.client.request("GET", "/api/v1/functions/count")
        assert (shown["reuse"], shown["recycle_memory_bytes"], shown["spares"]) == (
            5,
            2**27,
            "auto",
        )


def test_a_timeout_takes_one_warm_sandbox_and_the_next_event_has_another(project: Path) -> None:
    """What was done in it before stands."""
    daemon = DaemonProcess(project)
    with daemon.running():
        assert [daemon.client.invoke("hang", {})["result"] for _ in range(3)] == [1, 2, 3]
        assert daemon.client.invoke("hang", {"hang": True})["outcome"] == "timeout"
        assert daemon.client.invoke("hang", {})["result"] == 1


def test_what_is_kept_warm_is_there_before_the_first_event(project: Path) -> None:
    """Its import and its spares do not wait for anybody, and no attempt of it is cold."""
    daemon = DaemonProcess(project)
    with daemon.running():
        wait_for(lambda: len(sandboxes_of(daemon)) >= 2, "two spares")
        line = 'faasd_sandboxes_waiting{function="kept",kind="spare"} 2'
        wait_for(lambda: line in daemon.cli("metrics").stdout, "the metric to say so")
        outcome = daemon.client.invoke("kept", {})
        assert outcome["outcome"] == "ok"

        assert outcome["init_ms"] is None


def test_nothing_that_waits_outlives_a_daemon_that_is_killed(project: Path) -> None:
    """A kill -9 takes warm sandboxes and spares along, and the next daemon has its own."""
    daemon = DaemonProcess(project)
    with daemon.running():
        daemon.client.invoke("count", {})
        wait_for(lambda: len(sandboxes_of(daemon)) >= 3, "spares and a warm sandbox")
        waiting = set(sandboxes_of(daemon))
        daemon.kill9()
        wait_for(lambda: not _alive(waiting), "every process to end")
    with daemon.running():
        assert daemon.client.invoke("count", {})["result"] == 1


def _alive(pids: set[int]) -> set[int]:
    found = {pid: proc_tree.stat_of(pid) for pid in pids}
    return {pid for pid, stat in found.items() if stat is not None and proc_tree.is_alive(stat)}


def test_a_command_cannot_be_reused(tmp_path: Path) -> None:
    """Said by the check, and not found out in production."""
    toml = """
        [functions.once]
        command = ["/bin/true"]
        reuse = 10

        [functions.never]
        command = ["/bin/true"]
        spares = "many"
    """
    config = write_project(tmp_path, "", textwrap.dedent(toml))
    daemon = DaemonProcess(config)
    said = daemon.cli("check").stderr
    assert "reuse: has no effect on a command" in said
    assert 'expected "auto", or a number from 0 to 64' in said
