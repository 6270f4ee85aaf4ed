"""Which code ran, which is in force, and why it is not what the files say: `faasd why` in sentences, pure."""

from __future__ import annotations

from dataclasses import dataclass

from faasd.clock import to_iso
from faasd.model.function import Function
from faasd.model.reload import LastReload

__all__ = ["CodeFacts", "explain_code", "explain_code_of_invocation"]


@dataclass(frozen=True)
class CodeFacts:
    """What is known of a function's code. `kept` says why it is not as its files say."""

    function: Function
    since: float | None = None  # When this version came into service.
    is_pinned: bool = False
    kept: str | None = None
    last_reload: LastReload | None = None


def explain_code(facts: CodeFacts) -> list[str]:
    """Say which version new attempts run, and what keeps a newer one from it."""
    function = facts.function
    if not function.code_version:
        return []
    version = function.version_with_layers
    if function.in_place_because:
        said = (
            f"Its code runs in place, where a change is in force at once, because "
            f"{function.in_place_because}; it was version {version} when it was read."
        )
        return [said, *_held_up(facts)]
    since = f" since {to_iso(facts.since)}" if facts.since is not None else ""
    said = f"Version {version} of its code is in force{since}."
    if facts.is_pinned:
        said += f" It is pinned to that; `faasd functions unpin {function.name}` runs what is on the disk."
    return [said, *_held_up(facts)]


def explain_code_of_invocation(
    facts: CodeFacts, *, state: str, number: int, ran: str | None
) -> list[str]:
    """Say which version attempt `number` ran or runs, and whether another one is in force by now.

    `ran` is that version, None before the first attempt.
    """
    now = facts.function.version_with_layers
    if not facts.function.code_version:
        return []
    held_up = _held_up(facts) if state == "waiting" else []
    if ran is None:
        return [f"It is to run version {now} of the code.", *held_up] if state == "waiting" else []
    verb = "runs" if state == "running" else "ran"
    said = f"Attempt {number} {verb} version {ran} of the code"
    if ran == now:
        return [f"{said}, which is in force.", *held_up]
    return [f"{said}; version {now} is in force now.", *held_up]


def _held_up(facts: CodeFacts) -> list[str]:
    """Say why what the files say now is not in force."""
    last = facts.last_reload
    if facts.kept is not None:
        return [f"What its files say now is not in force: {_one_line(facts.kept)}."]
    if last is not None and last.result == "refused":
        why = _one_line(last.error or "")
        return [
            f"The last reload, at {to_iso(last.at)}, was refused, and nothing has changed: {why}."
        ]
    return []


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip()).rstrip(".")
