"""Reload: what the files say comes into force without stopping, whole or not at all."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from faasd.errors import Conflict, UnknownFunction
from tests.daemon.harness import DaemonProcess, wait_for, write_project
from tests.daemon.reload_load import ReloadLoad, write_code

FUNCTIONS = """
    import os, sys, time
    from pathlib import Path
    from faasd import every, function, queue

    VERSION = 1

    @function
    def version(event, context):
        return VERSION

    @function(timeout="30s", write=["gate"])
    def slow(event, context):
        while not os.path.exists(event["gate"]):
            time.sleep(0.01)
        return VERSION

    @function
    def breaks(event, context):
        raise ValueError("on purpose")

    @function
    def beside(event, context):
        here = Path(__file__).parent
        return [(here / "table.csv").read_text(), os.getcwd() == str(here)]

    @function
    def looks(event, context):
        return sorted(os.listdir(event["path"]))
"""


def project(directory: Path, toml: str = "") -> DaemonProcess:
    (directory / "gate").mkdir()
    daemon = DaemonProcess(write_project(directory, FUNCTIONS, toml))
    (directory / "functions" / "table.csv").write_text("1;2")
    return daemon


def edit(daemon: DaemonProcess, old: str, new: str, name: str = "functions/app.py") -> None:
    path = daemon.config.parent / name
    text = path.read_text()
    assert old in text
    fresh = path.with_name("." + path.name)
    fresh.write_text(text.replace(old, new))
    fresh.rename(path)


def reload(daemon: DaemonProcess) -> dict[str, dict[str, Any]]:
    report = daemon.client.request("POST", "/api/v1/reload")
    return {one["function"]: one for one in report["changes"]}


def status(daemon: DaemonProcess) -> dict[str, Any]:
    answer: dict[str, Any] = daemon.client.request("GET", "/api/v1/status")
    return answer


def metrics(daemon: DaemonProcess) -> str:
    return daemon.cli("metrics").stdout


def why(daemon: DaemonProcess, subject: str) -> str:
    answer = daemon.client.request("GET", "/api/v1/why", query={"subject": subject})
    return " ".join(answer["sentences"])


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def result(daemon: DaemonProcess, name: str, event: Any = None) -> Any:
    outcome = daemon.client.invoke(name, event)
    assert outcome["outcome"] == "ok", outcome
    return outcome["result"]


def test_reloads_under_load_lose_nothing_and_run_no_half_of_a_version(tmp_path: Path) -> None:
    """Ten reloads while events, files and ticks flow; `make test-faults` does two hundred."""
    load = ReloadLoad(tmp_path)
    with load.daemon.running():
        load.begin()
        for number in range(1, 11):
            report = load.reload(number)
            assert {one["change"] for one in report["changes"]} == {"changed"}, report
        load.stop()
        versions = load.check()
        assert len(versions) > 5, "the reloads came too late for the work"


def test_what_runs_finishes_on_the_old_code_and_what_begins_has_the_new(tmp_path: Path) -> None:
    """A reload neither waits for what runs nor changes it under its feet."""
    daemon = project(tmp_path)
    with daemon.running():
        before = daemon.client.request("GET", "/api/v1/functions/slow")["code_version"]
        gate = tmp_path / "gate" / "open"
        id_ = daemon.client.invoke("slow", {"gate": str(gate)}, wait=False)["id"]
        daemon.wait_for_state(id_, "running")
        edit(daemon, "VERSION = 1", "VERSION = 2")
        assert result(daemon, "version") == 1, "an edit alone must change nothing"
        changes = reload(daemon)
        assert {one["change"] for one in changes.values()} == {"changed"}
        assert changes["slow"]["before"] == before != changes["slow"]["code_version"]
        assert result(daemon, "version") == 2
        gate.touch()
        old = daemon.wait_for_state(id_, "done")
        assert old["result"] == 1
        assert old["attempt_records"][0]["code_version"] == before
        assert {one["change"] for one in reload(daemon).values()} == {"unchanged"}


def test_a_broken_version_is_refused_and_the_old_one_serves_also_after_a_restart(
    tmp_path: Path,
) -> None:
    """A typing error at night must not take the service down, whoever restarts the daemon then."""
    daemon = project(tmp_path)
    other = tmp_path / "functions" / "other.py"
    other.write_text("from faasd import function\n\n@function\ndef other(e, c):\n    return 1\n")
    with daemon.running():
        edit(daemon, "VERSION = 1", "VERSION = nonsense")
        edit(daemon, "return 1", "return 2", "functions/other.py")
        told = daemon.cli("reload")
        assert told.returncode == 1
        assert re.search(
            r"'slow', 'version' are kept: .*functions/app.py:6.*NameError.*nonsense", told.stderr
        )
        assert '"changed": 1, "whole": false' in daemon.log(), "what is kept has not changed"
        assert result(daemon, "version") == 1
        assert result(daemon, "other") == 2, "the others' changes apply"
        row = daemon.client.request("GET", "/api/v1/functions/version")
        assert "nonsense" in row["kept_because"]
        assert "nonsense" in " ".join(daemon.client.request("GET", "/api/v1/status")["problems"])
        daemon.kill9()
        daemon.start()
        assert result(daemon, "version") == 1
        edit(daemon, "VERSION = nonsense", "VERSION = 3")
        assert reload(daemon)["version"]["change"] == "changed"
        assert result(daemon, "version") == 3


def test_functions_come_and_go(tmp_path: Path) -> None:
    """What waits for one that went goes on waiting, and runs when it is back."""
    daemon = project(tmp_path)
    other = tmp_path / "functions" / "other.py"
    with daemon.running():
        text = 'from faasd import function, queue\n\n@function(triggers=[queue("q")])\ndef other(e, c):\n    return 1\n'
        other.write_text(text)
        assert reload(daemon)["other"]["change"] == "added"
        assert result(daemon, "other") == 1
        daemon.client.request("POST", "/api/v1/functions/other/pause")
        id_ = daemon.client.enqueue("q", 1)
        other.unlink()
        assert reload(daemon)["other"]["change"] == "removed"
        with pytest.raises(UnknownFunction):
            daemon.client.invoke("other")
        assert daemon.invocation(id_)["state"] == "waiting"
        other.write_text(text)
        assert reload(daemon)["other"]["change"] == "added"
        assert daemon.invocation(id_)["state"] == "waiting", "it is paused still"
        daemon.client.request("POST", "/api/v1/functions/other/resume")
        daemon.wait_for_state(id_, "done")


def test_a_mistake_in_the_file_refuses_it_all(tmp_path: Path) -> None:
    """As at a start: a file with a mistake says nothing that can be relied on."""
    daemon = project(tmp_path)
    with daemon.running():
        good = daemon.config.read_text()
        daemon.config.write_text(good + '\n[functions.version]\ntimeuot = "3s"\n')
        edit(daemon, "VERSION = 1", "VERSION = 2")
        with pytest.raises(Conflict, match=r"functions.version.timeuot.*did you mean"):
            reload(daemon)
        assert result(daemon, "version") == 1
        problems = " ".join(daemon.client.request("GET", "/api/v1/status")["problems"])
        assert "the last reload was refused" in problems
        daemon.config.write_text(good + '\n[functions.version]\ntimeout = "3s"\n')
        assert reload(daemon)["version"]["change"] == "changed"
        assert daemon.client.request("GET", "/api/v1/functions/version")["timeout_s"] == 3
        assert "refused" not in " ".join(daemon.client.request("GET", "/api/v1/status")["problems"])


def test_how_the_last_reload_ended_is_in_the_status_the_metrics_and_why(tmp_path: Path) -> None:
    """Who reloads by a signal or by `watch` is told nothing at that moment."""
    daemon = project(tmp_path)
    with daemon.running():
        good = daemon.config.read_text()
        assert status(daemon)["last_reload"] is None
        assert 'faasd_reloads_total{result="refused"} 0' in metrics(daemon)
        first = daemon.client.invoke("version", wait=False)["id"]
        before = daemon.wait_for_state(first, "done")["attempt_records"][0]["code_version"]
        assert f"ran version {before} of the code, which is in force." in why(daemon, first)
        daemon.config.write_text(good + "\n[functions.version]\ntimeuot = 1\nmemroy = 2\n")
        assert daemon.cli("reload").returncode == 1
        assert status(daemon)["last_reload"]["result"] == "refused"
        told = daemon.cli("status").stdout
        assert re.search(r"^last_reload +refused at .*timeuot.*; .*memroy", told, re.MULTILINE), (
            told
        )
        assert 'faasd_reloads_total{result="refused"} 1' in metrics(daemon)
        assert "\nfaasd_configuration_whole 0\n" in metrics(daemon)
        assert f'faasd_configuration_info{{sha256="{digest(good)}"}} 1' in metrics(daemon)
        assert re.search(rf"Version {before} .*was refused.*timeuot", why(daemon, "version"))
        # What is asked of one function is no reload, and mends nothing in the file.
        assert daemon.cli("functions", "rollback", "version", "nonsense").returncode == 2
        assert "timeuot" in status(daemon)["last_reload"]["error"]
        edit(daemon, "VERSION = 1", "VERSION = 2")
        daemon.config.write_text(good + "\n# mended\n")
        now = reload(daemon)["version"]["code_version"]
        assert status(daemon)["last_reload"] | {"at": 0} == {
            "result": "applied",
            "at": 0,
            "error": None,
        }
        assert "\nfaasd_configuration_whole 1\n" in metrics(daemon)
        assert f'sha256="{digest(daemon.config.read_text())}"' in metrics(daemon)
        assert f'faasd_function_info{{function="version",code_version="{now}"}} 1' in metrics(
            daemon
        )
        assert f"ran version {before} of the code; version {now} is in force" in why(daemon, first)
        edit(daemon, "VERSION = 2", "VERSION = nonsense")
        assert daemon.cli("reload").returncode == 1
        assert status(daemon)["last_reload"]["result"] == "partial"
        assert "\nfaasd_configuration_whole 0\n" in metrics(daemon)
        assert re.search(rf"Version {now} .*not in force: .*nonsense", why(daemon, "version"))


def test_what_an_import_leaves_open_is_shown_with_its_function(tmp_path: Path) -> None:
    """Who looks at a function sees it there; the log of a zygote that started last week is far away."""
    daemon = project(tmp_path)
    leaves = tmp_path / "functions" / "leaves.py"
    leaves.write_text(
        "from faasd import function\nHELD = open(__file__)\n@function\ndef leaves(e, c):\n    return 1\n"
    )

    def left_open(name: str) -> str:
        return " ".join(daemon.client.request("GET", f"/api/v1/functions/{name}")["left_open"])

    with daemon.running():
        assert re.search("leaves.py' open .*every attempt would share it", left_open("leaves"))
        assert left_open("version") == ""
        shown = daemon.cli("functions", "show", "leaves").stdout
        assert re.search("What its import leaves open:\n  the import has left the file", shown)
        assert "What its import leaves open" not in daemon.cli("functions", "show", "slow").stdout
        edit(daemon, "HELD = open(__file__)", "HELD = nonsense", "functions/leaves.py")
        assert reload(daemon)["leaves"]["change"] == "kept"
        assert "leaves.py" in left_open("leaves"), "the old version serves"
        edit(daemon, "HELD = nonsense", "HELD = None", "functions/leaves.py")
        assert reload(daemon)["leaves"]["change"] == "changed"
        assert left_open("leaves") == ""
        daemon.client.request("POST", "/api/v1/functions/leaves/rollback", {})
        assert "leaves.py" in left_open("leaves")


def test_settings_that_need_a_restart_are_named(tmp_path: Path) -> None:
    """Who believes that a setting is in force which is not finds out at the worst time."""
    daemon = project(tmp_path, "slots = 5\n")
    with daemon.running():
        edit(daemon, "slots = 5", 'slots = 6\ndrain_timeout = "1s"', "faasd.toml")
        report = daemon.client.request("POST", "/api/v1/reload")
        assert report["needs_restart"] == [{"setting": "slots", "in_force": "5", "in_file": "6"}]
        assert daemon.client.request("GET", "/api/v1/status")["slots"] == 5


def test_sighup_reloads(tmp_path: Path) -> None:
    """As every daemon does that people know."""
    daemon = project(tmp_path)
    with daemon.running():
        edit(daemon, "VERSION = 1", "VERSION = 2")
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: result(daemon, "version") == 2, "the new version")


def test_watch_reloads_by_itself_when_code_or_configuration_changes(tmp_path: Path) -> None:
    """For people who write functions; and a burst of changes is one reload."""
    daemon = project(tmp_path, "watch = true\n")
    with daemon.running():
        for number in (2, 3, 4):
            edit(daemon, f"VERSION = {number - 1}", f"VERSION = {number}")
        wait_for(lambda: result(daemon, "version") == 4, "the new version")
        wait_for(
            lambda: daemon.log().count('"configuration_reloaded"') == 1, "the reload to be logged"
        )
        package = tmp_path / "functions" / "package"
        package.mkdir()
        (package / "__init__.py").write_text(
            "from faasd import function\n\n@function\ndef packed(e, c):\n    return 1\n"
        )
        functions = lambda: daemon.client.request("GET", "/api/v1/functions")["functions"]  # noqa: E731
        wait_for(lambda: "packed" in {one["name"] for one in functions()}, "the new function")
        edit(daemon, "return 1", "return 2", "functions/package/__init__.py")
        wait_for(lambda: result(daemon, "packed") == 2, "the new version of it")
        os.rename(package, tmp_path / "away")
        wait_for(lambda: "packed" not in {one["name"] for one in functions()}, "it to go")
        edit(daemon, "watch = true", "watch = false", "faasd.toml")
        wait_for(
            lambda: daemon.log().count('"configuration_reloaded"') == 5, "the reload to be logged"
        )
        edit(daemon, "VERSION = 4", "VERSION = 5")
        assert reload(daemon)["version"]["change"] == "changed"
        assert daemon.log().count('"change_noticed"') == 5


def test_a_rollback_stays_over_reloads_and_restarts_until_it_is_unpinned(tmp_path: Path) -> None:
    """Who goes back at night must not find the bad version running in the morning."""
    daemon = project(tmp_path)
    with daemon.running():
        for number in (2, 3):
            edit(daemon, f"VERSION = {number - 1}", f"VERSION = {number}")
            reload(daemon)
        assert daemon.cli("functions", "rollback", "version").returncode == 0
        assert result(daemon, "version") == 2
        assert result(daemon, "slow", {"gate": str(tmp_path)}) == 3, "it alone was rolled back"
        edit(daemon, "VERSION = 3", "VERSION = 4")
        told = daemon.cli("reload")
        assert told.returncode == 0
        assert "function 'version' is pinned to version" in told.stdout, "else `unchanged` misleads"
        assert "`faasd functions unpin version`" in told.stdout
        changes = reload(daemon)
        assert changes["version"]["change"] == "unchanged"
        assert "pinned to version" in changes["version"]["reason"]
        daemon.kill9()
        daemon.start()
        assert result(daemon, "version") == 2
        listed = json.loads(daemon.cli("functions", "list", "--json").stdout)
        pins = {row["name"]: row["pinned_to"] for row in listed}
        assert pins["version"] == changes["version"]["code_version"]
        assert set(pins.values()) == {None, pins["version"]}, "the others follow the disk"
        rows = daemon.client.request("GET", "/api/v1/functions/version/versions")["versions"]
        assert [(row["in_service"], row["pinned"]) for row in rows] == [
            (True, True), (False, False), (False, False),
        ]  # fmt: skip
        assert (
            daemon.cli("functions", "rollback", "version", rows[2]["version"][:6]).returncode == 0
        )
        assert result(daemon, "version") == 1
        assert daemon.cli("functions", "unpin", "version").returncode == 0
        assert result(daemon, "version") == 4
        assert daemon.cli("functions", "unpin", "version").returncode == 2


def test_an_alias_names_a_version_that_can_be_invoked(tmp_path: Path) -> None:
    """A new version is tried beside the one in service, or the old one after it."""
    daemon = project(tmp_path)
    with daemon.running():
        first = daemon.client.request("GET", "/api/v1/functions/version")["code_version"]
        edit(daemon, "VERSION = 1", "VERSION = 2")
        reload(daemon)
        assert daemon.cli("functions", "alias", "version", "stable", first).returncode == 0
        assert daemon.cli("invoke", "version:stable").stdout == "1\n"
        assert daemon.cli("invoke", f"version:{first[:8]}").stdout == "1\n"
        assert daemon.cli("invoke", "version").stdout == "2\n"
        unknown = daemon.cli("invoke", "version:other")
        assert unknown.returncode == 2
        assert "no such version or alias" in unknown.stderr
        assert "sync only" in daemon.cli("invoke", "version:stable", "--async").stderr
        assert daemon.cli("functions", "alias", "version", "stable", "--remove").returncode == 0
        assert daemon.cli("invoke", "version:stable").returncode == 2


def test_code_finds_what_is_beside_it_and_errors_name_the_source(tmp_path: Path) -> None:
    """It runs from a copy, and people edit the original."""
    daemon = project(tmp_path)
    with daemon.running():
        assert result(daemon, "beside") == ["1;2", True]
        (tmp_path / "functions" / "table.csv").write_text("3;4")
        assert result(daemon, "beside") == ["1;2", True], "it belongs to the version"
        error = daemon.client.invoke("breaks")["error"]
        assert f'File "{tmp_path}/functions/app.py", line 20, in breaks' in error["stack"][0]


def test_of_the_state_directory_a_function_sees_its_own_version_alone(tmp_path: Path) -> None:
    """Others' code, and the events of all, are behind the same wall as before."""
    daemon = project(tmp_path)
    with daemon.running():
        (tmp_path / "second").mkdir()
        (tmp_path / "second" / "b.py").write_text("x = 1\n")
        first = daemon.client.request("GET", "/api/v1/functions/looks")["code_version"]
        edit(daemon, "VERSION = 1", "VERSION = 2")
        reload(daemon)
        own = daemon.client.request("GET", "/api/v1/functions/looks")["code_version"]
        assert own != first
        kept = daemon.state_dir / "versions"
        assert {first, own} <= {path.name for path in kept.iterdir()}
        assert "app.py" in result(daemon, "looks", {"path": str(kept / own / "code")})
        for path in (kept / first, kept / first / "code", daemon.state_dir / "logs"):
            outcome = daemon.client.invoke("looks", {"path": str(path)})
            assert outcome["error"]["type"] in ("PermissionError", "FileNotFoundError"), path


