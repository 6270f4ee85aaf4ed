"""How an attempt ended, and why an invocation never ran: two closed sets of words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "CHARGED",
    "KILLED",
    "OUTCOME_MEANINGS",
    "REASON_MEANINGS",
    "UNCHARGED",
    "ErrorRecord",
    "Outcome",
    "Usage",
]

#: Outcomes of attempts, each with its meaning. The order is the order of docs and tables.
OUTCOME_MEANINGS = {
    "ok": "The handler returned.",
    "error": "The handler raised, returned what JSON cannot hold, or a command exited other than 0.",
    "timeout": "The attempt was still running at its time limit and its process tree was killed.",
    "oom": "The process tree went over its memory cap and was killed.",
    "crashed": "The handler's process ended by a signal or an exit of its own, without a report.",
    "output-limit": "The attempt printed many times its output limit and was killed.",
    "init-error": "The handler's module could not be imported.",
    "lost": "The daemon or the host died while the attempt ran.",
    "drained": "The daemon stopped before the attempt could finish; it runs again at the next start.",
    "cancelled": "Somebody, or an overlap rule, cancelled it.",
    "sandbox-failed": "faasd could not make or keep the sandbox; the handler is not to blame.",
}

#: Why an invocation ended without an attempt, each with its meaning.
REASON_MEANINGS = {
    "skipped-overlap": "The schedule fired while its last tick was still waiting or running.",
    "missed": "The fire time passed unseen, and the catch-up rule or start deadline left it out.",
    "expired": "It waited longer than `expires` allows.",
    "filtered": "The filter pattern did not match the event.",
    "throttled": "It was refused because too many were running or waiting.",
    "duplicate": "An event with the same dedup key or identity had been accepted before.",
}

#: Outcomes that spend one of the function's attempts.
CHARGED = frozenset({"error", "timeout", "oom", "crashed", "output-limit", "init-error"})
#: Charged outcomes in which the sandbox died with the event in its hands.
KILLED = frozenset({"crashed", "oom"})
#: Outcomes that are not the function's doing and spend none; each has its own cap.
UNCHARGED = frozenset({"lost", "drained", "sandbox-failed"})


@dataclass(frozen=True)
class ErrorRecord:
    """What went wrong, as it is stored and shown. `hint` says which setting would have allowed it."""

    type: str
    message: str
    stack: tuple[str, ...] = ()  # Frames of the handler's own code, outermost first.
    hint: str | None = None

    def __str__(self) -> str:
        """Return it in one line, as Python ends a traceback: a KeyError's message alone is only the key."""
        return f"{self.type}: {self.message}" if self.message else self.type

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready object."""
        stack = list(self.stack)
        return {"type": self.type, "message": self.message, "stack": stack, "hint": self.hint}

    @staticmethod
    def from_json(value: dict[str, Any]) -> ErrorRecord:
        """Read what `to_json` wrote."""
        stack = tuple(value.get("stack", ()))
        return ErrorRecord(value["type"], value["message"], stack, value.get("hint"))


@dataclass
class Usage:
    """What an attempt used. None means that the host could not tell. Not frozen, as NewEvent."""

    wall_s: float = 0.0
    cpu_s: float | None = None
    memory_peak_bytes: int | None = None
    init_s: float | None = None  # Only on a cold start: the time its zygote took.


@dataclass
class Outcome:
    """How one attempt ended. Not frozen, as NewEvent.

    `word` is a key of OUTCOME_MEANINGS. `result_json` is the handler's return value as JSON text,
    present only with `ok`. `error` is present with everything but `ok`. `degraded` names walls that
    were asked for and could not be built here.
    """

    word: str
    result_json: str | None = None
    error: ErrorRecord | None = None
    usage: Usage = field(default_factory=Usage)
    output_truncated: bool = False
    degraded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.word not in OUTCOME_MEANINGS:
            raise ValueError(f"{self.word!r} is not an outcome")

    @property
    def is_ok(self) -> bool:
        """Whether the handler returned."""
        return self.word == "ok"
