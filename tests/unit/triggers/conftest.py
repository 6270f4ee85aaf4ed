from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

import pytest


@pytest.fixture
def open_descriptors() -> Callable[[], dict[str, str]]:
    """A function that returns this process's open descriptors and what they are."""

    def look() -> dict[str, str]:
        found: dict[str, str] = {}
        for number in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):  # The listing's own descriptor is closed by now.
                found[number] = os.readlink(f"/proc/self/fd/{number}")
        return found

    return look
