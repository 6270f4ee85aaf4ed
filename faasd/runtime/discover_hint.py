"""Says which wall an import ran into while its module was looked at, and what to do about it."""

from __future__ import annotations

import errno
import os
from typing import Any

from faasd.runtime.os_errors import os_errors
from faasd.runtime.private_view import is_in

__all__ = ["import_hint"]

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_PRIVATE = ("/run", "/tmp", "/dev/shm")
_IN_FILE = "in `read` in the configuration file, under [defaults] or the function's own table (a decorator's list is not known yet)"


def import_hint(error: BaseException, files: dict[str, Any]) -> str | None:
    """Return a hint for what the wall in discover_walls.py has refused; None where it was not the wall.

    `files` is what that wall was made of, with `is_walled`: whether it stands.
    """
    for record in os_errors(error) if files["is_walled"] else ():
        for path in record["paths"]:
            said = None
            if record["errno"] in _REFUSED:
                said = _hint(path, files)
            elif record["errno"] == errno.ENOENT:
                said = _missing(path, files)
            if said is not None:
                return said
        is_connect = not record["paths"] and "connect" in (*record["frames"], record["line"])
        if record["errno"] == errno.ENOENT and (is_connect or ".connect(" in record["line"]):
            return _not_given("a Unix socket that it wanted to connect to", files)
    return None


def _missing(path: str, files: dict[str, Any]) -> str | None:
    if _is_in_any(path, files["hidden"]):
        return _hint(path, files)
    is_private = any(is_in(path, place) for place in _PRIVATE)
    return _not_given(repr(path), files) if is_private else None


def _not_given(what: str, files: dict[str, Any]) -> str | None:
    if not files["has_view"]:
        return None
    return (
        "of the host's /run, /tmp and /dev/shm a module that is being looked at sees only what it was given; if "
        f"{what} is there, name it {_IN_FILE}, or use it in the handler"
    )


def _hint(path: str, files: dict[str, Any]) -> str | None:
    if _is_in_any(path, files["hidden"]):
        return f"{path!r} belongs to faasd itself (wall 'files'); nothing opens it to a module or a function"
    if not files["has_view"] and _is_in_any(path, files["own"]):
        return None
    if _is_in_any(path, files["closed"]) and not _is_in_any(path, files["read"]):
        return (
            f"the wall 'files' is in the way: {path!r} is closed to a module that is being looked at; name it "
            f"{_IN_FILE}, or open it in the handler"
        )
    # What can be read, or is not there yet, was to be written.
    if os.access(path, os.R_OK) or not os.path.lexists(path):
        return (
            f"the wall 'files' is in the way: a module that is being looked at writes nothing, so not {path!r} either; write "
            "it in the handler, and give the function `write`"
        )
    return None  # The file's own permissions.


def _is_in_any(path: str, places: list[str]) -> bool:
    return any(is_in(path, os.path.realpath(place)) for place in places)
