"""Ending what a killed predecessor on the same state directory left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from faasd.linux import proc_tree
from faasd.sandbox.zygote_process import MARK

__all__ = ["end_marked"]


def end_marked(mark: str) -> int:
    """Kill every process whose environment carries a mark that begins like this; returns how many.

    We ourselves and our ancestors are left alone: a daemon may have been restarted from within one of its
    own functions. At most 5 s; what resists longer is in the kernel's hands.
    """
    entry = f"{MARK}={mark}".encode()
    ours = _ourselves_and_ancestors()
    found: set[int] = set()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        marked = {pid for pid in proc_tree.parents() if pid not in ours and _is_marked(pid, entry)}
        marked |= proc_tree.descendants(marked, keep=ours)
        if not marked:
            break
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in marked:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        found |= marked
        time.sleep(0.002)  # Nobody waits but the start of the daemon, or a thread after a disaster.
    return len(found)


def _is_marked(pid: int, entry: bytes) -> bool:
    return any(found.startswith(entry) for found in proc_tree.environment_of(pid).split(b"\0"))


def _ourselves_and_ancestors() -> set[int]:
    found = set()
    pid = os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        stat = proc_tree.stat_of(pid)
        pid = stat.parent if stat is not None else 0
    return found
