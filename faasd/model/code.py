"""Code as it is run: a kept version of a directory, or the directory itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

__all__ = ["KeepCode", "KeptCode", "KnownVersions", "ServedVersion"]


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


#: (file or directory, what in it is linked, what is left out) → what became of it. Blocks; may raise VersionError.
KeepCode = Callable[[str, Collection[str], Collection[str]], KeptCode]


@dataclass(frozen=True)
class ServedVersion:
    """A version of a function's code, the directory it was taken from, and since when it is in service."""

    function: str
    version: str
    source: str
    served_at: float


@dataclass(frozen=True)
class KnownVersions:
    """Versions that were in service, the last first; pins by function; and named ones by (function, alias)."""

    served: tuple[ServedVersion, ...]
    pins: Mapping[str, ServedVersion]
    aliases: Mapping[tuple[str, str], ServedVersion]

    def served_by(self, function: str) -> tuple[ServedVersion, ...]:
        """Return the versions that this function had in service, the last first."""
        return tuple(one for one in self.served if one.function == function)
