"""examples/hostile: each misbehaviour is stopped, named, and leaves nobody behind."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from typing import Any

import pytest

from tests.examples.running import Example, processes_in, wait_for

_OUTCOMES = {
    "memory_hog": "oom",
    "endless_loop": "timeout",
    "endless_printer": "output-limit",
    "fork_bomb": "timeout",
    "grandchild": "ok",
    "escapee": "timeout",
    "forger": "crashed",
}


#: Function → what stops it, and the wall that does; with several, any of them stops it alone.
_TRESPASSERS = {
    "read_passwords": ({"PermissionError"}, {"files"}),
    # Of its own view of the host, all but what it was given is read-only.
    "change_its_code": ({"PermissionError", "OSError"}, {"files"}),
    # Where the host's /tmp is not its own, what is kept there is not even seen.
    "read_the_queue": ({"PermissionError", "FileNotFoundError"}, {"files"}),
    "fill_the_disk": ({"OSError"}, {"tmp-quota"}),
    "become_root_elsewhere": ({"PermissionError"}, {"system-calls"}),
    "mount_over_it": ({"PermissionError"}, {"system-calls"}),
    "watch_the_daemon": ({"PermissionError"}, {"system-calls"}),
    "kill_the_daemon": ({"ProcessLookupError", "PermissionError"}, {"pid-namespace", "signals"}),
    "read_environments": ({"PermissionError"}, {"private-proc", "files"}),
    "call_home": ({"ConnectionRefusedError", "PermissionError", "OSError"}, {"network"}),
    "whisper": ({"PermissionError", "ConnectionRefusedError"}, {"abstract-sockets"}),
    "knock": ({"FileNotFoundError"}, {"local-sockets"}),
    "set_the_clock": ({"PermissionError"}, {"system-calls"}),
    "name_the_host": ({"PermissionError"}, {"system-calls"}),
    "make_a_device": ({"PermissionError"}, {"files"}),
}


def _newest(example: Example, function: str) -> dict[str, Any]:
    return example.client.invocation(example.invocations(function=function)[0]["id"])


@pytest.mark.parametrize(("name", "outcome"), _OUTCOMES.items())
def test_each_is_named_by_its_outcome_and_leaves_nobody_behind(
    hostile: Example, name: str, outcome: str
) -> None:
    """The outcome is told only when the whole tree is gone, however it detached itself."""
    code = 0 if outcome == "ok" else 1
    hostile.faasd("invoke", name, code=code)  # Its zygote stays, so the second is the measure.
    at_rest = processes_in(hostile.folder)
    before = time.monotonic()
    hostile.faasd("invoke", name, code=code)
    took_s = time.monotonic() - before
    assert set(processes_in(hostile.folder)) <= set(at_rest)
    rows = hostile.invocations(function=name)
    assert [row["outcome"] for row in rows] == [outcome, outcome]
    # A grandchild that holds the output open cannot keep the answer back either.
    assert took_s < (10 if outcome == "timeout" else 8), f"{took_s:.1f}s"


def test_the_limits_show_in_log_and_history(hostile: Example) -> None:
    """Somebody who looks later sees which limit it was, and how far it went."""
    hostile.faasd("invoke", "fork_bomb", code=1)
    [record] = _newest(hostile, "fork_bomb")["attempt_records"]
    # Of root the kernel counts no processes; without a pids cgroup the record says so.
    assert "cannot fork" in record["log_tail"] or "process-cap" in record["degraded"]
    hostile.faasd("invoke", "memory_hog", code=1)
    row = _newest(hostile, "memory_hog")
    assert row["memory_peak_bytes"] >= 32 * 2**20
    assert "memory" in hostile.faasd("why", row["id"])


def test_good_functions_run_while_a_fork_bomb_rages(hostile: Example) -> None:
    """The caps are per attempt, so one neighbour's excess is not another's failure."""
    bomb = hostile.faasd("invoke", "fork_bomb", "--async").strip()
    hostile.faasd("invoke", "grandchild")
    wait_for("the bomb is over", lambda: hostile.client.invocation(bomb)["state"] == "dead")
    assert hostile.client.invocation(bomb)["outcome"] == "timeout"


@pytest.mark.parametrize(("name", "expected"), _TRESPASSERS.items())
def test_each_trespasser_is_stopped_or_its_record_names_the_missing_wall(
    hostile: Example, name: str, expected: tuple[set[str], set[str]]
) -> None:
    """What it reaches for is really there: a daemon, a listening port, sockets with a name and with a path."""
    errors, walls = expected
    whispered = f"faasd-example-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
        tempfile.TemporaryDirectory(prefix="faasd-test-", dir="/tmp") as place,
        socket.socket(socket.AF_UNIX) as local,
    ):
        local.bind(f"{place}/socket")
        local.listen()
        abstract.bind("\0" + whispered)
        abstract.listen()
        event = {
            "kill_the_daemon": hostile.pid,
            "watch_the_daemon": hostile.pid,
            "call_home": server.getsockname()[1],
            "whisper": whispered,
            "knock": f"{place}/socket",
        }.get(name)
        hostile.invoke_in_background(name, json.dumps(event)).wait(60)
    row = _newest(hostile, name)
    [record] = row["attempt_records"]
    if walls <= set(record["degraded"]):
        pytest.skip(
            f"this host does not build {' or '.join(sorted(walls))}, and the record says so"
        )
    assert row["outcome"] == "error", row
    assert row["error"]["type"] in errors, row["error"]
    if name == "fill_the_disk":
        assert "No space left" in row["error"]["message"]
    assert hostile.is_running, "the daemon is gone"
    code = hostile.folder / "functions" / "trespassers.py"
    assert not code.read_text().endswith("# I was here.\n")


def test_a_function_that_keeps_dying_is_held_back(hostile: Example) -> None:
    """Five deaths in a row, and the sixth invoke is told why it does not run."""
    for _ in range(5):
        hostile.faasd("invoke", "memory_hog", code=1)
    assert hostile.json("functions", "show", "memory_hog")["breaker"]["state"] == "open"
    hostile.faasd("functions", "resume", "memory_hog")
    hostile.faasd("invoke", "memory_hog", code=1)
    assert _newest(hostile, "memory_hog")["outcome"] == "oom"
