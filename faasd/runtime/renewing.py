"""A sandbox's first process that forks a handler's process for one attempt after another, each as if it were the first.

It is closed in as a handler is, and so is all that it forks. It never runs the handler's code, reads neither events nor
results, and hears of the next attempt by three descriptors: its channel and its output pipes. After each, in this
order: everything else in the PID namespace is killed, at once for the kernel, and waited for; what it may
have left is removed or found (left_behind.py); the daemon is told. Only after a handler's process that ended by itself,
and only with nothing found, does it wait for more. Else it ends, and its namespaces with it.
"""

from __future__ import annotations

import os
import signal

# By name: to look a module's attribute up touches pages that a fork then copies.
from _socket import AF_UNIX, SOCK_SEQPACKET
from _socket import socket as Socket  # noqa: N812 - see faasd/wire.py.
from os import close, waitpid
from signal import sigwaitinfo
from typing import Any, NoReturn

from faasd import wire
from faasd.linux import process, rlimits
from faasd.runtime import containment, invoker
from faasd.runtime.fork_hooks import fork_handler
from faasd.runtime.left_behind import LeftBehind

__all__ = ["run"]

_AWAITED = tuple(map(int, (signal.SIGCHLD, signal.SIGTERM)))
_SIGTERM, _SIGKILL = int(signal.SIGTERM), int(signal.SIGKILL)
_WNOHANG = os.WNOHANG
_SI_USER = 0  # Sent by kill or pidfd_send_signal.


def run(policy: dict[str, Any], channel: int, stdout: int, stderr: int, status: int) -> NoReturn:
    """Be the first process of a sandbox that serves many, one after another. Never returns."""
    try:
        control = Socket(AF_UNIX, SOCK_SEQPACKET, 0, status)
        left = _close_in(policy)
        while True:
            pid = fork_handler()
            if pid == 0:
                control.detach()
                close(status)
                if left is not None:
                    left.close()
                process.set_dumpable(is_dumpable=True)
                invoker.run(policy, channel, stdout, stderr)
            for fd in (channel, stdout, stderr):
                close(fd)
            how = _wait_for_handler(pid)
            goes_on = how == 0 and left is not None
            if goes_on:
                _end_all_others()
                goes_on = left is not None and left.remove()
            control.send(b"%d %d %d" % (how, rlimits.cpu_s_of_all() * 1e6, goes_on))
            if not goes_on:
                os._exit(0)
            channel, stdout, stderr = _next_attempt(policy, control)
    finally:
        os._exit(1)


def _close_in(policy: dict[str, Any]) -> LeftBehind | None:
    """Close ourselves in. What fails, the handler's process reports; then there is no second attempt."""
    try:
        left = LeftBehind(policy)
        containment.contain_sandbox(policy)
        # So that handlers, which are under the same walls, can neither read nor trace us.
        process.set_dumpable(is_dumpable=False)
        left.remember()
    except (OSError, ValueError) as error:
        policy["failure"] = str(error)
        return None
    return left


def _wait_for_handler(handler_pid: int) -> int:
    """Reap orphans and pass the daemon's soft signal on, until the handler's process has ended; returns how."""
    while True:
        found = sigwaitinfo(_AWAITED)
        if found.si_signo == _SIGTERM:
            # The daemon's comes from outside our PID namespace. One of an attempt's, by a call or by a descriptor
            # that it made us the owner of and gave away (F_SETOWN, F_SETSIG), would be the next attempt's end.
            if found.si_code == _SI_USER and found.si_pid == 0:
                try:
                    os.kill(handler_pid, _SIGTERM)
                except ProcessLookupError:
                    pass  # It has ended just now.
            continue
        pid = -1
        while pid != 0:
            pid, how = waitpid(-1, _WNOHANG)
            if pid == handler_pid:
                return how


def _end_all_others() -> None:
    """Kill what is left in our PID namespace, which the kernel does in one go, and wait until all of it is gone."""
    try:
        os.kill(-1, _SIGKILL)
    except ProcessLookupError:
        pass
    try:
        while True:
            waitpid(-1, 0)
    except ChildProcessError:
        pass


def _next_attempt(policy: dict[str, Any], control: Socket) -> list[int]:
    text, fds = wire.receive_message(control, len(wire.BEGIN))
    if len(fds) != 3:
        os._exit(0)  # The daemon wants no more of us.
    policy["rehearses"] = text == wire.REHEARSE
    return fds
