"""Closed on failure: a strict function does not run where its wall is missing, and nothing of it is imported."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faasd.errors import FunctionRefused
from faasd.model.function import Function
from faasd.model.permissions import Permissions
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import Bench, an_attempt
from tests.containment.ordinary import UID, python_of, run_python

MODULE = """\
print("imported")


def handler(event, context):
    return "ran"
"""


@pytest.fixture
async def without_files(tmp_path: Path) -> AsyncIterator[Bench]:
    """Every wall of this host, and no Landlock."""
    sandboxes = ProcessSandboxes(tmp_path / "state", without={"landlock"})
    await sandboxes.start()
    try:
        yield Bench(sandboxes)
    finally:
        await sandboxes.stop()


def a_function(directory: Path, containment: str, **settings: object) -> Function:
    directory.mkdir(exist_ok=True)
    (directory / "traced.py").write_text(MODULE)
    permissions = Permissions(containment=containment, **settings)  # type: ignore[arg-type]
    return Function("f", "traced:handler", code_dir=str(directory), permissions=permissions)


async def test_a_strict_function_does_not_run_without_its_wall(
    without_files: Bench, tmp_path: Path
) -> None:
    """It says which wall, why, and what to do; it spends no attempt, and its module is never imported."""
    function = a_function(tmp_path / "code", "strict")
    without_files.containment = "strict"  # As the operator left it, who knows of no missing wall.
    outcome = await without_files.run_attempt(an_attempt(function))
    assert outcome.word == "sandbox-failed"
    assert outcome.error is not None
    assert outcome.error.type == "FunctionRefused"
    for word in ("'f'", "'files'", "Landlock", "lsm=", 'containment = "best-effort"'):
        assert word in outcome.error.message
    assert without_files.services.texts("stdout") == []
    with pytest.raises(FunctionRefused):
        await without_files.sandboxes.warm(function)


async def test_a_best_effort_function_runs_and_its_attempt_is_marked(
    without_files: Bench, tmp_path: Path
) -> None:
    """The control: the same host, the other word."""
    outcome = await without_files.run_attempt(
        an_attempt(a_function(tmp_path / "code", "best-effort"))
    )
    assert (outcome.word, outcome.result_json) == ("ok", '"ran"')
    assert "files" in outcome.degraded
    assert without_files.services.texts("stdout") == ["imported"]


async def test_the_same_strict_function_runs_where_the_wall_is(
    bench: Bench, tmp_path: Path
) -> None:
    """The other control: the same word, a host with the wall."""
    outcome = await bench.run_attempt(an_attempt(a_function(tmp_path / "code", "strict")))
    assert (outcome.word, outcome.result_json) == ("ok", '"ran"')
    assert "files" not in outcome.degraded


async def test_what_is_only_weaker_refuses_nobody(tmp_path: Path) -> None:
    """Without PID namespaces the sweep keeps the promise, so strict runs and is marked."""
    sandboxes = ProcessSandboxes(tmp_path / "state", pid_namespaces=False)
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        bench.containment = "strict"
        outcome = await bench.run_attempt(an_attempt(a_function(tmp_path / "code", "strict")))
    finally:
        await sandboxes.stop()
    assert outcome.word == "ok"
    assert "pid-namespace" in outcome.degraded


async def test_the_daemon_hears_of_missing_walls_by_function(
    without_files: Bench, tmp_path: Path
) -> None:
    """An interpreter that does not run is left out: its own attempts say so."""
    strict = a_function(tmp_path / "code", "strict")
    broken = dataclasses.replace(strict, name="broken", python=str(tmp_path / "python"))
    found = await without_files.sandboxes.missing_walls([strict, broken])
    assert list(found) == ["f"]
    assert "files" in [one.wall for one in found["f"] if one.refuses]


SCENARIO = """
import asyncio, dataclasses, json, sys
from faasd.sandbox.sandboxes import ProcessSandboxes
from faasd.model.permissions import Permissions
from tests.containment.bench import Bench

async def main():
    given = json.loads(sys.argv[1])
    found = {}
    for name, without in (("whole", ()), ("lacking", ("landlock",))):
        sandboxes = ProcessSandboxes(given["state_dir"], without=without)
        await sandboxes.start()
        bench = Bench(sandboxes)
        bench.containment = "strict"
        outcome = await bench.run("refused:read", {"path": given["path"]})
        found[name] = [outcome.word, outcome.error.type, outcome.error.message, outcome.error.hint]
        outcome = await bench.run("echo", 1, permissions=Permissions(user="root"))
        found[name + "-user"] = [outcome.word, outcome.error and outcome.error.message]
        await sandboxes.stop()
    print(json.dumps(found))

asyncio.run(main())
"""


def test_an_ordinary_users_daemon_refuses_and_hints_as_roots_does() -> None:
    """And has one wall less to give: only root may start processes as somebody else."""
    python = python_of(is_ordinary=True)
    # Not one of pytest's, which are closed to others, and not below /tmp, which may be the attempt's own.
    directory = Path(tempfile.mkdtemp(prefix="faasd-test-", dir="/var/tmp"))
    try:
        (directory / "x").write_text("content")
        (directory / "state").mkdir()
        if os.geteuid() == 0:
            for path in (directory, directory / "x", directory / "state"):
                os.chown(path, UID, UID)
        argument = {"state_dir": str(directory / "state"), "path": str(directory / "x")}
        done = run_python(python, "-c", SCENARIO, json.dumps(argument), is_ordinary=True)
    finally:
        shutil.rmtree(directory)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    word, kind, _, said = found["whole"]
    assert (word, kind) == ("error", "PermissionError")
    assert f'set read = ["{directory}/x"]' in said
    assert found["lacking"][:2] == ["sandbox-failed", "FunctionRefused"]
    assert "the wall 'files'" in found["lacking"][2]
    assert found["whole-user"][0] == "sandbox-failed"
    assert "the wall 'user' cannot be built" in found["whole-user"][1]
