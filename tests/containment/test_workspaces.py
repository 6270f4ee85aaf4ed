"""A directory and a cgroup serve a second attempt only where it cannot tell them from new ones."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faasd.model.outcome import Outcome
from faasd.sandbox.attempt_io import AttemptIo
from faasd.sandbox.sandbox import Sandbox
from faasd.sandbox.supervise import Supervision
from tests.containment.bench import Bench, groups_below
from tests.containment.conftest import a_bench

HANDLERS = """
import os, socket

TMP = lambda: os.environ["TMPDIR"]

def groups():
    lines = open("/proc/self/cgroup").read().split()
    return [line for line in lines if ":memory:" in line or ":pids:" in line]

def leave_alone(event, context):
    return TMP(), groups()

def make_and_remove(event, context):
    os.mkdir(TMP() + "/x")
    os.rmdir(TMP() + "/x")
    return TMP(), groups()

def open_to_all(event, context):
    os.chmod(TMP(), 0o777)
    os.chmod(TMP(), 0o700)
    return TMP(), groups()

def leave_a_file(event, context):
    open(TMP() + "/secret", "w").close()
    return TMP(), groups()

def replace(event, context):
    os.rename(TMP(), TMP() + ".old")
    os.mkdir(TMP(), 0o700)
    return TMP(), groups()

def look(event, context):
    return os.listdir(TMP()), os.stat(TMP()).st_mode & 0o777

def peak(event, context):
    del bytearray(event)[:]

def fail(event, context):
    raise ValueError
