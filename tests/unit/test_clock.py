"""Times as text, and back."""

from __future__ import annotations

import pytest

from faasd.clock import from_iso, to_iso


def test_a_time_comes_back_from_its_text() -> None:
    """What a listing prints can be given to `--since`."""
    assert to_iso(1_750_000_000.25) == "2025-06-15T15:06:40.250Z"
    assert from_iso("2025-06-15T15:06:40.250Z") == 1_750_000_000.25
    assert to_iso(None) is None


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (1e15, "9999-12-31T23:59:59.000Z"),
        (float("inf"), "9999-12-31T23:59:59.000Z"),
        (-1e15, "0001-01-01T00:00:00.000Z"),
    ],
)
def test_every_time_can_be_shown(at: float, shown: str) -> None:
    """One invocation that is due after the year 9999 must not keep all others from being listed."""
    assert to_iso(at) == shown