@pytest.mark.parametrize(
    "without", [(), ("mounts",), ("landlock",)], ids=["all", "no-mounts", "no-landlock"]
)
def test_a_version_runs_behind_every_kind_of_file_wall(
    tmp_path: Path, without: tuple[str, ...]
) -> None:
    """Each hides the state directory in its own way, and each must leave the version in it open."""
    daemon = project(tmp_path, '[defaults]\ncontainment = "best-effort"\n')
    daemon.without = without
    with daemon.running():
        assert result(daemon, "beside") == ["1;2", True]


def test_a_command_s_script_runs_from_its_version(tmp_path: Path) -> None:
    """Commands are code as well: an edit changes nothing until a reload."""
    (tmp_path / "jobs").mkdir()
    script = tmp_path / "jobs" / "job.sh"
    script.write_text('#!/bin/sh\n. "$(dirname "$0")/lib.sh"\necho $N; pwd >&2\n')
    script.chmod(0o755)
    (tmp_path / "jobs" / "lib.sh").write_text("N=1\n")
    daemon = project(tmp_path, '[functions.job]\ncommand = ["jobs/job.sh"]\n')
    with daemon.running():
        (tmp_path / "jobs" / "lib.sh").write_text("N=2\n")
        assert result(daemon, "job") == 1
        assert reload(daemon)["job"]["change"] == "changed"
        assert result(daemon, "job") == 2


