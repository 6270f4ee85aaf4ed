"""What a reload has done, for whoever asked for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "CHANGES",
    "RELOAD_RESULTS",
    "FunctionChange",
    "FunctionVersion",
    "LastReload",
    "ReloadReport",
    "SettingChange",
    "by_reason",
]

#: What a reload can do to a function, each word with its meaning. The order is the order of listings.
CHANGES = {
    "added": "It was not there before.",
    "changed": "New attempts run its new code or settings; running ones finish on the old.",
    "kept": "Its new code or settings are broken, so what was in service stays there.",
    "refused": "Its new code or settings are broken, and there is nothing older to keep.",
    "removed": "It is not declared any more; events that wait for it go on waiting.",
    "unchanged": "Nothing of it has changed.",
}

#: How a reload ends, each word with its meaning.
RELOAD_RESULTS = {
    "applied": "Something has changed, and all that the files say is in force.",
    "partial": "Some functions are kept as they were, or refused, because what the files say of them is broken.",
    "unchanged": "What the files say was in force already.",
    "refused": "Nothing has changed, because of a mistake that concerns everything.",
}


def by_reason(reasons: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return for each reason who has it, as the beginning of a sentence: one broken module has many functions.

    `reasons` are pairs of a function and its reason.
    """
    names: dict[str, list[str]] = {}
    for function, reason in reasons:
        names.setdefault(reason, []).append(repr(function))
    return [
        (
            f"functions {', '.join(those)} are" if len(those) > 1 else f"function {those[0]} is",
            reason,
        )
        for reason, those in names.items()
    ]


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

    @property
    def mistakes(self) -> str:
        """What keeps the others from being as the files say; "" of a whole one."""
        said = []
        for change in ("kept", "refused"):
            found = [one for one in self.changes if one.change == change]
            reasons = by_reason((one.function, one.reason or "") for one in found)
            said += [f"{who} {change}: {reason}" for who, reason in reasons]
        return "; ".join(said)

    @property
    def result(self) -> str:
        """How it ended as far as functions are concerned: a key of RELOAD_RESULTS, never `refused`."""
        if not self.is_whole:
            return "partial"
        is_changed = any(one.change != "unchanged" for one in self.changes)
        return "applied" if is_changed else "unchanged"


@dataclass(frozen=True)
class LastReload:
    """How the last reload ended, and when. `error` says what was wrong with `partial` and `refused` ones."""

    result: str  # A key of RELOAD_RESULTS.
    at: float
    error: str | None = None


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
