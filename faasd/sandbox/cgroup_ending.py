"""Ending what is in a cgroup, and finding the groups that other instances have left."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from faasd.linux import cgroup_v1, cgroup_v2

__all__ = ["end_group", "kill_all", "others"]


def others(root: str, instance: str) -> list[str]:
    """Return the groups below `root` that are not this instance's."""
    with contextlib.suppress(OSError):
        entries = os.scandir(root)
        with entries:
            return [e.path for e in entries if e.is_dir() and not e.name.startswith(f"{instance}-")]
    return []


def kill_all(group: cgroup_v1.Group | cgroup_v2.Group) -> bool:
    """Send SIGKILL to every process in the group; True when there was none."""
    try:
        pids = group.pids()
    except OSError:
        return True
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if pid > 0:
                os.kill(pid, signal.SIGKILL)
    return not pids


def end_group(group: cgroup_v1.Group | cgroup_v2.Group) -> set[int]:
    """Kill a leftover group empty and remove it; returns the processes found. At most 5 s."""
    found: set[int] = set()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            found.update(pid for pid in group.pids() if pid > 0)
        if kill_all(group):
            with contextlib.suppress(OSError):
                group.remove()
                return found
        if not os.path.isdir(group.path):
            return found
        time.sleep(0.002)  # Start of the daemon: nothing else runs yet.
    return found
