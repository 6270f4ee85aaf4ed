"""What the pool of zygotes knows of one: who it is for, whether it is ready or has failed, who uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from faasd.model.attempt import OutputLine
from faasd.model.function import Function
from faasd.sandbox.file_rules import Premises
from faasd.sandbox.policy import Walls
from faasd.sandbox.zygote_process import RootZygote, Zygote

__all__ = ["Entry", "Needs", "Wanted", "ZygoteLease"]

#: A failed import is not tried again for so long: a burst of attempts shares one failure.
_FAILURE_KEPT_S = 1.0


@dataclass(frozen=True)
class Wanted:
    """Which zygote a function was found to need; the function is held so that its identity stays its own."""

    function: Function
    root: RootZygote
    premises: Premises
    own: str  # The key of the one that would be its alone,
    shared: str | None  # and of one that it may share.
    walls: Walls


@dataclass
class Needs:
    """What the functions that use a zygote need of it."""

    slots: int = 0
    is_kept: bool = False


@dataclass
class Entry:
    """One zygote; once started for one function, others may be found to use it too."""

    task: asyncio.Task[Zygote]
    lines: list[OutputLine]
    owner: str  # The key that it would have as its starter's alone.
    is_shared: bool
    slots: int  # How many attempts can run in it at once.
    failed_at: float | None = None
    users: set[str] = field(default_factory=set)  # Functions, by name,
    told: set[str] = field(default_factory=set)  # and those that have what the import printed.

    def is_made(self) -> bool:
        """Whether it was started; it may have ended since."""
        task = self.task
        return task.done() and not task.cancelled() and not task.exception()

    def is_of(self, zygote: Zygote) -> bool:
        """Whether its zygote is this one, and not a successor with the same key."""
        return self.is_made() and self.task.result() is zygote

    def is_spent(self, now: float) -> bool:
        """Whether a new zygote must be started: this one died, or failed long enough ago."""
        if not self.task.done():
            return False
        if self.task.cancelled():
            return True
        if self.task.exception() is None:
            return not self.task.result().is_alive
        return now - (self.failed_at or 0.0) >= _FAILURE_KEPT_S

    def has_news_for(self, function: Function) -> bool:
        """Whether the function has not heard yet what the import printed."""
        return bool(self.lines) and function.name not in self.told

    def tell(self, function: Function) -> list[OutputLine]:
        """Return what the import printed, if this function uses it and has not heard it."""
        if not self.task.done() or function.name not in self.users - self.told:
            return []
        self.told.add(function.name)
        lines = list(self.lines)
        if not self.is_shared:
            self.lines.clear()
        return lines


@dataclass
class ZygoteLease:
    """The use of a zygote for one attempt; a zygote in use is not ended."""

    zygote: Zygote
    walls: Walls
    is_cold: bool
    give_back: Callable[[Zygote], None] = field(repr=False)

    def __enter__(self) -> Zygote:
        return self.zygote

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.give_back(self.zygote)
