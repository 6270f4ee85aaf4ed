"""What is measured: rows, who takes part in them, and what a round gives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "Bound",
    "Contestant",
    "CouldNotMeasure",
    "Group",
    "Result",
    "Row",
    "RowResult",
    "Sample",
    "Stage",
]


class CouldNotMeasure(Exception):
    """One contestant cannot take part; the text is the reason, and the table says it in place of a number."""


@dataclass(frozen=True)
class Sample:
    """What one round of one contestant gave, in the row's unit."""

    value: float
    #: Processor time for each operation, of every process the contestant needs, its broker included.
    cpu_ms_each: float | None = None
    #: Memory of all of those processes at the end of the round; what they share counts once.
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Bound:
    """A target: a ratio or a value that must be at least, or at most, this."""

    limit: float
    is_at_least: bool

    def holds(self, value: float) -> bool:
        """Whether a value meets it."""
        return value >= self.limit if self.is_at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.is_at_least else '≤'} {self.limit:g}"


@dataclass(frozen=True)
class Contestant:
    """One side of a row. `measure` takes one round; it raises CouldNotMeasure with the reason when it cannot."""

    name: str
    measure: Callable[[], Sample]
    #: What a reader must know before comparing: what this one does not do, and how it was set up.
    lacks: str = ""
    #: What our value divided by this one's must be.
    ratio: Bound | None = None


@dataclass(frozen=True)
class Row:
    """One question, ours beside its peers."""

    name: str
    title: str
    unit: str
    ours: Contestant
    peers: tuple[Contestant, ...] = ()
    #: What our value itself must be.
    absolute: Bound | None = None


@dataclass
class Result:
    """Every round of one contestant, or why there is none."""

    name: str
    lacks: str
    ratio: Bound | None
    samples: list[Sample] = field(default_factory=list)
    reason: str | None = None


@dataclass
class RowResult:
    """A row after its rounds."""

    row: Row
    ours: Result
    peers: list[Result]


@dataclass(frozen=True)
class Stage:
    """Where a group works and how much it does."""

    #: A scratch directory, removed afterwards; its file system's fsync counts.
    directory: str
    #: The interpreter of the peers' environment; None when there is none.
    peers_python: str | None
    #: 1.0 for the sizes that the results page uses; less for a quick look.
    scale: float

    def count(self, full: int, at_least: int = 1) -> int:
        """Return how many operations to do here, where a full run does `full`."""
        return max(at_least, round(full * self.scale))


class Group(Protocol):
    """Opens rows that share a set-up. Everything it started has ended when the block ends."""

    def __call__(self, stage: Stage) -> AbstractContextManager[list[Row]]: ...
