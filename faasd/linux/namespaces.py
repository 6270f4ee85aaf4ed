"""User namespaces: the maps that make one usable."""

from __future__ import annotations

import os
from collections.abc import Iterable

__all__ = ["map_child", "map_ourselves"]


def map_ourselves(uid: int, gid: int) -> None:
    """In a new user namespace, be the same uid and gid as outside; nobody else exists there.

    Works for an ordinary user, who may map only himself and must give up setgroups first.
    """
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


def map_child(pid: int, uid: int, gids: Iterable[int]) -> None:
    """Let a child's new user namespace have this user and these groups, as outside; for root in the namespace above."""
    _write(f"/proc/{pid}/uid_map", f"{uid} {uid} 1")
    # One map, with a line for each; the kernel takes 340 lines.
    _write(f"/proc/{pid}/gid_map", "\n".join(f"{gid} {gid} 1" for gid in sorted(set(gids))))


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
