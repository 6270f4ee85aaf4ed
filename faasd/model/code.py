"""Code as it is run: a kept version of a directory, or the directory itself."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KeptCode"]


@dataclass(frozen=True)
class KeptCode:
    """What became of one directory (or file) of code when it was to be kept."""

    source: str
    version: str
    path: str  # Where it runs: the kept version, or the source itself.
    in_place_because: str = ""  # Why it is not kept.

    @property
    def is_kept(self) -> bool:
        """Whether it runs from a version that never changes."""
        return self.path != self.source
