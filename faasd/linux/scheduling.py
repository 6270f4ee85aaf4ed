"""How the kernel schedules the calling process: all that another process of its user could change about that."""

from __future__ import annotations

import ctypes
import functools
import os
import platform

__all__ = ["state"]

#: sched_getattr and ioprio_get.
_NUMBERS = {"x86_64": (315, 252), "aarch64": (275, 31)}.get(platform.machine())
_ATTRIBUTES_BYTES = 56  # Of struct sched_attr, since Linux 5.3; an older kernel fills fewer.
_WHO_PROCESS = 1

_libc = ctypes.CDLL(None, use_errno=True)
#: Made once, as what is made in a sandbox costs it the copies of pages.
_attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
_get_attributes = functools.partial(
    _libc.syscall,
    ctypes.c_long(_NUMBERS[0] if _NUMBERS else -1),
    ctypes.c_int(0),
    _attributes,
    ctypes.c_uint(_ATTRIBUTES_BYTES),
    ctypes.c_uint(0),
)
_get_io_priority = functools.partial(
    _libc.syscall,
    ctypes.c_long(_NUMBERS[1] if _NUMBERS else -1),
    ctypes.c_int(_WHO_PROCESS),
    ctypes.c_int(0),
)


def state() -> tuple[bytes, int, set[int]]:
    """Return policy, niceness and clamps as the kernel has them, the I/O priority and the processors. Raises OSError."""
    io_priority = _get_io_priority()
    if _get_attributes() != 0 or io_priority < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"sched_getattr, ioprio_get: {os.strerror(error)}")
    return _attributes.raw, io_priority, os.sched_getaffinity(0)
