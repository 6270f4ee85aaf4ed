"""Imports one module of functions and reports what it declares. Runs inside a process of its own.

Called as `PYTHON -I bootstrap.py discover REPORT_FD REQUEST`, with REQUEST a JSON object: `module`,
`code_dir`, `attributes`, `timeout_s`. The answer is one JSON object on REPORT_FD:

    {"file": …, "functions": [{"name", "handler", "settings", "file", "line"}],
     "attributes": {name: null | what is wrong}, "problems": [{"message", "file", "line", "warning"}]}

Three processes where this host gives us a PID namespace, else two. The keeper, which is first in the
namespace, keeps the time limit and clears away whatever the module has started; the worker imports the
module. Outside the namespace one waits for the keeper. Nothing here can be trusted once the module has run,
so the daemon keeps a later limit of its own and checks every value.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from typing import Any, NoReturn

from faasd.linux import clone, namespaces, process, rlimits, seccomp
from faasd.runtime import discover_view, discover_walls, system_call_filter
from faasd.runtime.discover_module import examine

__all__ = ["main"]

_PACKAGE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Generous: large libraries map a lot on import. It stops only what would hurt the host.
_DATA_BYTES_MAX = 8 * 2**30
_FILE_BYTES_MAX = 2**30
#: The module gets this long to react to the alarm before it is killed.
_ALARM_MARGIN_S = 1.0
_APART = clone.NEWPID | clone.NEWIPC | clone.NEWUTS
#: How the keeper says that it could not have these namespaces, or not make of them what they are for.
_NOT_APART = 75


def main(arguments: list[str]) -> None:
    """Supervise one import and see that nothing of it is left."""
    report_fd, request = int(arguments[0]), json.loads(arguments[1])
    os.set_inheritable(report_fd, False)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    own = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path, _PACKAGE_DIR} - {"/", ""}
    request["files"]["read"] += own
    # With a user namespace first, as root too: then no capability is worth anything outside.
    users = (clone.NEWUSER, 0) if os.geteuid() == 0 else (clone.NEWUSER,)
    for flags in [_APART | user | view for user in users for view in (clone.NEWNS, 0)]:
        code = _keep_apart(report_fd, request, flags)
        if code != _NOT_APART:
            os._exit(code)
    _keep(report_fd, request, is_apart=False)


def _keep_apart(report_fd: int, request: dict[str, Any], flags: int) -> int:
    """Keep an import from within new namespaces, which end with it; returns the keeper's exit code."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        pid, pidfd = clone.fork(flags)
    except OSError:
        return _NOT_APART
    if pid == 0:
        try:
            if flags & clone.NEWUSER:
                namespaces.map_ourselves(uid, gid)
            if flags & clone.NEWNS:
                discover_view.build(request["files"], request["code_dir"])
        except OSError:
            os._exit(_NOT_APART)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _keep(report_fd, request, is_apart=True)
    os.close(pidfd)
    status = os.waitpid(pid, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1


def _keep(report_fd: int, request: dict[str, Any], *, is_apart: bool) -> NoReturn:
    """Have the module imported, and end what is left of it; `is_apart` is in a PID namespace, as its first process."""
    # Orphans of the module, however detached, become children of this process, which ends them.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # Waited for, in `_wait_for`.
    worker = os.fork()
    if worker == 0:
        _work(report_fd, request)
    failure = _wait_for(worker, float(request["timeout_s"]))
    left = _end_namespace() if is_apart else _end_descendants()
    if failure is not None:
        _write(report_fd, {"problems": [{"message": failure}]})
    elif left:
        note = f"started {left} process{'es' if left > 1 else ''} while it was imported; ended now"
        _write(report_fd, {"problems": [{"message": note, "warning": True}]})
    os._exit(0)


def _work(report_fd: int, request: dict[str, Any]) -> None:
    """Import and report; never returns."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, _DATA_BYTES_MAX),
        (resource.RLIMIT_FSIZE, _FILE_BYTES_MAX),
        (resource.RLIMIT_NOFILE, rlimits.open_files_within()),
    ):
        hard = resource.getrlimit(limit)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (allowed, allowed))
    sys.argv = [request["module"]]
    _close_in(request["files"])
    report = examine(request)
    sys.stdout.flush()
    sys.stderr.flush()
    _write(report_fd, report)
    # No atexit handlers and no waiting for threads: the module has nothing more to say.
    os._exit(0)


def _close_in(files: dict[str, Any]) -> None:
    """Take from the module what its functions will not have either, as far as that needs no settings of theirs."""
    process.forbid_new_privileges()
    process.drop_capabilities()
    files["is_walled"] = discover_walls.close_in(files) or files["has_view"]
    if seccomp.is_available():
        system_call_filter.for_zygote(True, has_own_network=False).load()
        system_call_filter.for_attempt().load()


def _wait_for(worker: int, timeout_s: float) -> str | None:
    """Wait for the worker's end; returns what is wrong with how it ended."""
    # Not through a pidfd: `os.pidfd_open` is missing from Pythons that were built on an old system.
    deadline = time.monotonic() + timeout_s + _ALARM_MARGIN_S
    ended, status = os.waitpid(worker, os.WNOHANG)
    while not ended and time.monotonic() < deadline:
        signal.sigtimedwait({signal.SIGCHLD}, max(0.0, deadline - time.monotonic()))
        ended, status = os.waitpid(worker, os.WNOHANG)
    if not ended:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
        return f"its import did not end within {timeout_s:g}s and was killed"
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return f"its import was killed by {name}"
    if os.WEXITSTATUS(status) != 0:
        return f"its import ended the process with exit code {os.WEXITSTATUS(status)}"
    return None


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


def _end_descendants() -> int:
    """Kill until no child is left; returns how many there were.

    Each round kills the direct children. What they leave behind comes to this process, the nearest
    subreaper, and is killed in the next round.
    """
    count = 0
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        children = _children()
        if not children:
            break
        for pid in children:
            os.kill(pid, signal.SIGKILL)  # Not reaped yet, so the number is still its own.
            os.waitpid(pid, 0)
            count += 1
    return count


def _children() -> list[int]:
    own = os.getpid()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            # Not through pathlib, whose import would take longer than the rest of this file.
            with open(f"/proc/{entry}/stat", "rb") as file:
                after_name = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # It ended while we looked.
        if len(after_name) > 1 and int(after_name[1]) == own:
            found.append(int(entry))
    return found


def _write(report_fd: int, report: dict[str, Any]) -> None:
    """Write one report as a line of its own."""
    data = json.dumps(report).encode() + b"\n"
    while data:
        data = data[os.write(report_fd, data) :]


def _prctl(option: int, value: int) -> None:
    # A failure leaves the daemon's own limit and the process group, so it is not fatal.
    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)
