"""One look at one module: imports it behind walls of its own and reports what it declares.

The request is a JSON object: `module`, `code_dir`, `layers`, `attributes`, `timeout_s`, `env`, and `files`, which the
walls are made of. The report is one JSON object a line:

    {"file": …, "functions": [{"name", "handler", "settings", "file", "line"}],
     "attributes": {name: null | what is wrong}, "problems": [{"message", "file", "line", "warning"}]}

Two processes. The keeper, which is the first in its PID namespace where this host gives us one, keeps the time limit
and clears away whatever the module has started; the worker imports the module. Nothing here can be trusted
once the module has run, so the daemon keeps a later limit of its own and checks every value.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any, NoReturn

from faasd.linux import clone, namespaces, proc_tree, process, rlimits, seccomp
from faasd.runtime import discover_view, discover_walls, system_call_filter
from faasd.runtime.discover_module import examine

__all__ = ["NOT_APART", "prepare", "run"]

#: How a keeper says that it could not make of its namespaces what they are for.
NOT_APART = 75
_PACKAGE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Generous: large libraries map a lot on import. It stops only what would hurt the host.
_LIMITS = {"CORE": 0, "DATA": 8 * 2**30, "FSIZE": 2**30}
#: The module gets this long to react to the alarm before it is killed.
_ALARM_MARGIN_S = 1.0
_filters: list[seccomp.Filter] = []
_user: list[int] = []
_own_places: list[str] = []


def prepare() -> None:
    """Make once, before the first look, what all of them need."""
    _user[:] = [os.geteuid(), os.getegid()]  # In a new user namespace they are unmapped at first.
    own = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path, _PACKAGE_DIR} - {"/", ""}
    _own_places[:] = {os.path.realpath(path) for path in own if os.path.exists(path)}
    if seccomp.is_available():
        _filters[:] = [
            system_call_filter.for_zygote(True, has_own_network=False),
            system_call_filter.for_attempt(),
        ]


def run(given: tuple[int, int, int], timeout_s: float, flags: int) -> NoReturn:
    """Be the keeper of a look, in the namespaces that it was forked into with these flags; never returns.

    It touches as little as it can: each page that it shares with the looker is copied when it does.
    """
    code = 1
    try:
        process.die_with_parent()
        os.setsid()
        request, report, output = given
        for fd in (1, 2):
            os.dup2(output, fd)
        os.close(output)
        code = _keep(request, report, timeout_s, flags)
    finally:
        os._exit(code)


def _keep(request: int, report: int, timeout_s: float, flags: int) -> int:
    """Have the module imported, and end what is left of it; returns our exit code."""
    # Orphans of the module, however detached, become children of this process, which ends them.
    process.become_subreaper()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # Waited for, in `_wait_for`.
    is_closed_in, closed_in = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(is_closed_in)
        _work(request, report, closed_in, flags)
    os.close(closed_in)
    failure, code = _wait_for(worker, timeout_s)
    left = _end_namespace() if flags & clone.NEWPID else proc_tree.end_all([os.getpid()])
    if code == NOT_APART and not os.read(is_closed_in, 1):
        return NOT_APART
    if failure is not None:
        _write(report, {"problems": [{"message": failure}]})
    elif left:
        note = f"started {left} process{'es' if left > 1 else ''} while it was imported; ended now"
        _write(report, {"problems": [{"message": note, "warning": True}]})
    return 0


def _work(request_fd: int, report_fd: int, closed_in: int, flags: int) -> NoReturn:
    """Import and report; never returns."""
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        process.die_with_parent()
        request = _read(request_fd)
        if _is_apart(request, flags):
            report = _begin(request)
            os.write(closed_in, b"1")  # The module must not be able to say otherwise.
            os.close(closed_in)
            report = report or examine(request)
            sys.stdout.flush()
            sys.stderr.flush()
            _write(report_fd, report)
            code = 0
        else:
            code = NOT_APART
    finally:
        # No atexit handlers and no waiting for threads: the module has nothing more to say.
        os._exit(code)


def _read(fd: int) -> dict[str, Any]:
    """Read the request: by its position, which is the same for whoever else has the descriptor."""
    text = b""
    while data := os.pread(fd, 2**20, len(text)):
        text += data
    os.close(fd)
    request: dict[str, Any] = json.loads(text)
    request["files"]["read"] += _own_places
    os.environ.update(request["env"])
    return request


def _is_apart(request: dict[str, Any], flags: int) -> bool:
    """Make of new namespaces what they are for; False where this host refuses that."""
    try:
        if flags & clone.NEWUSER:
            namespaces.map_ourselves(*_user)
        if flags & clone.NEWNS:
            discover_view.build(request["files"], request["code_dir"])
    except OSError:
        return False
    return True


def _begin(request: dict[str, Any]) -> dict[str, Any] | None:
    """Close ourselves in; returns a report when that cannot be done."""
    directory = request["code_dir"] or "/"
    try:
        os.chdir(directory)
    except OSError as error:
        return {"problems": [{"message": f"cannot be imported from {directory}: {error.strerror}"}]}
    try:
        for name, value in _LIMITS.items():
            rlimits.lower(name, value)
        rlimits.lower("NOFILE", rlimits.open_files_within())
        sys.argv = [request["module"]]
        _close_in(request["files"])
    except OSError as error:
        return {"problems": [{"message": f"cannot be imported: it cannot be contained: {error}"}]}
    return None


def _close_in(files: dict[str, Any]) -> None:
    """Take from the module what its functions will not have either, as far as that needs no settings of theirs."""
    process.forbid_new_privileges()
    process.drop_capabilities()
    files["is_walled"] = discover_walls.close_in(files) or files["has_view"]
    for one in _filters:
        one.load()


def _wait_for(worker: int, timeout_s: float) -> tuple[str | None, int]:
    """Wait for the worker's end; returns what is wrong with how it ended, and its exit code."""
    # Not through a pidfd: `os.pidfd_open` is missing from Pythons that were built on an old system.
    deadline = time.monotonic() + timeout_s + _ALARM_MARGIN_S
    ended, status = os.waitpid(worker, os.WNOHANG)
    while not ended and time.monotonic() < deadline:
        signal.sigtimedwait({signal.SIGCHLD}, max(0.0, deadline - time.monotonic()))
        ended, status = os.waitpid(worker, os.WNOHANG)
    if not ended:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
        return f"its import did not end within {timeout_s:g}s and was killed", 1
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return f"its import was killed by {name}", 1
    code = os.WEXITSTATUS(status)
    return f"its import ended the process with exit code {code}" if code else None, code


def _end_namespace() -> int:
    """Kill all others in our PID namespace; returns how many there were."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return 0  # Nobody else is here.
    count = 0
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return count
        count += 1


def _write(report_fd: int, report: dict[str, Any]) -> None:
    """Write one report as a line of its own."""
    data = json.dumps(report).encode() + b"\n"
    while data:
        data = data[os.write(report_fd, data) :]