def test_a_directory_that_code_writes_is_there_in_its_version_too(tmp_path: Path) -> None:
    """Data amid code is linked, not copied; and what is written there makes no new version."""
    functions = """
        from pathlib import Path
        from faasd import function

        @function(write=["functions/out"])
        def writes(event, context):
            with (Path(__file__).parent / "out" / "x").open("a") as file:
                file.write("1")
    """
    daemon = DaemonProcess(write_project(tmp_path, functions))
    with daemon.running():
        result(daemon, "writes")
        result(daemon, "writes")
        assert (tmp_path / "functions" / "out" / "x").read_text() == "11"
        assert reload(daemon)["writes"]["change"] == "unchanged"


def test_old_versions_go_and_those_in_use_stay(tmp_path: Path) -> None:
    """The state directory must not grow with every save."""
    daemon = project(tmp_path)
    with daemon.running():
        first = daemon.client.request("GET", "/api/v1/functions/version")["code_version"]
        daemon.client.request(
            "POST", "/api/v1/functions/version/aliases", {"alias": "old", "version": first}
        )
        for number in range(2, 15):
            edit(daemon, f"VERSION = {number - 1}", f"VERSION = {number}")
            reload(daemon)
        kept = {path.name for path in (daemon.state_dir / "versions").iterdir()}
        assert len(kept) == 11
        assert first in kept
        assert daemon.cli("invoke", "version:old").stdout == "1\n"


