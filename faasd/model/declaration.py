"""What is asked of discovery, what it answers, and what can be wrong with what people declare."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Declared", "Discovered", "Module", "Problem", "may_declare"]

#: Files beside functions that are not functions.
_OTHER_FILES = re.compile(r"[_.].*|test_.*|.*_test\.py|conftest\.py|setup\.py")


def may_declare(file_name: str) -> bool:
    """Whether a file or directory of this name is looked at for functions, if it is a module at all."""
    return _OTHER_FILES.fullmatch(file_name) is None


@dataclass(frozen=True)
class Problem:
    """One mistake, at its place. An error leaves its function out; a warning does not."""

    path: str
    message: str
    line: int | None = None
    column: int | None = None
    setting: str | None = None  # Dotted, as in `functions.thumbnail.timeout`.
    function: str | None = None  # The function that is left out because of it.
    is_warning: bool = False

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.path, self.line, self.column) if part)
        kind = "warning: " if self.is_warning else ""
        setting = f"{self.setting}: " if self.setting else ""
        return f"{place}: {kind}{setting}{self.message}"


@dataclass(frozen=True)
class Module:
    """One module that discovery imports, in a contained process of its own."""

    name: str
    code_dir: str  # Put first on the module path; "" for a module that is installed.
    origin: str  # Its file, or who named it, for messages.
    python: str | None = None  # None for the daemon's own interpreter.
    attributes: tuple[str, ...] = ()  # Handlers that TOML names, which must exist in it.
    env: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 30.0
    hidden: tuple[str, ...] = ()  # Out of its reach while it is imported.
    layers: tuple[str, ...] = ()  # Directories, as in Function.
    read: tuple[str, ...] = ()  # What the configuration file lets its functions read.
    shown: tuple[str, ...] = ()  # Within its reach although it is in what is hidden.


@dataclass(frozen=True)
class Declared:
    """One function that a decorator has declared."""

    name: str
    handler: str  # "module:attribute"
    settings: dict[str, Any]
    file: str
    line: int


@dataclass(frozen=True)
class Discovered:
    """What importing one module has shown.

    `attributes` says of each handler asked for what is wrong with it, or None. A module that could
    not be imported has an error among its problems, and nothing else.
    """

    module: Module
    declared: tuple[Declared, ...] = ()
    attributes: dict[str, str | None] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    file: str | None = None  # Where the module was found.
    layers_named: tuple[str, ...] = ()  # By the text of a module that could not be imported.

    @property
    def is_broken(self) -> bool:
        """Whether the import failed."""
        return any(not one.is_warning and one.function is None for one in self.problems)
