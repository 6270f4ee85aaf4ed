"""Whether one path lies below another: by their text, so both are absolute and normal."""

from __future__ import annotations

__all__ = ["is_in"]


def is_in(path: str, place: str) -> bool:
    """Whether a path is a place or below it."""
    return path == place or path.startswith(place.rstrip("/") + "/")
