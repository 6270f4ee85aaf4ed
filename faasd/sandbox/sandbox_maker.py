"""Making sandboxes: a place in the zygote, a directory and a cgroup of its own, and the fork."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from faasd.linux import proc_tree
from faasd.model.function import Function
from faasd.sandbox import full_disk, policy
from faasd.sandbox.policy import Walls
from faasd.sandbox.readers import Readers
from faasd.sandbox.sandbox import Sandbox
from faasd.sandbox.sandbox_pool import SandboxPool
from faasd.sandbox.workspaces import Workspace, Workspaces
from faasd.sandbox.zygote_entry import ZygoteLease
from faasd.sandbox.zygote_process import Zygote

__all__ = ["SandboxMaker"]


class SandboxMaker:
    """Makes one sandbox at a time for whoever asks; what it cannot finish, it takes back."""

    def __init__(
        self, workspaces: Workspaces, waiting: SandboxPool, numbers: Iterator[int]
    ) -> None:
        self._workspaces = workspaces
        self._readers = Readers()
        self._waiting = waiting
        self._numbers = numbers
        self.is_stopping = False

    def close(self) -> None:
        """Let go of what all sandboxes share, when there are none left; again does nothing."""
        self._readers.close()

    async def make(
        self, function: Function, stop: asyncio.Future[str], lease: ZygoteLease
    ) -> Sandbox | str:
        """Make a sandbox for an attempt; the word of its outcome when it is stopped before.

        Raises SandboxError, ZygoteInitFailed or OSError.
        """
        zygote = lease.zygote
        if not zygote.room.take_nowait():
            self._waiting.make_room(zygote)
            if not await zygote.room.take(stop):
                return _word(stop)
        workspace: Workspace | str = "drained"
        try:
            if not self.is_stopping:
                workspace = await self._wait_for_workspace(function, stop, lease)
        finally:
            if not isinstance(workspace, Workspace):
                zygote.room.give_back()
        if isinstance(workspace, str):
            return workspace
        return await self._fork(function, zygote, lease.walls, workspace)

    async def make_spare(self, function: Function, lease: ZygoteLease) -> Sandbox | None:
        """Make a sandbox that nobody waits for; None where there is no place for it now."""
        zygote = lease.zygote
        if self.is_stopping or policy.shares_process_cap(lease.walls):
            return None
        if not zygote.room.take_nowait():
            return None
        try:
            workspace = self._workspace(function, zygote, lease.walls)
        except OSError:
            zygote.room.give_back()
            return None  # A full disk, which attempts that need one wait for.
        return await self._fork(function, zygote, lease.walls, workspace, is_spare=True)

    async def _fork(
        self,
        function: Function,
        zygote: Zygote,
        walls: Walls,
        workspace: Workspace,
        *,
        is_spare: bool = False,
    ) -> Sandbox:
        number = next(self._numbers)
        sandbox = Sandbox(
            number,
            function,
            zygote,
            walls,
            workspace,
            self._workspaces,
            self._readers,
            zygote.room.give_back,
        )
        is_forked = False
        try:
            await sandbox.fork(_uid_tasks(walls), is_spare=is_spare)
            is_forked = True
        finally:
            if not is_forked:
                await self._waiting.end(sandbox)
        return sandbox

    async def _wait_for_workspace(
        self, function: Function, stop: asyncio.Future[str], lease: ZygoteLease
    ) -> Workspace | str:
        """Take a sandbox's place; with a full disk, wait for room. A word when the attempt is stopped."""
        while True:
            try:
                return self._workspace(function, lease.zygote, lease.walls)
            except OSError as error:
                if not full_disk.is_full(error):
                    raise
                await full_disk.wait_for_room(stop, function.name, error)
            if stop.done() or self.is_stopping:
                return _word(stop)

    def _workspace(self, function: Function, zygote: Zygote, walls: Walls) -> Workspace:
        counts_cpu = function.reuse > 1
        return self._workspaces.take(
            function.limits, zygote.private_dir, walls.identity, counts_cpu=counts_cpu
        )


def _word(stop: asyncio.Future[str]) -> str:
    if not stop.done():
        return "drained"
    return "cancelled" if stop.cancelled() else stop.result()


def _uid_tasks(walls: Walls) -> int:
    """Return how many tasks our uid has, where a sandbox's cap on processes is counted together with them."""
    return proc_tree.tasks_of(walls.uid) if policy.shares_process_cap(walls) else 0
