"""Starting one zygote: fork it, let it import the handler within its limits, and say what went wrong if it could not."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from faasd.clock import Clock
from faasd.errors import NoRoomOnDisk, SandboxError, ZygoteInitFailed
from faasd.linux import process
from faasd.model.attempt import OutputLine
from faasd.model.function import Function
from faasd.model.units import format_duration, format_size
from faasd.sandbox.cgroup_slot import CgroupSlot, SlotLimits
from faasd.sandbox.full_disk import cannot_make
from faasd.sandbox.identity import Identity, open_way_to
from faasd.sandbox.memory_watch import MemoryWatch, WatchedTree
from faasd.sandbox.output import Output
from faasd.sandbox.room import Room
from faasd.sandbox.zygote_process import RootZygote, Zygote

__all__ = ["ZygoteStart", "slot_limits"]

#: Sandboxes that a zygote has forked and that are not in a group of their own yet.
_FORKS_UNDERWAY = 256


@dataclass
class ZygoteStart:
    """One try at starting a zygote. `lines` is what the import printed, also when it failed."""

    function: Function
    policy: dict[str, Any]
    key: str
    number: int
    root: RootZygote
    slot: CgroupSlot | None
    watch: MemoryWatch
    clock: Clock
    identity: Identity | None = None  # Whose it is, where that is not the daemon's own user.
    lines: list[OutputLine] = field(default_factory=list)
    alone: str = ""  # Why no other function may use it, of zygote_frames.ALONE; for one that was to be shared.

    async def run(self) -> Zygote:
        """Return the zygote, ready to fork. Raises ZygoteInitFailed or SandboxError."""
        output = Output(self.function.limits, self.clock, self.lines.extend)
        ours, theirs = socket.socketpair()
        pipes = [os.pipe(), os.pipe()]
        try:
            given = [
                theirs.fileno(),
                pipes[0][1],
                pipes[1][1],
                *(self.slot.fds if self.slot else ()),
            ]
            try:
                self._make_private_dir()
                pidfd, exited = await self.root.fork(self.number, self.policy, given)
            except SandboxError:
                ours.close()
                if self.slot is not None:
                    self.slot.remove()
                raise
            finally:
                theirs.close()
                for _, write in pipes:
                    os.close(write)
                if self.slot is not None:
                    self.slot.close_fds()
            zygote = Zygote(self.key, ours, pidfd, exited, self.slot)
            zygote.has_pid_namespace = "pid" in self.policy["namespaces"]
            zygote.private_dir = None if self.policy["mounts"] else self.policy["private_dir"]
            zygote.room = Room(self.policy["slots"] if self.policy["mounts"] else None)
            zygote.tmp_dir = self.policy["tmp_at"]
            return await self._until_ready(zygote, pipes, output)
        finally:
            for read, _ in pipes:
                asyncio.get_running_loop().remove_reader(read)
                os.close(read)

    def _make_private_dir(self) -> None:
        """Make the directory below which its attempts get theirs: its walls name it, so it must be there."""
        if self.identity is not None and self.function.copy_dir:
            open_way_to(os.path.dirname(self.function.copy_dir), self.identity)
        if self.policy["mounts"]:
            return
        try:
            os.makedirs(self.policy["private_dir"], 0o711, exist_ok=True)
        except OSError as error:
            raise cannot_make(self.policy["private_dir"], error) from error
        if self.identity is not None:
            open_way_to(self.policy["private_dir"], self.identity)

    async def _until_ready(
        self, zygote: Zygote, pipes: list[tuple[int, int]], output: Output
    ) -> Zygote:
        for (read, _), stream in zip(pipes, ("stdout", "stderr"), strict=True):
            os.set_blocking(read, False)
            asyncio.get_running_loop().add_reader(read, _read, read, stream, output)
        over = asyncio.get_running_loop().create_future()
        tree = self._watch_memory(zygote, over)
        try:
            waited: set[asyncio.Future[Any]] = {zygote.ready, zygote.exited, over}
            await asyncio.wait(
                waited,
                timeout=self.function.limits.init_timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        except asyncio.CancelledError:
            await _discard(zygote)
            raise
        finally:
            self.watch.remove(tree)
        timed_out = not (zygote.ready.done() or zygote.exited.done() or over.done())
        failure: ZygoteInitFailed | SandboxError | None = None
        if not zygote.ready.done() or zygote.ready.exception() or "error" in zygote.ready.result():
            failure = await self._why_not(zygote, timed_out=timed_out, is_over=over.done())
        for (read, _), stream in zip(pipes, ("stdout", "stderr"), strict=True):
            while _read(read, stream, output):
                pass
        output.finish()
        over.cancel()
        if failure is not None:
            raise failure
        ready = zygote.ready.result()
        zygote.init_s = float(ready["init_s"])
        zygote.memory_bytes = int(ready["memory_bytes"])
        zygote.imported_by = self.function.name
        self.alone = ready["alone"]
        zygote.is_shared = self.policy["is_shared"] and not self.alone
        return zygote

    def _watch_memory(self, zygote: Zygote, over: asyncio.Future[None]) -> WatchedTree:
        pid = process.pid_of_pidfd(zygote.pidfd) or -1

        def on_over() -> None:
            if not over.done():
                over.set_result(None)

        tree = WatchedTree(pid, self.function.limits.memory_bytes, on_over)
        if self.slot is None and pid > 0:
            self.watch.add(tree)
        return tree

    async def _why_not(
        self, zygote: Zygote, *, timed_out: bool, is_over: bool
    ) -> ZygoteInitFailed | SandboxError:
        """End a zygote that is of no use, and say why it is not."""
        frame = None
        if zygote.ready.done() and zygote.ready.exception() is None:
            frame = zygote.ready.result()
        if timed_out or is_over:
            zygote.kill()
        how = await zygote.stop()
        is_over = is_over or (zygote.slot is not None and zygote.slot.oom_kills() > 0)
        zygote.release()
        what = self.function.handler or "the command"
        limits = self.function.limits
        error = dict(frame["error"]) if frame is not None else {}
        if is_over or (self.slot is None and error.get("type") == "MemoryError"):
            cap = format_size(limits.memory_bytes)
            return _failure(
                "OutOfMemory", f"importing {what} went over its memory cap of {cap}", "oom"
            )
        refusal = zygote.ready.exception() if zygote.ready.done() else None
        if refusal is not None and str(refusal).startswith("cannot make"):
            return self._refusal(zygote, str(refusal))
        if error:
            message = f"cannot import {what}: {error['type']}: {error['message']}"
            return ZygoteInitFailed(message, error)
        if timed_out:
            limit = format_duration(limits.init_timeout_s)
            return _failure(
                "InitTimeout", f"importing {what} did not finish within its init_timeout of {limit}"
            )
        return _failure("InitCrashed", f"importing {what} ended its process: {how}")

    def _refusal(self, zygote: Zygote, message: str) -> SandboxError:
        """Return why it could not be built.

        That a disk is full, its module may have said as well; so it is waited for only where something is missing.
        """
        makes = self.policy["files"]["write"]
        if zygote.lacks_room and not all(map(os.path.exists, makes)):
            return NoRoomOnDisk(message)
        return SandboxError(message)


def slot_limits(function: Function, asked: Mapping[str, Any]) -> SlotLimits:
    """Return the caps of a zygote, which runs a handler's module as well: its import, its threads afterwards."""
    if asked["module"] is None:
        return SlotLimits(function.limits.memory_bytes)
    processes = int(asked["processes"]) + _FORKS_UNDERWAY
    return SlotLimits(function.limits.memory_bytes, processes, asked["cpu"])


def _failure(kind: str, message: str, outcome: str = "init-error") -> ZygoteInitFailed:
    return ZygoteInitFailed(message, {"type": kind, "message": message, "stack": []}, outcome)


async def _discard(zygote: Zygote) -> None:
    zygote.kill()
    await zygote.stop()
    zygote.release()


def _read(fd: int, stream: str, output: Output) -> bool:
    """Read once; False when nothing is there, now or for ever."""
    try:
        data = os.read(fd, 65536)
    except BlockingIOError:
        return False
    if not data:
        asyncio.get_running_loop().remove_reader(fd)
        return False
    output.feed(stream, data)
    return True
