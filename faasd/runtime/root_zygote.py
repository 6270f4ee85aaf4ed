"""The root zygote: one per interpreter, started by exec; it imports nothing of anybody's and only forks zygotes.

Frames from the daemon: {"op": "fork", "id", "policy"} with descriptors [channel, stdout, stderr, cgroups …].
Frames to it: {"op": "hello"} once, {"op": "forked", "id"} with a pidfd, {"op": "fork-failed", "id", "message"},
{"op": "exited", "id", "status", "memory_bytes"} after the zygote and all that it left behind are gone.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
from _socket import socket as Socket  # noqa: N812 - see faasd/wire.py.
from typing import Any

from faasd import wire
from faasd.errors import WireError
from faasd.linux import proc_tree, process
from faasd.runtime import containment, zygote

__all__ = ["RootZygote", "main"]


def main(arguments: list[str]) -> None:
    """Serve the daemon at the other end of descriptor `arguments[0]` until it closes.

    `arguments[1]` is `namespaces` or `no-namespaces`.
    """
    control = Socket(fileno=int(arguments[0]))
    os.set_inheritable(control.fileno(), False)
    # Whoever started the daemon may have left descriptors open; no sandbox may find them.
    os.closerange(control.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Only the daemon, or its end, ends us.
    process.set_name("faasd-root")
    process.become_subreaper()
    # What is here stays as it is: a zygote looks only at what its module has made, and no fork copies the rest.
    gc.collect()
    gc.freeze()
    names = containment.probe_namespaces() if arguments[1] == "namespaces" else []
    if names:
        # Without namespaces we must outlive the daemon just long enough to sweep; its end then
        # reaches us as the end of `control`.
        process.die_with_parent()
        if process.has_hung_up(control.fileno()):
            return
    version = ".".join(map(str, sys.version_info[:3]))
    hello = {"op": "hello", "namespaces": names, "walls": containment.probe_walls(names)}
    wire.send(control, {**hello, "python": version, "uid": os.geteuid()})
    RootZygote(control).serve()


class RootZygote:
    """Forks zygotes on request and says when they have ended."""

    def __init__(self, control: Socket) -> None:
        self._control = control
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._zygotes: dict[int, tuple[int, int]] = {}  # pidfd → (id, pid)
        # Held by us alone: its hang-up tells a zygote that we are gone, whenever that happened.
        self._lifeline = os.pipe()

    def serve(self) -> None:
        """Work until the daemon closes its end, then end everything below."""
        try:
            while self._serve_once():
                pass
        except (OSError, WireError):
            pass  # The daemon died within a frame.
        proc_tree.end_all([os.getpid()])

    def _serve_once(self) -> bool:
        for fd, _ in self._poll.poll():
            if fd != self._control.fileno():
                self._reap(fd)
                continue
            data, fds = zygote.receive_with_fds(self._control)
            if data is None:
                return False
            self._fork(data, fds)
        return True

    def _fork(self, request: dict[str, Any], fds: list[int]) -> None:
        policy = request["policy"]
        try:
            pid, pidfd = containment.fork(policy, fds[3:], besides=policy["zygote_namespaces"])
        except OSError as error:
            wire.send(
                self._control, {"op": "fork-failed", "id": request["id"], "message": str(error)}
            )
        else:
            if pid == 0:
                self._become_zygote(policy, fds)
            self._zygotes[pidfd] = (request["id"], pid)
            self._poll.register(pidfd, select.POLLIN)
            wire.send(self._control, {"op": "forked", "id": request["id"], "fds": 1}, [pidfd])
        for fd in fds:
            os.close(fd)

    def _become_zygote(self, policy: dict[str, Any], fds: list[int]) -> None:
        self._control.close()
        for pidfd in self._zygotes:
            os.close(pidfd)
        for fd in fds[3:]:
            os.close(fd)
        lifeline, held = self._lifeline
        os.close(held)
        zygote.run(policy, Socket(fileno=fds[0]), fds[1], fds[2], lifeline)

    def _reap(self, pidfd: int) -> None:
        identity, pid = self._zygotes.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status, usage = os.wait4(pid, 0)
        # Where there are no PID namespaces, sandboxes that outlived their zygote came to us.
        proc_tree.end_all([os.getpid()], keep=[pid for _, pid in self._zygotes.values()])
        wire.send(
            self._control,
            {
                "op": "exited",
                "id": identity,
                "status": status,
                "memory_bytes": usage.ru_maxrss * 1024,
            },
        )
