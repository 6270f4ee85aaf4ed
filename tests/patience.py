"""How long tests wait: on a slow machine `FAASD_TEST_PATIENCE=12` makes every wait twelve times as long.

It stretches what a test allows, never what it asks for: time limits of functions stay as they are.
"""

from __future__ import annotations

import os

__all__ = ["patient"]

_FACTOR = float(os.environ.get("FAASD_TEST_PATIENCE", "1"))


def patient(seconds: float) -> float:
    """Return how long to wait here for what takes an ordinary machine less than `seconds`."""
    return seconds * _FACTOR
