"""What is outside a sandbox cannot be signalled, and nothing in it gains a privilege."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faasd.model.permissions import Permissions
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.as_ordinary_user import run_as_user
from tests.containment.bench import Bench

NOBODYS_UID = 64_322
NO_CAPABILITIES = [0, 0, 0]  # Effective, permitted, inheritable.


def result(outcome: Any) -> Any:
    assert outcome.word == "ok", outcome.error
    return json.loads(outcome.result_json)


async def test_the_daemon_cannot_be_signalled(bench: Bench, tmp_path: Path) -> None:
    """It is not there. The control: without namespaces and Landlock's scope, its number is all one needs."""
    assert result(await bench.run("outsiders:signal_process", os.getpid())) in ("ESRCH", "EPERM")
    off = {"landlock"}
    sandboxes = ProcessSandboxes(tmp_path / "without", pid_namespaces=False, without=off)
    await sandboxes.start()
    try:
        outcome = await Bench(sandboxes).run("outsiders:signal_process", os.getpid())
        assert "pid-namespace" in outcome.degraded
        assert result(outcome) == "ok"
    finally:
        await sandboxes.stop()


async def test_there_is_nobody_else_to_be_signalled(bench: Bench, tmp_path: Path) -> None:
    """kill(-1) finds no process at all. The control, without namespaces, finds the whole host."""
    assert result(await bench.run("outsiders:signal_process", -1)) in ("ESRCH", "EPERM")
    sandboxes = ProcessSandboxes(tmp_path / "without", pid_namespaces=False, without={"landlock"})
    await sandboxes.start()
    try:
        outcome = await Bench(sandboxes).run("outsiders:signal_process", -1)
        assert result(outcome) == "ok"
    finally:
        await sandboxes.stop()


async def test_nobody_has_a_capability(any_bench: Bench) -> None:
    """Neither the handler nor a program that it runs, also where the daemon is root."""
    found = result(await any_bench.run("outsiders:capabilities"))
    assert found["handler"] == NO_CAPABILITIES
    assert found["program"] == NO_CAPABILITIES
    # A zygote without a user namespace keeps what forking sandboxes takes: CAP_SYS_CHROOT, CAP_SYS_ADMIN.
    assert found["import"][0] in (0, 1 << 18 | 1 << 21)
    own = Path("/proc/self/status").read_text()
    if os.geteuid() == 0:
        assert int(re.findall(r"CapEff:\t(\w+)", own)[0], 16)  # The control.


def test_nobody_has_a_capability_under_an_ordinary_user_either() -> None:
    """Although a user namespace brings all of them."""
    word, found, error, _ = run_as_user("outsiders:capabilities")
    assert word == "ok", error
    assert found == dict.fromkeys(("import", "handler", "program"), NO_CAPABILITIES)


@pytest.fixture
def place_for_programs() -> Iterator[Path]:
    """A directory where set-uid programs count, which they do not in a /tmp in memory."""
    path = Path(tempfile.mkdtemp(prefix="faasd-test-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


async def test_a_set_user_id_program_is_powerless(
    any_bench: Bench, place_for_programs: Path
) -> None:
    """It runs as whoever starts it. The control: started by the test, it runs as its owner."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a program of another user's")
    if os.statvfs(place_for_programs).f_flag & os.ST_NOSUID:
        pytest.skip("/var/tmp is mounted nosuid, so no program in it is one")
    program = place_for_programs / "id"
    shutil.copy(str(shutil.which("id")), program)
    os.chown(program, NOBODYS_UID, NOBODYS_UID)
    os.chmod(program, 0o4755)
    assert (
        f"euid={NOBODYS_UID}"
        in subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    )
    permissions = Permissions(read=(str(place_for_programs),))
    outcome = await any_bench.run("outsiders:run_program", str(program), permissions=permissions)
    assert "euid" not in result(outcome)


async def test_a_crash_leaves_no_core(bench: Bench, tmp_path: Path) -> None:
    """A limit of one byte stops both a file and a program that the host pipes core dumps to."""
    assert result(await bench.run("outsiders:core_limits")) == [1, 1]
    shutil.copy(Path(bench.code_dir, "outsiders.py"), tmp_path)
    bench.code_dir = str(tmp_path)
    assert (await bench.run("outsiders:crash")).word == "crashed"
    assert sorted(path.name for path in tmp_path.iterdir() if "core" in path.name) == []


async def test_nothing_can_be_raised_that_was_lowered(any_bench: Bench) -> None:
    """Priority, limits, and one's place in an OOM."""
    found = result(await any_bench.run("outsiders:run_at_real_time"))
    assert "ok" not in found


async def test_the_daemons_environment_stays_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What bends programs above all. The control: what a function asks for by name, it gets."""
    leaks = ("LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "SECRET_OF_DAEMON")
    for name in leaks:
        monkeypatch.setenv(name, "" if name == "LD_PRELOAD" else "/nowhere")
    sandboxes = ProcessSandboxes(tmp_path / "state")
    await sandboxes.start()
    bench = Bench(sandboxes)
    try:
        found = result(await bench.run("outsiders:environment"))
        assert set(leaks) & set(found) == set()
        asked = Permissions(pass_env=("SECRET_OF_DAEMON",))
        found = result(await bench.run("outsiders:environment", permissions=asked))
        assert set(leaks) & set(found) == {"SECRET_OF_DAEMON"}
    finally:
        await sandboxes.stop()


async def test_an_import_that_forks_without_end_is_capped(bench: Bench) -> None:
    """Its cgroup allows what the function may have, and a little for sandboxes underway."""
    if (
        "process-cap" in (await bench.run("echo")).degraded
        or not bench.sandboxes.walls()["memory_cgroup"]
    ):
        pytest.skip("this host has no cgroup that caps processes")
    outcome = await bench.run("forks_at_import:handler", processes=10, memory_bytes=2**31)
    assert outcome.word == "init-error"
    assert outcome.error is not None
    assert int(re.findall(r"forked (\d+)", outcome.error.message)[0]) <= 10 + 256
