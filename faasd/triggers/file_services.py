"""What a files trigger needs of the daemon, and how it says what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from faasd.clock import Clock
from faasd.interfaces import Accept, FileLedger, History, InvocationStore

__all__ = ["FileServices", "Problems", "ReportProblem"]


class ReportProblem(Protocol):
    """How the daemon hears of what an operator should know."""

    def __call__(self, event_name: str, /, **fields: Any) -> None:
        """Take one log event."""


@dataclass(frozen=True)
class FileServices:
    """What every watched directory needs of the daemon."""

    accept: Accept
    store: InvocationStore
    history: History
    ledger: FileLedger
    clock: Clock
    report: ReportProblem


class Problems:
    """What is wrong with one trigger now, each once, until it is over.

    Reports `files_problem` and `files_problem_over`. `about` is directory, watch-failure, refused,
    action or loop.
    """

    def __init__(self, trigger: str, report: ReportProblem) -> None:
        self._trigger = trigger
        self._report = report
        self._sentences: dict[str, str] = {}

    @property
    def sentence(self) -> str | None:
        """Everything that is wrong, for people."""
        return "; ".join(self._sentences.values()) or None

    def note(self, about: str, sentence: str) -> None:
        """Say that something is wrong; the same again is not reported again."""
        if self._sentences.get(about) != sentence:
            self._sentences[about] = sentence
            self._report("files_problem", trigger=self._trigger, about=about, problem=sentence)

    def over(self, about: str) -> None:
        """Say that it is well again, if it was not."""
        if self._sentences.pop(about, None) is not None:
            self._report("files_problem_over", trigger=self._trigger, about=about)
