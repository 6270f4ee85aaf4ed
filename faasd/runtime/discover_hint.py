"""Says which wall an import ran into while its module was looked at, and what to do about it."""

from __future__ import annotations

import errno
import os
from typing import Any

from faasd.runtime.os_errors import os_errors
from faasd.runtime.private_view import is_in

__all__ = ["import_hint"]

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def import_hint(error: BaseException, files: dict[str, Any]) -> str | None:
    """Return a hint for what the wall in discover_walls.py has refused; None where it was not the wall.

    `files` is what that wall was made of, with `is_walled`: whether it stands.
    """
    if not files["is_walled"]:
        return None
    for record in os_errors(error):
        for path in record["paths"]:
            said = _hint(path, files) if record["errno"] in _REFUSED else None
            if said is not None:
                return said
    return None


def _hint(path: str, files: dict[str, Any]) -> str | None:
    if _is_in_any(path, files["hidden"]):
        return f"{path!r} belongs to faasd itself (wall 'files'); nothing opens it to a module or a function"
    if is_in(path, os.path.realpath(files["tmp_dir"])):
        return None
    if _is_in_any(path, files["closed"]) and not _is_in_any(path, files["read"]):
        return (
            f"the wall 'files' is in the way: {path!r} is closed to a module that is being looked at; name it in `read` in "
            "the configuration file, under [defaults] or the function's own table (a decorator's list is not known yet), "
            "or open it in the handler"
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