"""


@pytest.fixture
async def using(tmp_path: Path) -> AsyncIterator[Bench]:
    """With directories on disk, and nothing that keeps a handler from moving its own away."""
    async for bench in a_bench(tmp_path, {"without": {"mounts", "landlock"}}):
        (tmp_path / "places.py").write_text(HANDLERS)
        bench.code_dir = str(tmp_path)
        yield bench


def tmp_of(outcome: Outcome) -> str:
    return str(json.loads(outcome.result_json or "")[0])


async def has_reusable_groups(bench: Bench) -> bool:
    slots = bench.sandboxes._slots
    return slots is not None and slots.version == "v1"


async def test_what_an_attempt_left_alone_serves_the_next(using: Bench) -> None:
    """Making and removing both costs more than a short handler."""
    first, second = [(await using.run("places:leave_alone")).result_json for _ in range(2)]
    assert json.loads(first or "")[0] == json.loads(second or "")[0]
    if await has_reusable_groups(using):
        assert first == second


@pytest.mark.parametrize("handler", ["make_and_remove", "open_to_all", "leave_a_file", "replace"])
async def test_a_directory_that_was_touched_is_removed(using: Bench, handler: str) -> None:
    """Its next owner could not tell what was done to it; not even an undone change is left to chance."""
    touched = tmp_of(await using.run(f"places:{handler}"))
    assert not os.path.exists(touched)
    assert json.loads((await using.run("places:look")).result_json or "") == [[], 0o700]


async def test_a_peak_is_not_the_one_of_the_attempt_before(using: Bench) -> None:
    """The group may be the same one, its counters begin anew."""
    large = await using.run("places:peak", 50 * 2**20)
    small = await using.run("places:peak", 1)
    assert large.usage.memory_peak_bytes is not None
    assert small.usage.memory_peak_bytes is not None
    assert large.usage.memory_peak_bytes > 50 * 2**20
    # Without a group it is the largest process' resident size, with all that its zygote had imported.
    bound = 40 if "memory-cgroup" in small.degraded else 10
    assert small.usage.memory_peak_bytes < bound * 2**20


async def test_other_limits_mean_another_group(using: Bench) -> None:
    """A group is used again under the limits it was made for, or not at all."""
    for memory in (64, 128, 64):
        outcome = await using.run("places:peak", 90 * 2**20, memory_bytes=memory * 2**20)
        assert outcome.word == ("ok" if memory == 128 else "oom")


async def test_a_group_that_was_killed_in_is_not_used_again(using: Bench) -> None:
    """After an OOM its counters would blame the next attempt."""
    limits = {"memory_bytes": 64 * 2**20}
    assert (await using.run("places:peak", 90 * 2**20, **limits)).word == "oom"
    assert [path for path in groups_below(using.sandboxes) if "-a" in Path(path).name] == []
    assert (await using.run("places:peak", 1, **limits)).word == "ok"


async def test_limits_that_a_handler_changed_are_set_again(using: Bench) -> None:
    """A handler that runs as root can write to its group; the next attempt must not gain by it."""
    if not await has_reusable_groups(using):
        pytest.skip("groups are not used again on this host")
    limits = {"memory_bytes": 64 * 2**20}
    assert (await using.run("places:peak", 1, **limits)).word == "ok"
    [group] = [
        path
        for path in groups_below(using.sandboxes)
        if "-a" in Path(path).name and os.path.exists(f"{path}/memory.limit_in_bytes")
    ]
    workspaces = using.sandboxes._workspaces
    assert workspaces is not None
    [[slot]] = workspaces._groups.values()
    Path(group, "memory.memsw.limit_in_bytes").write_text(str(2**30))
    Path(group, "memory.limit_in_bytes").write_text(str(2**30))
    assert slot.renew()
    assert (await using.run("places:peak", 90 * 2**20, **limits)).word == "oom"


async def test_a_group_is_made_as_new_through_files_that_are_open_already(using: Bench) -> None:
    """Opening them takes most of the time; only the list of its processes has to be read anew."""
    if not await has_reusable_groups(using):
        pytest.skip("groups are not used again on this host")
    for _ in range(2):  # What is open is kept from the second on.
        assert (await using.run("places:leave_alone")).word == "ok"
    workspaces = using.sandboxes._workspaces
    assert workspaces is not None
    [[slot]] = workspaces._groups.values()
    opened: list[str] = []
    is_on = True
    sys.addaudithook(
        lambda event, args: opened.append(str(args[0])) if is_on and event == "open" else None
    )
    assert slot.is_empty()
    slot.oom_kills()
    slot.memory_peak_bytes()
    assert slot.renew()
    is_on = False
    assert [os.path.basename(path) for path in opened] == ["cgroup.procs"]


async def test_a_group_keeps_no_more_open_the_longer_it_serves(using: Bench) -> None:
    """And nothing when it is gone."""

    def open_files() -> list[str]:
        found = []
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                found.append(os.readlink(f"/proc/self/fd/{name}"))
        return sorted(one for one in found if one.startswith("/sys/fs/cgroup/") and "-a" in one)

    for _ in range(2):
        assert (await using.run("places:leave_alone")).word == "ok"
    kept = open_files()
    for _ in range(3):
        assert (await using.run("places:leave_alone")).word == "ok"
    assert open_files() == kept
    assert (len(kept) > 3) == await has_reusable_groups(using)
    await using.sandboxes.stop()
    assert open_files() == []


async def test_a_group_with_another_below_it_is_not_used_again(using: Bench) -> None:
    """A handler that runs as root could hide processes there."""
    if not await has_reusable_groups(using):
        pytest.skip("groups are not used again on this host")
    assert (await using.run("places:leave_alone")).word == "ok"
    workspaces = using.sandboxes._workspaces
    assert workspaces is not None
    [[slot]] = workspaces._groups.values()
    assert slot.renew()
    groups = [path for path in groups_below(using.sandboxes) if "-a" in Path(path).name]
    for group in groups:
        os.mkdir(f"{group}/below")
        assert not slot.renew()
        os.rmdir(f"{group}/below")
        assert slot.renew()


async def test_what_an_attempt_was_run_with_waits_for_no_collection(using: Bench) -> None:
    """A ring of objects for each would have the daemon stop, again and again, to take them apart."""
    assert (await using.run("places:leave_alone")).word == "ok"
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            assert (await using.run("places:leave_alone")).word == "ok"
            await asyncio.sleep(0)  # What was to hear of its end may have been called by then.
        objects = gc.get_objects()
    finally:
        gc.enable()
    assert not [one for one in objects if isinstance(one, (Supervision, AttemptIo))]
    assert not [one for one in objects if isinstance(one, Sandbox) and one.gone.done()]
