"""A full disk is waited for, whatever of a sandbox was to be made on it, and spends no attempt."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faasd.model.function import Function
from faasd.model.permissions import Permissions
from tests.containment.bench import FUNCTIONS, Bench, an_attempt
from tests.containment.conftest import a_bench
from tests.daemon.harness import tmpfs

HANDLERS = """
import os

def leave_a_file(event, context):
    open(os.environ["TMPDIR"] + "/left", "w").close()

def write_to(event, context):
    with open(event + "/written", "w") as file:
        return file.write("x")
"""
#: The file system's own directory is one of them.
NO_ROOM, ROOM_FOR_ONE = "1m,nr_inodes=1", "1m,nr_inodes=2"


@pytest.fixture
async def on_disk(tmp_path: Path) -> AsyncIterator[Bench]:
    """Where nothing can be mounted, private directories are on disk."""
    async for bench in a_bench(tmp_path, {"without": {"mounts"}}):
        (tmp_path / "places.py").write_text(HANDLERS)
        bench.code_dir = str(tmp_path)
        yield bench


async def test_an_attempt_that_has_no_room_on_disk_waits_for_it(on_disk: Bench) -> None:
    """A whole queue would otherwise end as dead letters; a stop ends the waiting, and freed space too."""
    workspaces = on_disk.sandboxes._workspaces
    assert workspaces is not None
    assert (await on_disk.run("places:leave_a_file")).word == "ok"
    with tmpfs(Path(workspaces._tmp_root), ROOM_FOR_ONE) as unmount:
        os.mkdir(_private_dir(on_disk), 0o711)  # The last inode.
        stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        stopped = asyncio.create_task(on_disk.run("places:leave_a_file", stop=stop))
        waiting = asyncio.create_task(on_disk.run("places:leave_a_file"))
        done, _ = await asyncio.wait({stopped, waiting}, timeout=0.2)
        assert not done, [one.result() for one in done]
        stop.set_result("cancelled")
        assert (await stopped).word == "cancelled"
        unmount()
        assert (await waiting).word == "ok"


async def test_a_zygote_that_has_no_room_on_disk_is_waited_for(on_disk: Bench) -> None:
    """Its attempts' directories lie in one of its own, which is made before it is."""
    workspaces = on_disk.sandboxes._workspaces
    assert workspaces is not None
    with tmpfs(Path(workspaces._tmp_root), NO_ROOM) as unmount:
        await _waits_until(on_disk, "places:leave_a_file", None, unmount)


async def test_a_directory_to_write_in_that_cannot_be_made_yet_is_waited_for(
    bench: Bench, tmp_path: Path
) -> None:
    """A zygote that went on without it would never have it, however much room there came to be."""
    (tmp_path / "places.py").write_text(HANDLERS)
    bench.code_dir = str(tmp_path)
    full = tmp_path / "full"
    full.mkdir()
    given = Permissions(write=(str(full / "new"),))
    with tmpfs(full, NO_ROOM) as unmount:
        await _waits_until(bench, "places:write_to", str(full / "new"), unmount, given)
    assert (full / "new" / "written").read_text() == "x"


async def _waits_until(
    bench: Bench, handler: str, event: object, unmount: object, given: Permissions | None = None
) -> None:
    """One attempt is stopped while it waits; another goes on by itself when there is room."""
    assert callable(unmount)
    limits = {"permissions": given} if given is not None else {}
    stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stopped = asyncio.create_task(bench.run(handler, event, stop=stop, **limits))
    waiting = asyncio.create_task(bench.run(handler, event, **limits))
    done, _ = await asyncio.wait({stopped, waiting}, timeout=0.5)
    assert not done, [one.result() for one in done]
    stop.set_result("cancelled")
    assert (await stopped).word == "cancelled"
    unmount()
    outcome = await waiting
    assert outcome.word == "ok", outcome.error


async def test_a_module_that_only_says_that_the_disk_is_full_is_not_waited_for(
    bench: Bench,
) -> None:
    """It would keep its slot for ever, and be charged nothing for it."""
    given = Permissions(env={"ATTACK": "full-disk"})
    function = Function(
        "liar", "hostile_zygote:harmless", code_dir=str(FUNCTIONS), permissions=given
    )
    outcome = await bench.run_attempt(an_attempt(function, 1))
    assert outcome.word == "sandbox-failed"
    assert outcome.error is not None
    assert "no room" in outcome.error.message


def _private_dir(bench: Bench) -> str:
    pool = bench.sandboxes._pool
    assert pool is not None
    [entry] = pool._entries.values()
    private_dir = entry.task.result().private_dir
    assert private_dir is not None
    return private_dir
