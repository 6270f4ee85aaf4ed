"""A daemon on a host that lacks a wall: who may not run waits, and everybody is told why."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faasd.errors import FunctionRefused
from tests.daemon.harness import DaemonProcess, wait_for, write_project

FUNCTIONS = """
    from faasd import function, queue

    @function(triggers=[queue("letters")])
    def careful(event, context):
        return "ran"

    @function(containment="best-effort")
    def bold(event, context):
        return open(event.get("body", event)["path"]).read(10)

    @function()
    def caller(event, context):
        return context.invoke("careful", {})
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """One function of each kind."""
    return write_project(tmp_path, FUNCTIONS)


@pytest.fixture
def private() -> Iterator[str]:
    """A file that no function was given, and not in /tmp, which may be the attempt's own."""
    with tempfile.NamedTemporaryFile("w", dir="/var/tmp") as file:
        file.write("content")
        file.flush()
        yield file.name


def test_a_refused_functions_events_wait_until_the_wall_is_there(
    project: Path, private: str
) -> None:
    """Nothing is lost and nothing runs; at the next start, on a host with the wall, it is all done."""
    daemon = DaemonProcess(project, without=("landlock",))
    with daemon.running():
        [id_] = [one["id"] for one in daemon.client.enqueue_many("letters", [{"body": 1}])]
        outcome = daemon.client.invoke("bold", {"path": private})
        assert (outcome["outcome"], outcome["result"]) == ("ok", "content")
        assert "files" in outcome["degraded"]
        found = daemon.invocation(id_)
        assert (found["state"], found["attempts"]) == ("waiting", 0)
        why = " ".join(daemon.client.request("GET", "/api/v1/why", query={"subject": id_})["sentences"])  # fmt: skip
        assert "It waits. Function 'careful' is refused on this host" in why
        assert "'files'" in why
        assert "lsm=" in why
    with DaemonProcess(project).running() as whole:
        assert whole.wait_for_state(id_, "done")["result"] == "ran"


def test_who_asks_hears_of_the_refusal(project: Path) -> None:
    """A direct caller, a function that invokes it, the lists, `why`, `check` and `doctor`."""
    with DaemonProcess(project, without=("landlock",)).running() as daemon:
        with pytest.raises(FunctionRefused, match="'files'"):
            daemon.client.invoke("careful", {})
        done = daemon.cli("invoke", "careful")
        assert done.returncode == 1
        assert "function 'careful' is refused: the wall 'files'" in done.stderr

        rows = {row["name"]: row for row in json.loads(daemon.cli("functions", "list", "--json").stdout)}  # fmt: skip
        assert "'files'" in rows["careful"]["refused"]
        assert rows["bold"]["refused"] is None
        shown = json.loads(daemon.cli("functions", "show", "careful", "--json").stdout)
        assert any(one["wall"] == "files" and one["refuses"] for one in shown["missing_walls"])
        assert any("It is refused" in sentence for sentence in shown["policy"])
        assert "It is refused" in daemon.cli("functions", "show", "careful").stdout
        assert "Function 'careful' is refused" in daemon.cli("why", "careful").stdout
        problems = daemon.client.request("GET", "/api/v1/status")["problems"]
        assert any("'careful' is refused" in one for one in problems)

        checked = daemon.cli("check")
        assert checked.returncode == 1
        assert "function 'careful' is refused: the wall 'files'" in checked.stderr
        assert "'bold' runs without what it is promised" in checked.stderr
        doctor = daemon.cli("doctor", "--json")
        assert doctor.returncode == 1
        report = json.loads(doctor.stdout)
        assert report["found_by"] == "the daemon"
        verdicts = {one["function"]: one["verdict"] for one in report["functions"]}
        assert verdicts == {"bold": "not enforced", "caller": "refused", "careful": "refused"}
        assert "function_refused" in daemon.log()


def test_with_every_wall_nobody_is_refused_and_an_error_carries_its_hint(
    project: Path, private: str
) -> None:
    """The control; and the hint is kept with the attempt, shown with the invocation and told by `why`."""
    path = private
    with DaemonProcess(project).running() as daemon:
        assert daemon.cli("check").returncode == 0
        assert daemon.client.invoke("caller", {})["result"] == "ran"
        failed = daemon.cli("invoke", "bold", "--event", json.dumps({"path": path}))
        setting = f'read = ["{path}"]'
        assert "hint: the wall 'files' is in the way" in failed.stderr
        assert setting in failed.stderr
        id_ = daemon.client.enqueue("bold", {"path": path})

        def hint() -> str | None:
            error = daemon.invocation(id_)["error"]
            return error["hint"] if error else None

        assert setting in (wait_for(hint, "the first attempt's error") or "")
        assert setting in daemon.cli("invocations", "show", id_).stdout
        assert setting in daemon.cli("why", id_).stdout
        shown = json.loads(daemon.cli("invocations", "show", id_, "--json").stdout)
        assert setting in shown["attempt_records"][0]["error"]["hint"]
