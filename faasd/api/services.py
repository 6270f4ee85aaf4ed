"""What the API is given: the seams, and a few facts about the daemon that serves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from faasd.clock import Clock
from faasd.interfaces import (
    Accept,
    Catalog,
    FileDrops,
    History,
    InvocationLogs,
    InvocationStore,
    Invoker,
    Pauses,
    Schedules,
)
from faasd.metrics import Registry
from faasd.model.function import Function
from faasd.model.reload import FunctionVersion, LastReload, ReloadReport
from faasd.model.usage import Prices
from faasd.model.walls import MissingWall

__all__ = ["ApiServices", "CodeControl"]


async def _no_memory() -> dict[str, int]:
    return {}


class CodeControl(Protocol):
    """Which code the functions run. `kept` says by function why it is not as its files say."""

    @property
    def kept(self) -> Mapping[str, str]:
        """Functions whose new code or settings are broken, each with the reason."""

    @property
    def last_reload(self) -> LastReload | None:
        """How the last reload since the start ended; None before the first."""

    def left_open(self, function: Function) -> Sequence[str]:
        """Say what the import of a function leaves behind that its attempts would share."""

    async def reload(self) -> ReloadReport:
        """Put in force what the files say now. Raises ReloadRefused, and then everything stays as it was."""

    async def versions_of(self, name: str) -> Sequence[FunctionVersion]:
        """Return the versions that a function had in service, the last first. Raises NotFound."""

    async def pinned(self) -> Mapping[str, str]:
        """Return the version of each function that stays at one whatever the disk says."""

    async def function_at(self, name: str, wanted: str, *, only_aliases: bool = False) -> Function:
        """Return a function with the code of a version, or of an alias. Raises NotFound or VersionError."""

    async def roll_back(self, name: str, wanted: str | None) -> ReloadReport:
        """Put a version in service, the previous one by default, and pin the function to it."""

    async def unpin(self, name: str) -> ReloadReport:
        """Put in service what is on the disk, and follow it again."""

    async def set_alias(self, name: str, alias: str, wanted: str | None) -> str | None:
        """Name a version, and return it in full; with None, take the name away."""


@dataclass(frozen=True)
class ApiServices:
    """Everything behind the API.

    `status` returns what the daemon wants to tell beside what is here; its `state` is `starting`,
    `ready` or `stopping` and decides `/readyz`. `wake` makes the dispatcher look at the store now;
    it must not block. `missing_walls` says by function which walls it lacks on this host, `refused` why it
    therefore does not run.
    """

    accept: Accept
    store: InvocationStore
    history: History
    logs: InvocationLogs
    catalog: Catalog
    schedules: Schedules
    files: FileDrops
    invoker: Invoker
    pauses: Pauses
    version: str
    started_at: float
    status: Callable[[], Mapping[str, Any]]
    wake: Callable[[], None]
    state_dir: str
    config_path: str | None = None
    missing_walls: Mapping[str, Sequence[MissingWall]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    code: CodeControl | None = None
    clock: Clock = field(default_factory=Clock)
    #: What usage is taken to cost.
    prices: Prices = field(default_factory=Prices)
    #: What is counted as it happens; `measure` adds what the daemon looks up when it is asked.
    metrics: Registry = field(default_factory=Registry)
    measure: Callable[[Registry], None] = lambda _: None
    #: Returns the memory of each running attempt in bytes, by attempt id, as far as it is known.
    memory_now: Callable[[], Awaitable[dict[str, int]]] = _no_memory
    #: Says why new events are refused at the moment; None while they are taken.
    no_room: Callable[[], str | None] = lambda: None
