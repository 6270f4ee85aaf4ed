"""User namespaces: the maps that make one usable."""

from __future__ import annotations

import os

__all__ = ["map_ourselves"]


def map_ourselves(uid: int, gid: int) -> None:
    """In a new user namespace, be the same uid and gid as outside; nobody else exists there.

    Works for an ordinary user, who may map only himself and must give up setgroups first.
    """
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
