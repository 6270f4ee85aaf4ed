"""What the kernel is told of an attempt's group, and that a handler cannot tell it otherwise."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from faasd.sandbox.cgroup_slot import SlotLimits
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import Bench, cgroups_of, wait_for

MIB = 2**20
#: What raising a limit, leaving a group or ending one would take; of both versions.
LIMITS = (
    "memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max", "cgroup.procs",
    "cgroup.kill", "cgroup.freeze", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes",
    "cpu.cfs_quota_us",
)  # fmt: skip
#: Finds the handler's own groups below those of its daemon, whatever they are mounted as.
OWN = """
lines = open("/proc/self/cgroup").read().splitlines()
names = {os.path.basename(line) for line in lines}
own = sorted(f"{root}/{name}" for root in ROOTS for name in names if os.path.isdir(f"{root}/{name}"))
"""


def version_of(bench: Bench) -> str | None:
    slots = bench.sandboxes._slots
    return slots.version if slots is not None else None


async def within(bench: Bench, code: str, **limits: Any) -> Any:
    """Run code in an attempt; returns what it leaves as `out`."""
    roots = cgroups_of(bench.sandboxes)
    assert roots
    event = {"it": f"ROOTS = {roots!r}\n{OWN}\n{code}"}
    outcome = await bench.run("probes:try_all", event, **limits)
    assert outcome.word == "ok", outcome.error
    return json.loads(outcome.result_json or "")["it"]


async def test_the_kernel_has_every_limit_of_an_attempt(bench: Bench) -> None:
    """Each file of version 2 with the value that the function's settings mean."""
    if version_of(bench) != "v2":
        pytest.skip("this host gives us no cgroup v2")
    code = f"""
out = {{}}
for name in {LIMITS!r}:
    if name not in ("cgroup.procs", "cgroup.kill") and os.path.exists(f"{{own[0]}}/{{name}}"):
        out[name] = open(f"{{own[0]}}/{{name}}").read().strip()
"""
    found = await within(bench, code, memory_bytes=96 * MIB, processes=7, cpu=0.5)
    assert found == {
        "memory.max": str(96 * MIB),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "8",  # One more for the sandbox's own first process.
        "cpu.max": "50000 100000",
        "cgroup.freeze": "0",
    }
    free = await within(bench, code)
    assert free["cpu.max"] == "max 100000"  # The control: nobody asked for a share.


_TEN_AT_ONCE = """
have, had = os.pipe()
wait, go_on = os.pipe()
for _ in range(10):
    if os.fork() == 0:
        kept = bytearray(b"x") * 10 * 2**20
        os.close(go_on)
        os.write(had, b"x")
        os.read(wait, 1)
        os._exit(len(kept) & 1)
for _ in range(10):
    os.read(have, 1)
os.close(go_on)
for _ in range(10):
    os.wait()
"""


async def test_the_peak_is_that_of_all_processes_together(bench: Bench) -> None:
    """As `memory.peak` has it; the largest process alone has a tenth of that."""
    if version_of(bench) is None:
        pytest.skip("this host has no cgroup that we may write")
    outcome = await bench.run("probes:try_all", {"it": _TEN_AT_ONCE}, memory_bytes=512 * MIB)
    assert outcome.word == "ok", outcome.error
    if outcome.usage.memory_peak_bytes is None:
        pytest.skip("this kernel keeps no peak (memory.peak came with Linux 5.19)")
    assert outcome.usage.memory_peak_bytes > 80 * MIB


_TRY_ALL = f"""
out = {{}}
places = own + [os.path.dirname(path) for path in own]
for path in places:
    for name in {LIMITS!r}:
        if os.path.exists(f"{{path}}/{{name}}"):
            try:
                os.close(os.open(f"{{path}}/{{name}}", os.O_WRONLY))
                out[f"{{path}}/{{name}}"] = "ok"
            except OSError as error:
                out[f"{{path}}/{{name}}"] = os.strerror(error.errno)
for path in places:
    try:
        os.mkdir(f"{{path}}/own")
        os.rmdir(f"{{path}}/own")
        out[path] = "ok"
    except OSError as error:
        out[path] = os.strerror(error.errno)
"""


async def test_a_handler_cannot_write_the_files_of_its_own_group(
    bench: Bench, tmp_path: Path
) -> None:
    """Although they belong to its user. The control, without walls around files, may write every one."""
    if version_of(bench) is None:
        pytest.skip("this host has no cgroup that we may write")
    found = await within(bench, _TRY_ALL)
    assert len(found) > 4
    assert set(found.values()) <= {"Permission denied", "Read-only file system"}, found
    sandboxes = ProcessSandboxes(tmp_path / "without", without={"landlock", "mounts"})
    await sandboxes.start()
    try:
        found = await within(Bench(sandboxes), _TRY_ALL)
    finally:
        await sandboxes.stop()
    assert "ok" in found.values(), found


@pytest.mark.parametrize("without", [{"landlock"}, {"mounts"}], ids=["mounts", "landlock"])
async def test_each_of_the_two_walls_around_files_keeps_it_by_itself(
    tmp_path: Path, without: set[str]
) -> None:
    """A read-only view of all cgroups, or Landlock, which no list of the function's names them in."""
    sandboxes = ProcessSandboxes(tmp_path / "without", without=without)
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        if version_of(bench) is None:
            pytest.skip("this host has no cgroup that we may write")
        walls = sandboxes.walls()["interpreters"]
        assert isinstance(walls, dict)
        if not all(one["landlock"] or one["mounts"] for one in walls.values()):
            pytest.skip("this host has only one of these two walls")
        found = await within(bench, _TRY_ALL)
    finally:
        await sandboxes.stop()
    assert set(found.values()) <= {"Permission denied", "Read-only file system"}, found


async def test_killing_a_group_takes_what_forks_faster_than_anybody_reads(bench: Bench) -> None:
    """One write to `cgroup.kill`, and nothing is left that could fork; no list of processes was read."""
    slots = bench.sandboxes._slots
    if slots is None or slots.version != "v2":
        pytest.skip("this host gives us no cgroup v2")
    slot = slots.make("bomb", SlotLimits(256 * MIB, 40))
    bomb = multiprocessing.get_context("fork").Process(target=_fork_for_ever, args=(slot.fds[1],))
    bomb.start()
    try:
        wait_for(lambda: not slot.is_empty(), 20.0)
        group = slot._group  # type: ignore[attr-defined]
        group.kill()
        wait_for(slot.is_empty, 20.0)
    finally:
        slot.kill()
        bomb.join()
        wait_for(slot.remove, 20.0)
    assert bomb.exitcode == -signal.SIGKILL


def _fork_for_ever(procs_fd: int) -> None:
    os.write(procs_fd, b"0")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            if os.fork() == 0:
                os.setsid()
        except OSError:
            continue  # The cap: then as soon as there is room again.
