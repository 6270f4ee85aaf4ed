"""A disk without room for what a sandbox needs: attempts wait for some, and spend nothing.

Failing them would fail every event of a long queue, and again, until each is a dead letter. So the attempts that
have a slot keep it, and the rest of the queue stays as it is.
"""

from __future__ import annotations

import asyncio
import errno
import os

from faasd.errors import NoRoomOnDisk, SandboxError
from faasd.logs import get_logger

__all__ = ["cannot_make", "is_full", "wait_for_room"]

_log = get_logger("sandbox")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_RETRY_S = 1.0


def is_full(error: OSError) -> bool:
    """Whether what failed did so for want of room."""
    return error.errno in _FULL


def cannot_make(what: str, error: OSError) -> SandboxError:
    """Return the error that says so, of the kind that is waited for if that can help."""
    kind = NoRoomOnDisk if is_full(error) else SandboxError
    return kind(f"cannot make {what}: {os.strerror(error.errno) if error.errno else error}")


async def wait_for_room(stop: asyncio.Future[str], function: str, error: Exception) -> None:
    """Wait a moment before the next try, or until `stop` is resolved."""
    _log.warning("attempt_delayed", function=function, error=str(error))
    await asyncio.wait({stop}, timeout=_RETRY_S)
