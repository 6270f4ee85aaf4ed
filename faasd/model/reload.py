"""What a reload has done, for whoever asked for it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CHANGES", "FunctionChange", "FunctionVersion", "ReloadReport", "SettingChange"]

#: What a reload can do to a function, each word with its meaning. The order is the order of listings.
CHANGES = {
    "added": "It was not there before.",
    "changed": "New attempts run its new code or settings; running ones finish on the old.",
    "kept": "Its new code or settings are broken, so what was in service stays there.",
    "refused": "Its new code or settings are broken, and there is nothing older to keep.",
    "removed": "It is not declared any more; events that wait for it go on waiting.",
    "unchanged": "Nothing of it has changed.",
}


@dataclass(frozen=True)
class FunctionChange:
    """What became of one function. `before` and `code_version` are the versions of its code."""

    function: str
    change: str  # A key of CHANGES.
    code_version: str | None = None
    before: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class SettingChange:
    """A setting of [daemon] or [http] that has changed in the file and takes effect at the next start only."""

    setting: str
    in_force: str
    in_file: str


@dataclass(frozen=True)
class ReloadReport:
    """What a reload has done to each function, and what it could not do."""

    changes: tuple[FunctionChange, ...]
    needs_restart: tuple[SettingChange, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether everything that the files say is in force."""
        return not any(one.change in ("kept", "refused") for one in self.changes)


@dataclass(frozen=True)
class FunctionVersion:
    """A version of a function's code that it had in service, as far as it is kept."""

    version: str
    source: str
    served_at: float  # When it last came into service.
    is_in_service: bool
    is_pinned: bool
    aliases: tuple[str, ...]
    is_kept: bool  # Whether it can be gone back to.
    files: int | None = None
    bytes: int | None = None
