"""Handlers that reach for other processes, for privileges, and for what the daemon left lying about."""

import ctypes
import errno
import os
import resource
import subprocess
import sys

_libc = ctypes.CDLL(None, use_errno=True)


_ASK = """
import ctypes
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
sets = (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capget(header, sets) == 0
print(*[low | high << 32 for low, high in zip(sets[:3], sets[3:])])
"""


def _capabilities():
    """Return the effective, permitted and inheritable ones."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    if _libc.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    return [low | high << 32 for low, high in zip(sets[:3], sets[3:])]  # noqa: B905 - CPython 3.9.


AT_IMPORT = _capabilities()


def signal_process(event, context):
    """Send a signal that does nothing to a process outside, or to all (-1); returns what that was answered."""
    try:
        os.kill(event, 0)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"


def capabilities(event, context):
    """Of the import, of the handler, and of a program that it runs."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", _ASK], capture_output=True, text=True, check=True
    )
    ran = [int(word) for word in done.stdout.split()]
    return {"import": AT_IMPORT, "handler": _capabilities(), "program": ran}


def run_program(event, context):
    """Run a program; returns what it printed."""
    return subprocess.run([event], capture_output=True, text=True, check=True).stdout


def core_limits(event, context):
    return list(resource.getrlimit(resource.RLIMIT_CORE))


def crash(event, context):
    os.abort()


def environment(event, context):
    return dict(os.environ)


def _write(path, text):
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def run_at_real_time(event, context):
    """Ask for a priority that nobody else gets past."""
    found = []
    for ask in (
        lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)),
        lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
        lambda: resource.setrlimit(resource.RLIMIT_CORE, (2**20, 2**20)),
        lambda: _write("/proc/self/oom_score_adj", b"-900"),
    ):
        try:
            ask()
            found.append("ok")
        except (OSError, ValueError) as error:
            found.append(type(error).__name__)
    return found
