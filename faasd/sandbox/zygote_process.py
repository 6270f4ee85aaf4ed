"""The daemon's side of zygotes: the root zygote of an interpreter, and the zygotes it forks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from typing import Any

from faasd.errors import SandboxError, WireError, ZygoteInitFailed
from faasd.linux import proc_tree, process
from faasd.sandbox import zygote_frames
from faasd.sandbox.cgroup_slot import CgroupSlot
from faasd.sandbox.classify import describe_status
from faasd.sandbox.control_channel import ControlChannel
from faasd.sandbox.room import Room

__all__ = ["BOOTSTRAP", "MARK", "RootZygote", "Zygote"]

#: In the environment of every root zygote, and so of all its descendants: whose they are.
MARK = "FAASD_SANDBOX_OF"
BOOTSTRAP = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "runtime", "bootstrap.py"
)
#: A broken interpreter ends at once; a sound one on a host that is overloaded may well need most of this.
_START_TIMEOUT_S = 60.0
_FORK_TIMEOUT_S = 10.0
#: Forks that fail one after the other before a shared zygote is given up. One may be its function's own affair.
_FAILED_FORKS_MAX = 3
_MESSAGE_CHARS_MAX = 4096
_CLOSED_BY_US = "closed by us"


class RootZygote:
    """One interpreter's root zygote; every other process of ours descends from it."""

    def __init__(self, python: str, mark: str, *, use_namespaces: bool) -> None:
        self.python = python
        self.mark = mark
        self.namespaces: tuple[str, ...] = ()
        self.uid = os.geteuid()
        self.walls: dict[
            str, Any
        ] = {}  # More fields of policy.Walls, as the interpreter found them.
        self._loop = asyncio.get_running_loop()
        self._hello: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._forks: dict[int, asyncio.Future[int]] = {}
        self._exits: dict[int, asyncio.Future[dict[str, Any] | None]] = {}
        ours, theirs = socket.socketpair()
        self._stderr, stderr = os.pipe()
        os.set_blocking(self._stderr, False)
        try:
            self._pid = self._spawn(theirs.fileno(), stderr, mark, use_namespaces)
        except OSError as error:
            ours.close()
            os.close(self._stderr)
            message = f"cannot start the interpreter {python}: {error.strerror}"
            raise SandboxError(message) from error
        finally:
            theirs.close()
            os.close(stderr)
        self._pidfd = os.pidfd_open(self._pid)
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._reap)
        self._channel = ControlChannel(ours, self._on_frame, self._on_closed)

    def _spawn(self, control: int, stderr: int, mark: str, use_namespaces: bool) -> int:
        mode = "namespaces" if use_namespaces else "no-namespaces"
        # -X pycache_prefix is left alone: what the daemon compiled at installation serves here too.
        argv = [self.python, "-I", BOOTSTRAP, "root_zygote", "3", mode]
        actions: list[Any] = [
            (os.POSIX_SPAWN_DUP2, stderr, 2),
            (os.POSIX_SPAWN_DUP2, control, 3),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        ]
        env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", MARK: mark}
        # Else each sandbox looks up what it calls of the C library anew, and copies the pages for that.
        env["LD_BIND_NOW"] = "1"
        return os.posix_spawnp(
            argv[0],
            argv,
            env,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )

    async def start(self) -> None:
        """Wait until it can fork. Raises SandboxError, with what the interpreter said."""
        try:
            hello = await asyncio.wait_for(asyncio.shield(self._hello), _START_TIMEOUT_S)
        except (SandboxError, TimeoutError) as error:
            await self.stop()
            said = self.said() or str(error) or "no answer"
            message = f"cannot start a zygote with {self.python}: {said}"
            raise SandboxError(f"{message}; is it a CPython 3.9 or newer?") from error
        self.namespaces = tuple(hello["namespaces"])
        self.uid = int(hello["uid"])
        self.walls = hello["walls"]

    @property
    def is_alive(self) -> bool:
        """Whether it can still fork."""
        return not self._channel.is_closed

    def said(self) -> str:
        """Return the last line it wrote to standard error."""
        with contextlib.suppress(OSError):
            lines = os.read(self._stderr, 65536).decode("utf-8", "backslashreplace").strip()
            return lines.splitlines()[-1] if lines else ""
        return ""

    async def fork(
        self, number: int, policy: dict[str, Any], fds: Sequence[int]
    ) -> tuple[int, asyncio.Future[dict[str, Any] | None]]:
        """Fork a zygote: (its pidfd, a future of its `exited` frame; None if we cannot know). Raises SandboxError."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._forks[number] = future
        # Held here as well: the zygote may have ended, and have been told so, before we go on.
        exited = self._exits[number] = self._loop.create_future()
        try:
            request = {"op": "fork", "id": number, "policy": policy}
            self._channel.send(request, fds)
            return await asyncio.wait_for(future, _FORK_TIMEOUT_S), exited
        except (SandboxError, TimeoutError) as error:
            self._exits.pop(number, None)
            raise SandboxError(f"cannot fork a zygote: {str(error) or 'no answer'}") from error
        finally:
            self._forks.pop(number, None)

    async def stop(self) -> None:
        """End it and everything that descends from it; returns when all of it is gone."""
        self._channel.close()
        done, _ = await asyncio.wait({self._ended}, timeout=5.0)
        if not done:
            process.send_signal(self._pidfd, signal.SIGKILL)
            await self._ended
        os.close(self._pidfd)

    def close(self) -> None:
        """Let go of what `stop` keeps for `said`."""
        os.close(self._stderr)

    def _on_frame(self, frame: dict[str, Any], fds: list[int]) -> None:
        number = frame.get("id", 0)
        if frame["op"] == "hello" and not self._hello.done():
            self._hello.set_result(frame)
        elif frame["op"] == "forked":
            _set_result(self._forks.get(number), fds)
        elif frame["op"] == "fork-failed":
            future = self._forks.get(number)
            if future is not None and not future.done():
                future.set_exception(SandboxError(frame["message"]))
        elif frame["op"] == "exited":
            exit_ = self._exits.pop(number, None)
            if exit_ is not None and not exit_.done():
                exit_.set_result(frame)

    def _on_closed(self, reason: str) -> None:
        error = SandboxError(f"the root zygote's channel is {reason}")
        waiting: list[asyncio.Future[Any]] = [self._hello, *self._forks.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        with contextlib.suppress(asyncio.InvalidStateError):
            self._hello.exception()  # Retrieved: nobody may be waiting for it any more.
        # A root zygote that closes has swept what was below it, unless it was killed.
        self._ended.add_done_callback(lambda _: self._forget_exits())

    def _forget_exits(self) -> None:
        for future in self._exits.values():
            if not future.done():
                future.set_result(None)
        self._exits.clear()

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        try:
            _, status = os.waitpid(self._pid, 0)
        except ChildProcessError:
            status = 0  # Somebody else in this process reaped it.
        self._ended.set_result(status)
        self._channel.close("closed: it has ended")


class _ForkFailed(SandboxError):
    """A zygote says that the host did not let it fork."""


class Zygote:
    """One zygote: forks sandboxes while it lives."""

    def __init__(
        self,
        key: str,
        control: socket.socket,
        pidfd: int,
        exited: asyncio.Future[dict[str, Any] | None],
        slot: CgroupSlot | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.key = key
        self.pidfd = pidfd
        self.exited = exited
        self.slot = slot
        self.has_pid_namespace = True
        # Where its attempts' private directories are made, on disk; None: it makes them in memory.
        self.private_dir: str | None = None
        self.tmp_dir = ""  # Where an attempt finds its own, made in memory.
        self.room = Room(None)
        self.ready: asyncio.Future[dict[str, Any]] = loop.create_future()
        self.init_s = 0.0
        self.memory_bytes = 0
        self.active = 0
        self.last_used = 0.0
        self.is_retired = False
        self.lacks_room = False  # It says that a disk was full.
        self.is_kept = False  # Also when nobody has used it for long.
        self.imported_by = ""  # The function in whose environment its module was imported.
        self.is_shared = False  # Others use it as well.
        self._failed_forks = 0  # Since the last one that went well.
        self._forks: dict[int, asyncio.Future[int]] = {}
        self._ends: dict[int, asyncio.Future[dict[str, Any] | None]] = {}
        self._loop = loop
        self._heard_at = 0.0  # When its last frame came.
        self._pid: int | None = None  # As our own PID namespace counts, once it was asked for.
        self._channel = ControlChannel(control, self._on_frame, self._on_closed)

    @property
    def is_alive(self) -> bool:
        """Whether it can fork."""
        most = _FAILED_FORKS_MAX if self.is_shared else 1
        return not self._channel.is_closed and self._failed_forks < most

    @property
    def breach(self) -> str | None:
        """What it sent that broke the protocol, if it did."""
        return self._channel.breach

    async def fork(
        self, number: int, policy: dict[str, Any], fds: Sequence[int]
    ) -> tuple[int, asyncio.Future[dict[str, Any] | None]]:
        """Fork a sandbox: (pidfd of its first process, a future of its `ended` frame; None if the zygote died).

        Raises SandboxError; ZygoteInitFailed, with the outcome `crashed`, when it breaks the protocol.
        """
        future: asyncio.Future[int] = self._loop.create_future()
        self._forks[number] = future
        ended = self._ends[number] = self._loop.create_future()
        timer = self._loop.call_later(_FORK_TIMEOUT_S, self._time_out, number)
        try:
            self._channel.send({"op": "attempt", "id": number, "policy": policy}, fds)
            pidfd = await future
            self._failed_forks = 0
            return pidfd, ended
        except _ForkFailed:
            self._ends.pop(number, None)  # It lives, and so do the attempts in it.
            self._failed_forks += 1
            raise
        except (SandboxError, TimeoutError) as error:
            self._ends.pop(number, None)
            self.kill()
            if self.breach is not None:
                message = f"its zygote, which has run the function's module, broke the protocol: {self.breach}"
                record: dict[str, object] = {
                    "type": "BrokenChannel",
                    "message": message,
                    "stack": [],
                }
                raise ZygoteInitFailed(message, record, "crashed") from error
            raise SandboxError(f"its zygote cannot fork: {str(error) or 'no answer'}") from error
        finally:
            timer.cancel()
            self._forks.pop(number, None)

    def _time_out(self, number: int) -> None:
        """Give a fork up for which nothing has come for so long; on a busy host many may wait for their turn."""
        future = self._forks.get(number)
        if future is None or future.done():
            return
        rest_s = self._heard_at + _FORK_TIMEOUT_S - self._loop.time()
        if rest_s > 0:
            self._loop.call_later(rest_s, self._time_out, number)
        else:
            future.set_exception(TimeoutError())

    def kill_sandbox(self, number: int) -> None:
        """Have it kill a sandbox's first process and sweep what that leaves: for hosts without PID namespaces."""
        with contextlib.suppress(SandboxError):
            self._channel.send({"op": "kill", "id": number})

    def kill(self) -> None:
        """Kill the zygote; in a PID namespace its sandboxes die with it."""
        process.send_signal(self.pidfd, signal.SIGKILL)

    async def stop(self) -> str:
        """End it; returns how it ended, when it and all below it are gone."""
        self._channel.close(_CLOSED_BY_US)
        done, _ = await asyncio.wait({self.exited}, timeout=1.0)
        if not done:
            self.kill()
        exited = await self.exited
        return describe_status(exited["status"]) if exited else "the root zygote ended"

    def release(self) -> None:
        """Let go of its pidfd and its cgroup, once it has ended."""
        os.close(self.pidfd)
        if self.slot is not None:
            self.slot.remove()

    def _on_frame(self, frame: dict[str, Any], fds: list[int]) -> None:
        """Take what answers a question of ours. It has run user code: anything else is a breach."""
        self._heard_at = self._loop.time()
        op, number = frame["op"], frame.get("id", 0)
        if op in ("ready", "init-error") and not self.ready.done():
            self.ready.set_result(zygote_frames.ready_frame(frame))
        elif op == "failed":
            message = str(frame["message"])[:_MESSAGE_CHARS_MAX]
            if not self.ready.done():
                self.lacks_room = frame.get("is_disk_full") is True
                self.ready.set_exception(SandboxError(f"cannot make a zygote: {message}"))
                self.ready.exception()
        elif op == "forked" and number in self._forks:
            if not fds or not self._may_be_child(fds[0]):
                raise WireError("it says that it has forked, and shows what is no child of it")
            _set_result(self._forks[number], fds)
        elif op == "fork-failed" and number in self._forks:
            if not self._forks[number].done():
                message = str(frame["message"])[:_MESSAGE_CHARS_MAX]
                self._forks[number].set_exception(_ForkFailed(f"its zygote cannot fork: {message}"))
        elif op == "ended" and number in self._ends:
            usage = zygote_frames.ended_frame(frame)
            end = self._ends.pop(number)
            if not end.done():
                end.set_result(usage)
        else:
            raise WireError(f"it says {str(op)[:50]!r}, which nobody asked for")

    def _may_be_child(self, pidfd: int) -> bool:
        """Whether a descriptor is the pidfd of a process that it forked, or of one that is gone.

        We send signals through it and wait for it. A zygote could show us anything instead: the kernel gives
        everybody a pidfd of who is at the other end of his socket, and here that is ourselves.
        """
        pid = process.pid_of_pidfd(pidfd)
        if pid is None or pid == 0:
            return False  # No pidfd at all; or of a process that we cannot see, so it is nobody below us.
        if pid == -1:
            return True  # Reaped: no signal reaches anybody through it.
        if self._pid is None:
            self._pid = process.pid_of_pidfd(self.pidfd)
        stat = proc_tree.stat_of(pid)
        if process.is_reaped(pidfd):
            return True  # Only now, so what we read may be about a successor with its number.
        # Its own number is its own until it is reaped.
        is_its = stat is not None and stat.parent == self._pid
        return is_its and not process.is_reaped(self.pidfd)

    def _on_closed(self, reason: str) -> None:
        if reason != _CLOSED_BY_US:
            self.kill()  # Nothing that it does from here on could be believed.
        error = SandboxError(f"its channel is {reason}")
        waiting: list[asyncio.Future[Any]] = [self.ready, *self._forks.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        with contextlib.suppress(asyncio.InvalidStateError):
            self.ready.exception()  # Retrieved: nobody may be waiting for it any more.
        for end in self._ends.values():
            if not end.done():
                end.set_result(None)
        self._ends.clear()


def _set_result(future: asyncio.Future[int] | None, fds: list[int]) -> None:
    """Hand one descriptor to who waits for it."""
    if future is not None and not future.done() and fds:
        future.set_result(fds.pop(0))
