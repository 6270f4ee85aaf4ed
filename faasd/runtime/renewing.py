"""A sandbox's first process that forks one handler's process after another."""

from __future__ import annotations

import os
import signal
from _socket import AF_UNIX, SOCK_SEQPACKET
from _socket import socket as Socket  # noqa: N812 - see faasd/wire.py.
from os import close
from signal import sigwaitinfo
from typing import Any, NoReturn

from faasd import wire
from faasd.linux import process
from faasd.runtime import containment, invoker
from faasd.runtime.fork_hooks import fork_handler
from faasd.runtime.leftover_state import LeftoverState

_AWAITED = tuple(map(int, (signal.SIGCHLD, signal.SIGTERM)))
_SIGTERM = int(signal.SIGTERM)
_SIGKILL = int(signal.SIGKILL)
_WNOHANG = os.WNOHANG


def run(policy: dict[str, Any], channel: int, stdout: int, stderr: int, status: int) -> NoReturn:
    try:
        control = Socket(AF_UNIX, SOCK_SEQPACKET, 0, status)
        state = LeftoverState(policy)
        containment.contain_sandbox(policy)
        process.set_dumpable(0)
        state.remember()
        while True:
            pid = fork_handler()
            if pid == 0:
                close(status)
                state.close()
                process.set_dumpable(1)
                invoker.run(policy, channel, stdout, stderr)
            close(channel)
            close(stdout)
            close(stderr)
            how, cpu_s, memory_bytes = _watch(pid)
            if how == 0:
                # Nobody in this namespace forks from here on: the kernel takes all at once.
                try:
                    os.kill(-1, _SIGKILL)
                except ProcessLookupError:
                    pass
                try:
                    while True:
                        usage = os.wait4(-1, 0)[2]
                        cpu_s += usage.ru_utime + usage.ru_stime
                except ChildProcessError:
                    pass
            if how != 0 or not state.renew():
                control.send(b"%d" % how)
                os._exit(0)
            control.send(b"%d %f %d" % (how, cpu_s, memory_bytes))
            fds: list[int] = []
            wire._receive_once(control, 16, fds)
            if len(fds) != 3:
                os._exit(0)
            channel, stdout, stderr = fds
    finally:
        os._exit(1)


def _watch(handler_pid: int) -> tuple[int, float, int]:
    cpu_s = 0.0
    while True:
        if sigwaitinfo(_AWAITED).si_signo == _SIGTERM:
            try:
                os.kill(handler_pid, _SIGTERM)
            except ProcessLookupError:
                pass
            continue
        while True:
            pid, how, usage = os.wait4(-1, _WNOHANG)
            if pid == 0:
                break
            cpu_s += usage.ru_utime + usage.ru_stime
            if pid == handler_pid:
                return how, cpu_s, usage.ru_maxrss * 1024
