"""Identifiers that sort by the time they were made."""

from __future__ import annotations

import os
import time

__all__ = ["new_id"]


def new_id() -> str:
    """Return a UUID version 7 (RFC 9562) as text: unique, and ordered by creation time."""
    milliseconds = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (2**48 - 1)) << 80 | 7 << 76 | (noise >> 68 & 0xFFF) << 64
    value |= 2 << 62 | noise & (2**62 - 1)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
