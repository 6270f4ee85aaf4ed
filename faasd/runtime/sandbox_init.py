"""A sandbox's first process: it forks the one that runs the handler, reaps orphans and says how that one ended.

Being apart from the handler keeps the handler's signals what they are elsewhere (the first process of a
PID namespace ignores even its own SIGKILL), and its exit takes the whole namespace with it.
"""

from __future__ import annotations

import os
import signal

# By name: to look a module's attribute up touches pages that a fork then copies.
from os import close, getpid
from signal import sigwaitinfo
from typing import Any, NoReturn

from faasd.linux import proc_tree, process
from faasd.runtime import invoker, renewing
from faasd.runtime.fork_hooks import fork_handler

__all__ = ["run"]

# As plain numbers: an enum's hash is a Python function, which here would cost page faults.
_AWAITED = tuple(map(int, (signal.SIGCHLD, signal.SIGTERM)))
_AWAITED_WHERE_SWEPT = (*_AWAITED, int(signal.SIGHUP))


def run(
    policy: dict[str, Any], channel: int, stdout: int, stderr: int, status: int, lifeline: int
) -> NoReturn:
    """Be the first process of a sandbox; every signal is blocked already. Never returns."""
    has_namespace = "pid" in policy["namespaces"]
    if policy["renews"]:
        close(lifeline)
        renewing.run(policy, channel, stdout, stderr, status)
    try:
        # In nested PID namespaces the end of the zygote, first process of its own, is the end of us and of
        # all below us; and a first process adopts orphans. Elsewhere we see to both ourselves.
        alive = None if has_namespace else _tie_to_zygote(lifeline)
        pid = fork_handler()
        if pid == 0:
            close(status)
            close(lifeline)
            if alive is not None:
                _share_its_fate(alive)
            invoker.run(policy, channel, stdout, stderr)
        for fd in (channel, stdout, stderr, *(alive[:1] if alive is not None else ())):
            close(fd)
        _watch(pid, status, is_command=policy["module"] is None, sweeps=not has_namespace)
    finally:
        os._exit(1)


def _tie_to_zygote(lifeline: int) -> tuple[int, int]:
    """Hear of our zygote's end, to sweep then; returns a pipe by which the handler's process hears of ours."""
    process.die_with_parent(signal.SIGHUP)
    if process.has_hung_up(lifeline):
        os._exit(1)
    process.become_subreaper()
    return os.pipe()


def _share_its_fate(alive: tuple[int, int]) -> None:
    """Die with the first process, which alone holds the other end of this pipe."""
    close(alive[1])
    process.die_with_parent()
    if process.has_hung_up(alive[0]):
        os._exit(1)
    close(alive[0])


def _watch(handler_pid: int, status: int, *, is_command: bool, sweeps: bool) -> NoReturn:
    awaited = _AWAITED_WHERE_SWEPT if sweeps else _AWAITED
    while True:
        number = sigwaitinfo(awaited).si_signo  # sigwait would make an enum of the number.
        if number == signal.SIGTERM:
            _soft_stop(handler_pid, is_command=is_command)
        elif number == signal.SIGHUP:
            proc_tree.end_all([getpid()])
            os._exit(1)
        else:
            _reap(handler_pid, status)


def _soft_stop(handler_pid: int, *, is_command: bool) -> None:
    try:
        if is_command:
            os.killpg(handler_pid, signal.SIGTERM)
        else:
            os.kill(handler_pid, signal.SIGTERM)
    except ProcessLookupError:
        # It has not made its own group yet, or ended just now.
        os.kill(handler_pid, signal.SIGTERM)


def _reap(handler_pid: int, status: int) -> None:
    """Reap whoever has ended; when it is the handler's process, say how and exit at once."""
    while True:
        try:
            pid, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            os._exit(1)
        if pid == 0:
            return
        if pid == handler_pid:
            os.write(status, b"%d" % how)
            os._exit(0)
