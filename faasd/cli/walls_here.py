"""Which walls the configured functions lack: as the running daemon finds, or else as this process does."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from faasd.client import Client, find_socket
from faasd.errors import FaasdError
from faasd.model.walls import MissingWall, refusal

if TYPE_CHECKING:
    from faasd.model.function import Function

__all__ = ["Judged", "judge"]


@dataclass(frozen=True)
class Judged:
    """What the walls of this host mean for one function."""

    function: Function
    asks_for: tuple[str, ...]
    missing: tuple[MissingWall, ...]
    problem: str | None  # Why its interpreter did not answer.

    @property
    def refusal(self) -> str | None:
        """Why it does not run; None when it does."""
        return refusal(self.function.permissions.containment, self.missing)

    @property
    def lacks(self) -> list[MissingWall]:
        """The missing walls that nothing replaces."""
        return [one for one in self.missing if one.refuses]

    @property
    def verdict(self) -> str:
        """One word or two for a table."""
        if self.problem is not None:
            return "unknown"
        if self.lacks:
            return "refused" if self.refusal else "not enforced"
        return "enforced, in part otherwise" if self.missing else "enforced"


def judge(functions: Sequence[Function], config: str | None) -> tuple[list[Judged], str]:
    """Judge every function; returns that and who found the walls: `the daemon` or `this process`.

    The daemon's word counts where one runs: as a service it may well be allowed more than our shell, or less.
    """
    # Imported here: it tries each wall in a process of its own.
    preflight = importlib.import_module("faasd.sandbox.preflight")
    asked_for = importlib.import_module("faasd.sandbox.missing_walls").walls_asked_for
    known = {
        python: preflight.walls_from_json(one) for python, one in _daemons_walls(config).items()
    }
    answers = preflight.inspect_functions(functions, known)
    judged = []
    for function in functions:
        answer = answers[function.name]
        missing, problem = ((), answer) if isinstance(answer, str) else (answer, None)
        judged.append(Judged(function, asked_for(function), missing, problem))
    return judged, "the daemon" if known else "this process"


def _daemons_walls(config: str | None) -> Mapping[str, Mapping[str, Any]]:
    try:
        status = Client(find_socket(config=config)).request("GET", "/api/v1/status")
        found: Mapping[str, Mapping[str, Any]] = status["walls"]["interpreters"]
        return found
    except (FaasdError, KeyError, TypeError):
        return {}
