"""A sandbox's first process: it forks the one that runs the handler, reaps orphans and says how that one ended.

Being apart from the handler keeps the handler's signals what they are elsewhere (the first process of a
PID namespace ignores even its own SIGKILL), and its exit takes the whole namespace with it.
"""

from __future__ import annotations

import os
import signal
from typing import Any, NoReturn

from faasd.linux import proc_tree, process
from faasd.runtime import invoker

__all__ = ["run"]


def run(
    policy: dict[str, Any], channel: int, stdout: int, stderr: int, status: int, lifeline: int
) -> NoReturn:
    """Be the first process of a sandbox; every signal is blocked already. Never returns."""
    has_namespace = "pid" in policy["namespaces"]
    try:
        # Without a namespace nobody ends our tree for us, so we hear of our zygote's end and sweep.
        process.die_with_parent(signal.SIGKILL if has_namespace else signal.SIGHUP)
        if process.has_hung_up(lifeline):
            os._exit(1)
        process.set_name("faasd-sandbox")
        # The first process of a namespace adopts its orphans anyway, and takes all with it when it ends.
        alive = None if has_namespace else os.pipe()
        if alive is not None:
            process.become_subreaper()
        pid = os.fork()
        if pid == 0:
            os.close(status)
            os.close(lifeline)
            if alive is not None:
                _share_its_fate(alive)
            invoker.run(policy, channel, stdout, stderr)
        for fd in (channel, stdout, stderr, *(alive[:1] if alive is not None else ())):
            os.close(fd)
        _watch(pid, status, is_command=policy["module"] is None, sweeps=not has_namespace)
    finally:
        os._exit(1)


def _share_its_fate(alive: tuple[int, int]) -> None:
    """Die with the first process, which alone holds the other end of this pipe."""
    os.close(alive[1])
    process.die_with_parent()
    if process.has_hung_up(alive[0]):
        os._exit(1)
    os.close(alive[0])


def _watch(handler_pid: int, status: int, *, is_command: bool, sweeps: bool) -> NoReturn:
    awaited = {signal.SIGCHLD, signal.SIGTERM} | ({signal.SIGHUP} if sweeps else set())
    while True:
        number = signal.sigwaitinfo(awaited).si_signo  # sigwait would make an enum of the number.
        if number == signal.SIGTERM:
            _soft_stop(handler_pid, is_command=is_command)
        elif number == signal.SIGHUP:
            proc_tree.end_all([os.getpid()])
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
