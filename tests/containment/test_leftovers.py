"""kill -9 of the process that owns the sandboxes: nothing is left, or its successor ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from faasd.sandbox import leftovers
from faasd.sandbox.cgroup_slot import SlotLimits
from faasd.sandbox.sandboxes import ProcessSandboxes
from faasd.sandbox.zygote_process import MARK
from tests.containment.bench import WALLS, cgroups_of, groups_below, processes_with, wait_for
from tests.patience import patient

ROOT = Path(__file__).parent.parent.parent
OWNER = """
import asyncio, json, sys
from pathlib import Path
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import Bench

async def main():
    given = json.loads(sys.argv[1])
    sandboxes = ProcessSandboxes(given["state_dir"], **given["walls"])
    await sandboxes.start()
    await Bench(sandboxes).run("escape_and_hang", {"token": given["token"]}, timeout_s=100)

asyncio.run(main())
"""


def owner(state_dir: Path, token: str, walls: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start a process that owns sandboxes, and wait until its handler's processes run."""
    argument = json.dumps({"state_dir": str(state_dir), "token": token, "walls": walls})
    process = subprocess.Popen([sys.executable, "-c", OWNER, argument], cwd=ROOT)
    wait_for(lambda: len(processes_with(token)) == 3)
    return process


def marked(sandboxes: ProcessSandboxes) -> list[int]:
    mark = f"{MARK}={sandboxes._state_hash}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    found += [int(name)] if mark in file.read() else []
            except OSError:
                continue
    return found


@pytest.mark.parametrize("walls", WALLS.values(), ids=list(WALLS))
async def test_the_death_of_the_owner_ends_every_process_and_its_successor_removes_the_rest(
    tmp_path: Path, token: str, walls: dict[str, bool]
) -> None:
    """With PID namespaces the kernel does it; without, the root zygote sweeps before it goes."""
    process = owner(tmp_path, token, walls)
    process.send_signal(signal.SIGKILL)
    process.wait()
    successor = ProcessSandboxes(tmp_path, **walls)  # type: ignore[arg-type]

    wait_for(lambda: not processes_with(token) and not marked(successor))
    await successor.start()
    assert len(groups_below(successor)) == 0
    await successor.stop()
    assert not cgroups_of(successor)


async def test_a_successor_ends_what_outlived_everybody(tmp_path: Path) -> None:
    """Should the chain of deaths ever break, the mark in the environment tells whose a process is."""
    sandboxes = ProcessSandboxes(tmp_path)
    env = {MARK: f"{sandboxes._state_hash}:deadbeef.1."}
    stray = subprocess.Popen(["sleep", "1000"], env=env)
    other = subprocess.Popen(["sleep", "1000"], env={MARK: "0123456789abcdef:deadbeef.1."})
    try:
        await sandboxes.start()
        assert sandboxes.leftovers_ended == 1
        assert stray.wait(timeout=patient(5)) == -signal.SIGKILL
        assert other.poll() is None  # The control: another daemon's is not ours to end.
    finally:
        await sandboxes.stop()
        for process in (stray, other):
            process.kill()
            process.wait()


async def test_a_successor_ends_what_is_left_in_our_cgroups(tmp_path: Path) -> None:
    """Even a process without our mark, in a group of an instance that is gone."""
    first = ProcessSandboxes(tmp_path)
    await first.start()
    if first._slots is None:
        await first.stop()
        pytest.skip("this host has no writable memory cgroup")
    slot = first._slots.make("a1", SlotLimits(2**26, 10))
    stray = subprocess.Popen(["sleep", "1000"], env={})
    for group in groups_below(first):
        if group.endswith("-a1"):
            Path(group, "cgroup.procs").write_text(str(stray.pid))
    slot.close_fds()
    if slot.oom_fd is not None:
        os.close(slot.oom_fd)
    second = ProcessSandboxes(tmp_path)
    first._pool, pool = None, first._pool  # As after kill -9: its groups stay.
    assert pool is not None
    await pool.stop()
    await second.start()

    assert second.leftovers_ended == 1
    assert stray.wait(timeout=patient(5)) == -signal.SIGKILL
    assert groups_below(second) == []
    await second.stop()


async def test_the_loss_of_a_root_zygote_without_pid_namespaces_is_swept(
    tmp_path: Path, token: str
) -> None:
    """Sandboxes hear of their zygote's end and sweep below themselves; the next attempt works."""
    import asyncio

    from tests.containment.bench import Bench

    sandboxes = ProcessSandboxes(tmp_path, pid_namespaces=False, cgroups=False)
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        running = asyncio.create_task(bench.run("escape_and_hang", {"token": token}))
        async with asyncio.timeout(patient(10)):
            while len(processes_with(token)) < 3:
                await asyncio.sleep(0.01)
        assert sandboxes._pool is not None
        [root] = sandboxes._pool._roots.all_started().values()
        os.kill(root._pid, signal.SIGKILL)

        assert (await running).word == "sandbox-failed"
        async with asyncio.timeout(patient(5)):
            while processes_with(token):
                await asyncio.sleep(0.01)
        assert (await bench.run("echo", 1)).word == "ok"
    finally:
        await sandboxes.stop()


def test_ending_leftovers_spares_ourselves() -> None:
    """A daemon restarted from within one of its own functions carries the mark as well."""
    code = "from faasd.sandbox import leftovers; print(leftovers.end_marked('self-test'))"
    env = {**os.environ, MARK: "self-test:x"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, check=True
    )
    assert done.stdout == b"0\n"
    assert leftovers.end_marked("self-test") == 0
