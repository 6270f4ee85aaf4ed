"""The file wall of a process that imports a module to see what it declares.

What a module's functions may read is not known before its import, so reading is broad: everything but the hidden
places, of /etc a list alone, and no home but the code's own. Writing is closed but for a private directory.
"""

from __future__ import annotations

import os
from typing import Any

from faasd.linux import landlock
from faasd.runtime.file_walls import PROC_OF_HOST
from faasd.runtime.private_view import is_in

__all__ = ["close_in"]

_DEVICE = landlock.READ | landlock.WRITE_FILE | landlock.TRUNCATE | landlock.IOCTL


def close_in(files: dict[str, Any]) -> bool:
    """Lay the wall upon this process and its descendants; False where the kernel has no Landlock.

    `files` holds `closed` (directories of which nothing is read but what `read` names), `hidden` (out of reach
    whatever `read` says, but for what `shown` names), `read`, `devices`, and `own` (private directories). Raises
    OSError when the kernel refuses the wall. Paths are as in discover_view.py.
    """
    version = landlock.abi()
    if not version:
        return False
    hidden, places = files["hidden"], [*files["hidden"], *files["closed"]]
    ruleset = landlock.Ruleset(version, scopes=True)
    try:
        _allow_around(ruleset, "/", places)
        for path in files["read"]:
            if not _is_allowed(path, places):
                _allow_around(ruleset, path, hidden, is_read=True)
        for path in files["shown"]:
            ruleset.allow_path(path, landlock.READ)
        for path in files["devices"]:
            ruleset.allow_path(path, _DEVICE)
        for name in ("self", *PROC_OF_HOST):
            ruleset.allow_path("/proc/" + name, landlock.READ)
        for path in files["own"]:
            ruleset.allow_path(path, landlock.WRITE)
        if files["has_view"]:
            ruleset.allow_path("/proc", landlock.READ)  # Its own.
        ruleset.restrict()
    finally:
        ruleset.close()
    return True


def _is_allowed(path: str, places: list[str]) -> bool:
    """Whether the rule on a directory of the root is one for this path, as that holds no such place."""
    top = "/" + path.split("/")[1]
    return top != "/" and not any(is_in(place, top) for place in places)


def _allow_around(
    ruleset: landlock.Ruleset, path: str, places: list[str], *, is_read: bool = False
) -> None:
    """Allow reading a path, and where a place is in it, all that is beside that, one by one."""
    if any(is_in(path, place) for place in places):
        return
    if not any(is_in(place, path) for place in places):
        ruleset.allow_path(path, landlock.READ)
        return
    if is_read:  # Names alone: without them nothing could be imported from here.
        ruleset.allow_path(path, landlock.READ_DIR)
    try:
        names = os.listdir(path)
    except OSError:
        return
    for name in names:
        beside = os.path.join(path, name)
        if not os.path.islink(beside):
            _allow_around(ruleset, beside, places, is_read=is_read)
