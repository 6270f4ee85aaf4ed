"""clone3(2): a fork that can open namespaces, hand back a pidfd and start inside a cgroup.

Only for single-threaded callers. Python's own fork bookkeeping is run around the system call, so the
child is a sound interpreter; what glibc does around fork is not: see `end_library_threads`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import platform
import signal
import sys
from collections.abc import Sequence

__all__ = [
    "NEWIPC",
    "NEWNET",
    "NEWNS",
    "NEWPID",
    "NEWUSER",
    "NEWUTS",
    "end_library_threads",
    "fork",
]

NEWNS = 0x00020000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWUSER = 0x10000000
NEWPID = 0x20000000
NEWNET = 0x40000000
_PIDFD = 0x00001000
_INTO_CGROUP = 0x200000000
#: clone3 came after the system call tables were unified, so every architecture but alpha says 435.
_NUMBER = ctypes.c_long(435 if platform.machine() != "alpha" else 545)


class _CloneArgs(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in (
        "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls",
        "set_tid", "set_tid_size", "cgroup",
    )]  # fmt: skip


# PyDLL keeps the GIL during the call: releasing it between BeforeFork and AfterFork is not allowed.
_libc = ctypes.PyDLL(None, use_errno=True)
# Made once: after a fork, each object that either side makes or touches may cost it the copy of a page.
_pidfd = ctypes.c_int(-1)
_args = _CloneArgs(pidfd=ctypes.addressof(_pidfd), exit_signal=signal.SIGCHLD)
_clone3 = functools.partial(
    _libc.syscall,
    _NUMBER,
    ctypes.byref(_args),
    ctypes.c_size_t(ctypes.sizeof(_args)),
)


def fork(
    flags: int = 0, cgroup_fds: Sequence[int] = (), *, is_plain: bool = False
) -> tuple[int, int]:
    """Fork into new namespaces; returns (pid, pidfd), or (0, -1) in the child.

    `cgroup_fds` are the directory of a cgroup v2 in which the child starts, and its `cgroup.procs`, open
    for writing. Raises OSError when the host refuses the namespaces. Where clone3 itself is missing or
    filtered, a plain fork serves as long as no namespaces are asked for.

    `is_plain` is for a child that runs nobody's code but ours, and forks those that do: it does
    without Python's fork bookkeeping (new seeds, new locks, the hooks of `os.register_at_fork`) where
    this thread is the only one, so that nothing is held or half done that would need it.
    """
    has_bookkeeping = not is_plain or len(sys._current_frames()) > 1  # noqa: SLF001 - documented.
    _args.flags = flags | _PIDFD | (_INTO_CGROUP if cgroup_fds else 0)
    _args.cgroup = cgroup_fds[0] if cgroup_fds else 0
    api = ctypes.pythonapi
    if has_bookkeeping:
        api.PyOS_BeforeFork()
    pid: int = _clone3()
    if pid == 0:
        if has_bookkeeping:
            api.PyOS_AfterFork_Child()
        return 0, -1
    error = ctypes.get_errno() if pid < 0 else 0
    if has_bookkeeping:
        api.PyOS_AfterFork_Parent()
    if pid > 0:
        return pid, _pidfd.value  # The kernel has made it close-on-exec.
    if error in (errno.ENOSYS, errno.EPERM) and not flags:
        return _plain_fork(cgroup_fds)
    raise OSError(error, f"clone3: {os.strerror(error)}")


def end_library_threads() -> None:
    """Have C libraries end the threads that they keep, as they do for fork(2) and are not asked to for clone3(2).

    OpenBLAS, for one, starts some as soon as numpy is imported. It would wait for them in every process that a
    clone forks in turn, where they do not exist. Ended, they are started again by whoever computes.
    """
    if len(os.listdir("/proc/self/task")) == 1:
        return
    pid = _libc.fork()
    if pid == 0:
        os._exit(0)  # At once: without Python's bookkeeping, this is no sound interpreter.
    if pid > 0:
        with contextlib.suppress(ChildProcessError):  # Ignored SIGCHLD leaves nobody to reap.
            os.waitpid(pid, 0)


def _plain_fork(cgroup_fds: Sequence[int]) -> tuple[int, int]:
    """Fork, and move the child into its cgroup while it waits: systemd's RestrictNamespaces= hides clone3.

    By the file that somebody else has opened: the walls around a zygote's files keep it from doing so.
    """
    gate, opener = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(opener)
        if not os.read(gate, 1):
            os._exit(1)  # Our parent died, or could not move us.
        os.close(gate)
        return 0, -1
    os.close(gate)
    try:
        if cgroup_fds:
            os.write(cgroup_fds[1], str(pid).encode())
        os.write(opener, b"1")
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(opener)
