"""Identifiers that sort by the time they were made."""

from __future__ import annotations

import os
import time
from collections import deque

__all__ = ["new_id"]


_NOISE_BYTES = 10
#: A system call for each id, in which other threads take their turn, costs more than the id.
_AT_ONCE = 100
_noise: deque[bytes] = deque()  # Whatever thread takes one takes it alone.
os.register_at_fork(after_in_child=_noise.clear)


def new_id() -> str:
    """Return a UUID version 7 (RFC 9562) as text: unique, and ordered by creation time."""
    milliseconds = time.time_ns() // 1_000_000
    noise = int.from_bytes(_take_noise(), "big")
    value = (milliseconds & (2**48 - 1)) << 80 | 7 << 76 | (noise >> 68 & 0xFFF) << 64
    value |= 2 << 62 | noise & (2**62 - 1)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _take_noise() -> bytes:
    try:
        return _noise.pop()
    except IndexError:
        fresh = os.urandom(_NOISE_BYTES * _AT_ONCE)
    _noise.extend(
        fresh[begin : begin + _NOISE_BYTES]
        for begin in range(_NOISE_BYTES, len(fresh), _NOISE_BYTES)
    )
    return fresh[:_NOISE_BYTES]
