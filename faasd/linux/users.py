"""Becoming another user, for good: ids, groups, and what the kernel takes away in passing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from faasd.linux import process

__all__ = ["become", "closed_part"]


def become(uid: int, gid: int, groups: Sequence[int]) -> None:
    """Take a user's ids and groups; nothing leads back. Raises OSError.

    The kernel then treats a process as if it held another user's secrets: its /proc belongs to root and
    its parent's death goes unnoticed. The first is undone here; the second is for the caller to ask for again.
    """
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    process.set_dumpable(is_dumpable=True)


def closed_part(paths: Iterable[str]) -> tuple[str, str] | None:
    """Return the first of these paths that we may not read, and which part of it is closed to us; None when all may."""
    for path in paths:
        if os.access(path, os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK):
            continue
        part = path
        while part != "/" and not os.access(os.path.dirname(part), os.X_OK):
            part = os.path.dirname(part)
        if os.path.lexists(part):
            return path, part
    return None