def test_kill_9_in_the_midst_of_reloads_leaves_whole_versions_and_loses_nothing(
    tmp_path: Path,
) -> None:
    """A version is there whole or not at all, and the daemon comes back with one of them."""
    load = ReloadLoad(tmp_path)
    load.daemon.start()
    for number in range(1, 6):
        for id_ in load.sent:
            load.daemon.wait_for_state(id_, "done")
        load.sent.append(load.daemon.client.enqueue("orders", number))
        write_code(tmp_path, number)
        assert load.daemon.process is not None
        load.daemon.process.send_signal(signal.SIGHUP)
        # Killed at another moment of the reload each time: reading, keeping, importing, swapping.
        is_there = functools.partial(_is_under_way, load.daemon, number)
        wait_for(is_there, "the reload to get there")
        load.daemon.kill9()
        load.daemon.start()
    try:
        for id_ in load.sent:
            found = load.daemon.wait_for_state(id_, "done")
            assert found["result"][0] == found["result"][1]
        names = os.listdir(load.daemon.state_dir / "versions")
        assert not [name for name in names if name.startswith(".")], names
    finally:
        load.daemon.stop()
    assert not load.daemon.leftovers()


def _is_under_way(daemon: DaemonProcess, number: int) -> bool:
    """Whether the reload for this code has come to a point that differs by number."""
    text = f"PART = {number}\n"
    versions = daemon.state_dir / "versions"
    copies = [path for path in versions.glob("*/code/part.py") if _reads(path, text)]
    if number % 3 == 0:
        return bool(list(versions.glob(".new-*"))) or bool(copies)
    if number % 3 == 1:
        return bool(copies)
    return daemon.log().count('"configuration_reloaded"') > 0 or len(copies) > 0


def _reads(path: Path, text: str) -> bool:
    try:
        return path.read_text() == text
    except OSError:
        return False
