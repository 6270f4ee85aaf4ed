"""One sandbox on the daemon's side: a contained process tree, from its fork until nothing of it is left.

It waits for a request, runs one attempt at a time, and then ends or waits for the next one. All its walls
are up before it reads its first request, so one that was forked ahead of need (a spare) lacks none.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from faasd.linux import proc_tree, process
from faasd.model.function import Function
from faasd.sandbox import policy
from faasd.sandbox.cgroup_slot import CgroupSlot
from faasd.sandbox.cpu_watch import cpu_s_of_tree
from faasd.sandbox.missing_walls import names_of_missing_walls
from faasd.sandbox.policy import Walls
from faasd.sandbox.readers import Readers
from faasd.sandbox.renewal import Renewal
from faasd.sandbox.sandbox_io import SandboxIo
from faasd.sandbox.workspaces import Workspace, Workspaces
from faasd.sandbox.zygote_process import Zygote

__all__ = ["Sandbox"]

#: How long a kill may take before it is sent again; and the wait for a zygote's last word.
_KILL_PATIENCE_S = 0.5
_ENDED_PATIENCE_S = 2.0


class Sandbox:
    """Knows its processes and descriptors, and lets go of all of them in `close`."""

    def __init__(
        self,
        number: int,
        function: Function,
        zygote: Zygote,
        walls: Walls,
        workspace: Workspace,
        workspaces: Workspaces,
        readers: Readers,
        on_closed: Callable[[], None],
    ) -> None:
        """`on_closed` is called when nothing of it is left and all that it had is given back."""
        self.function = function
        self.zygote = zygote
        self.walls = walls
        self.tmp_dir: str = workspace.tmp_dir or zygote.tmp_dir
        self.missing_walls = names_of_missing_walls(function, walls)
        self.served = 0  # Attempts that it has begun.
        self.cpu_s_before = 0.0  # What earlier attempts of its used.
        self._cpu_s_unheard = 0.0  # What processes used for which nobody waited.
        self._ends_at_once: bool | None = None
        self._is_swept = False
        self.secrets: Mapping[str, bytes] | None = None  # Those that it was sent; None before that.
        self.ended_by_itself = False  # And not because we, or the kernel, ended it.
        self._on_closed = on_closed
        self._on_lost: Callable[[Sandbox], None] | None = None
        self.waits_since = 0.0
        self.has_waited = False
        self.on_oom: Callable[[], None] | None = None  # The attempt's, while one runs.
        self._number = number
        self._workspace = workspace
        self._workspaces = workspaces
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._readers = readers
        #: Where it serves one attempt after another, each afresh.
        self.renewal: Renewal | None = None
        self.has_handler = True  # Or its first process waits to be told to fork one.
        if policy.renews(function, walls):
            self.renewal = Renewal(readers, self._on_idle_breach)
        self.io = self._new_io()
        if self.renewal is not None:
            self.io.child_fds.append(self.renewal.child_fd)
        self._pidfd = -1
        self._pid: int | None = None  # Once it was asked for.
        self._ended: asyncio.Future[dict[str, Any] | None] | None = None
        self._closing: asyncio.Future[None] | None = None

    @property
    def slot(self) -> CgroupSlot | None:
        """Its cgroup, where there are any."""
        return self._workspace.slot

    @property
    def pid(self) -> int | None:
        """Its first process; None before it is forked and when it is gone."""
        if self._pidfd < 0 or process.is_reaped(self._pidfd):
            return None
        if self._pid is None:
            self._pid = process.pid_of_pidfd(self._pidfd)
        return self._pid if self._pid is not None and self._pid > 0 else None

    @property
    def may_serve(self) -> bool:
        """Whether it lives and could be given one more attempt."""
        is_left = self.served == 0 or self.served < self.function.reuse
        return is_left and not self.gone.done() and self.zygote.is_alive

    @property
    def is_on_disk(self) -> bool:
        """Whether its private directory is on a disk, where nothing but our watch bounds it."""
        return self.zygote.private_dir is not None

    async def fork(self, uid_tasks: int, *, is_spare: bool = False) -> None:
        """Make its processes; they wait for the first request. A spare has time to rehearse it. Raises SandboxError or ZygoteInitFailed."""
        asked = policy.attempt_policy(self.function, self.walls, uid_tasks, self.tmp_dir)
        asked["rehearses"] = is_spare
        if self.zygote.is_shared and self.zygote.imported_by != self.function.name:
            asked.update(policy.in_shared_zygote(self.function))
        self._give_pipes()
        fds = [*self.io.child_fds, *(self.slot.fds if self.slot else ())]
        try:
            self._pidfd, self._ended = await self.zygote.fork(self._number, asked, fds)
        finally:
            self.io.close_child_fds()
        if self.zygote.has_pid_namespace:
            self._readers.add(self._pidfd, self._on_gone)
        else:
            self._ended.add_done_callback(self._on_swept)
        if self.renewal is not None:
            self.renewal.listen()
        self.io.listen()
        if self.slot is not None and self.slot.oom_fd is not None:
            self.io.look_at(self.slot.oom_fd)
            self._readers.add(self.slot.oom_fd, self._on_oom_event)

    def _give_pipes(self) -> None:
        if self.walls.identity is not None:
            self.io.give_pipes_to(self.walls.identity.uid, self.walls.identity.gid)

    def _new_io(self) -> SandboxIo:
        bytes_max = policy.frame_bytes_max(self.function)
        return SandboxIo(bytes_max, self._readers, self._on_idle_breach, self.renewal)

    def renew(self) -> bool:
        """Let go of what its last attempt had on our side; False when it can have no other one."""
        if self.renewal is None or self.renewal.end is None or self.renewal.is_worn:
            return False
        if self.slot is None or self.gone.done() or not self.slot.renew_inhabited():
            return False
        used_s = self.slot.account.cpu_s()
        self.cpu_s_before = self.renewal.end.cpu_s if used_s is None else used_s
        self.io.close()
        self.served, self.secrets, self.has_handler = 0, None, False
        return True

    def begin_again(self, *, is_awaited: bool) -> bool:
        """Have a renewed one fork a handler's process, for an attempt or ahead of need; False when it has gone."""
        assert self.renewal is not None
        try:
            self.io = self._new_io()
            self._give_pipes()
            if not self.renewal.begin(self.io.child_fds, is_awaited=is_awaited):
                return False
        except OSError:
            return False  # No descriptors are left, and who comes next will hear of that.
        finally:
            self.io.close_child_fds()
        self.has_handler = self.has_waited = True
        self.io.listen()
        if self.slot is not None and self.slot.oom_fd is not None:
            self.io.look_at(self.slot.oom_fd)
        return True

    def has_ended(self) -> bool:
        """Whether its first process has ended, heard of or not."""
        return self.gone.done() or (self._pidfd >= 0 and process.has_ended(self._pidfd))

    def stop_softly(self) -> None:
        """Have it tell the handler that its time is over."""
        process.send_signal(self._pidfd, signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, its first process first; see `kill_until_gone` for when that is done."""
        process.send_signal(self._pidfd, signal.SIGKILL)

    @property
    def ends_at_once(self) -> bool:
        """Whether it may be killed after its last report, and what it used is known all the same.

        Its zygote hears of the memory and the time of processes that were waited for, and these are not.
        """
        if self._ends_at_once is None:
            has_group = self.zygote.has_pid_namespace and self.slot is not None
            is_told = self.renewal is not None or self._tells_cpu() or _can_find_handlers()
            self._ends_at_once = has_group and is_told
        return self._ends_at_once

    async def dismiss(self) -> None:
        """End it after its last report, which its handler's process waits for; returns when nothing is left.

        Both of its processes at once: faster than its own end, in which one has to hear of the other's.
        """
        pid = self.pid
        handlers = (proc_tree.children(pid) if pid is not None else None) or []
        for handler in handlers[:1]:
            with contextlib.suppress(OSError):
                self._kill_handler(handler, pid or 0)
        process.send_signal(self._pidfd, signal.SIGKILL)
        await self._hear_of_its_end()
        await self.kill_until_gone()

    async def _hear_of_its_end(self) -> None:
        """Wait for what its zygote says when it has reaped it; its pidfd has the word on whether it is gone.

        Its pipes, its channel and its pidfd would each wake us on the way there, with nothing to be done yet.
        """
        if self._ended is None or self.gone.done():
            return
        self.io.stop_listening()
        self._readers.remove(self._pidfd)
        patience = self._loop.call_later(_ENDED_PATIENCE_S, self._hear_nothing)
        try:
            await self._ended
        finally:
            patience.cancel()
            if process.has_ended(self._pidfd):
                self._on_gone()
            else:
                self._readers.add(self._pidfd, self._on_gone)

    def _hear_nothing(self) -> None:
        """Its zygote hangs, or lies about it: what it used is known to nobody."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _kill_handler(self, handler: int, parent: int) -> None:
        pidfd = os.pidfd_open(handler)  # Before the look at whose child it is.
        try:
            used_s = proc_tree.cpu_s_of_child(handler, parent)
            self._cpu_s_unheard += 0.0 if self._tells_cpu() else used_s
            process.send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)

    def _tells_cpu(self) -> bool:
        return self.slot is not None and self.slot.account.cpu_s() is not None

    async def kill_until_gone(self) -> None:
        """Kill everything in it; returns when nothing is left."""
        tries = 0
        while not self.gone.done():
            tries += 1
            if self.slot is not None:
                self.slot.kill()  # First: from here on nobody in it forks.
            if self.zygote.has_pid_namespace:
                process.send_signal(self._pidfd, signal.SIGKILL)
            else:
                self.zygote.kill_sandbox(self._number)
            if tries > 4 and not self.zygote.has_pid_namespace:
                # It does not answer; the root zygote sweeps what it leaves. A namespace's processes are
                # the kernel's to end, with or without it: killing it would cost all its other attempts.
                self.zygote.kill()
            await asyncio.wait({self.gone}, timeout=_KILL_PATIENCE_S)
        # Only a process that left its namespace's or its zygote's sight can still be in the cgroup.
        while not self._is_swept and self.slot is not None and not self.slot.is_empty():
            self.slot.kill()
            await asyncio.sleep(0.002)
        self._is_swept = True

    async def usage(self) -> dict[str, Any] | None:
        """Return what it used, once it is gone: cpu_s, memory_bytes; None if its zygote died before it could say."""
        if self.renewal is not None and self.renewal.end is not None:
            told: dict[str, Any] | None = {"cpu_s": self.renewal.end.cpu_s, "memory_bytes": 0}
        else:
            told = await self._usage_by_zygote()
        if told is None:
            return None
        cpu_s = self.slot.account.cpu_s() if self.slot is not None else None
        if cpu_s is None:
            cpu_s = told["cpu_s"] + self._cpu_s_unheard
        return {**told, "cpu_s": cpu_s}

    async def _usage_by_zygote(self) -> dict[str, Any] | None:
        if self._ended is None:
            return None
        if not self._ended.done():
            await asyncio.wait({self._ended}, timeout=_ENDED_PATIENCE_S)
        is_told = self._ended.done() and not self._ended.cancelled()
        return self._ended.result() if is_told else None

    def cpu_s(self) -> float:
        """Return the processor time that its processes have used. Raises OSError when they are gone."""
        used_s = self.slot.account.cpu_s() if self.slot is not None else None
        if used_s is None:
            pid = self.pid
            used_s = cpu_s_of_tree(pid) if pid is not None else 0.0
        return used_s

    def wait(self, on_lost: Callable[[Sandbox], None]) -> None:
        """Wait for a request from here on; `on_lost` hears when it is of no use any more."""
        self._on_lost = on_lost
        self.has_waited = True
        # Its last attempt may have ended while the channel rested, and who speaks now must be heard.
        if self.has_handler:
            self.io.resume()

    def serve(self) -> None:
        """Wait no longer: an attempt has it."""
        self._on_lost = None
        self.served += 1

    def close(self) -> asyncio.Future[None]:
        """End it, and let go of everything that it has; the same future however often it is asked for.

        Done already where nothing has to be waited for, as after most attempts.
        """
        if self._closing is None:
            self._on_lost = None
            if self._pidfd >= 0 and not self.gone.done():
                self._closing = self._loop.create_task(self._end_and_close())
            else:
                self._closing = self._let_go()
        return self._closing

    async def _end_and_close(self) -> None:
        self.ended_by_itself = False
        await self.kill_until_gone()
        await self._let_go()

    def _let_go(self) -> asyncio.Future[None]:
        if self._pidfd >= 0:
            self._readers.remove(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self.slot is not None and self.slot.oom_fd is not None:
            self._readers.remove(self.slot.oom_fd)
        self.io.close()
        if self.renewal is not None:
            self.renewal.close()
        by_itself = self.ended_by_itself
        given_back = self._workspaces.give_back(self._workspace, ended_by_itself=by_itself)
        if given_back.done():
            self._on_closed()
        else:
            given_back.add_done_callback(lambda _: self._on_closed())
        return given_back

    def _on_gone(self, _: object = None) -> None:
        self._readers.remove(self._pidfd)
        if not self.gone.done():
            self.gone.set_result(None)
        self._lose()  # Nobody else would notice.

    def _on_oom_event(self, fd: int) -> None:
        """Version 1 of cgroups kills one process of the tree; the rest is for us."""
        self._readers.remove(fd)
        if self.on_oom is not None:
            self.on_oom()
        else:
            self._lose()

    def _on_swept(self, end: asyncio.Future[dict[str, Any] | None]) -> None:
        """Without a PID namespace: the zygote has swept; if it died instead, the root zygote does so."""
        if end.result() is not None and process.has_ended(self._pidfd):
            self._on_gone()
        else:
            self.zygote.kill()  # It lies about a process that runs, or is dead already.
            self.zygote.exited.add_done_callback(lambda _: self._on_gone())

    def _on_idle_breach(self) -> None:
        """It did something while it had to wait: it gets no other attempt."""
        self._lose()

    def _lose(self) -> None:
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost(self)


@functools.cache
def _can_find_handlers() -> bool:
    return proc_tree.children(os.getpid()) is not None
