"""What the kernel refused a handler: the OSErrors of an exception and of what it came from, for the daemon's hints."""

from __future__ import annotations

import contextlib
import errno
import os
import traceback
from collections.abc import Iterator
from typing import Any

__all__ = ["os_errors"]

_ERRORS_MAX = 3
_CHAIN_MAX = 20
_PATH_CHARS_MAX = 1024
_TEXT_CHARS_MAX = 200
_FRAMES = 4


def os_errors(error: BaseException) -> list[dict[str, Any]]:
    """Return what is known of the OSErrors of an exception and of its causes, contexts and group; never raises.

    Each has `errno`, `paths` (absolute, links followed: inside the sandbox, where that can harm nobody),
    `frames` (the names of the innermost functions), `line` (the innermost line) and `address`.
    """
    found = []
    for one in _chain(error):
        record = None
        with contextlib.suppress(Exception):  # The handler's own exception classes may do anything.
            record = _record(one)
        if record is not None:
            found.append(record)
        if len(found) == _ERRORS_MAX:
            break
    return found


def _chain(error: BaseException) -> Iterator[BaseException]:
    pending = [error]
    seen: set[int] = set()
    while pending and len(seen) < _CHAIN_MAX:
        one = pending.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        group = getattr(one, "exceptions", ())
        following = [one.__cause__, one.__context__, getattr(one, "reason", None)]
        following += group[:_CHAIN_MAX] if isinstance(group, (tuple, list)) else ()
        pending += [each for each in following if isinstance(each, BaseException)]


def _record(error: BaseException) -> dict[str, Any] | None:
    if isinstance(error, OSError) and isinstance(error.errno, int):
        number, paths = error.errno, [error.filename, error.filename2]
    elif isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        number, paths = errno.EAGAIN, []
    else:
        return None
    frames = traceback.extract_tb(error.__traceback__, limit=-_FRAMES)
    return {
        "errno": number,
        "paths": [_absolute(path) for path in paths if isinstance(path, (str, bytes)) and path],
        "frames": [frame.name[:_TEXT_CHARS_MAX] for frame in frames],
        "line": _text((frames[-1].line or "") if frames else "")[:_TEXT_CHARS_MAX],
        "address": _address(error),
        "is_name_lookup": type(error).__name__ == "gaierror",
    }


def _absolute(path: str | bytes) -> str:
    written = os.fsdecode(path)
    return _text(os.path.realpath(written) if written != "" else "")[:_PATH_CHARS_MAX]


def _address(error: BaseException) -> str | None:
    """Return host and port that somebody above wanted, where the standard way to connect was taken."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "create_connection":
            address = frame.f_locals.get("address")
            if isinstance(address, tuple) and len(address) >= 2:
                return _text(f"{address[0]}:{address[1]}")[:_TEXT_CHARS_MAX]
    return None


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()  # Lone surrogates are no text.
