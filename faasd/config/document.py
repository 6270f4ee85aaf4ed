"""Reads the file: TOML with the place of everything in it."""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faasd.config.positions import KeyPath, Positions, scan_positions
from faasd.config.validate import Report, dotted
from faasd.model.declaration import Problem
from faasd.model.suggest import did_you_mean

__all__ = ["Document", "read_document"]

DIGEST_DIGITS = 12
_TABLES = ("daemon", "http", "defaults", "functions")
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True)
class Document:
    """One configuration file, read."""

    path: Path
    tables: dict[str, Any]
    positions: Positions
    #: The first digits of what `sha256sum` says of the file.
    digest: str = ""

    def problem(
        self,
        path: KeyPath,
        message: str,
        function: str | None = None,
        is_warning: bool = False,
    ) -> Problem:
        """Return a problem with its place in this file."""
        line, column = self.positions.of(path)
        name = dotted(path) or None
        return Problem(str(self.path), message, line, column, name, function, is_warning)

    def report(self, prefix: KeyPath, function: str | None = None) -> Report:
        """Return what makes problems of paths below a prefix."""
        return lambda path, message: self.problem((*prefix, *path), message, function)

    @property
    def base_dir(self) -> Path:
        """The directory that relative paths in the file start from."""
        return self.path.parent


def read_document(path: Path) -> tuple[Document | None, list[Problem]]:
    """Return the file's tables, or None with the reason why it is not TOML. `path` is absolute."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return None, [Problem(str(path), f"is not UTF-8: {error.reason}", line)]
    except OSError as error:
        return None, [Problem(str(path), f"cannot be read: {error.strerror}")]
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, [_syntax_problem(path, text, str(error))]
    digest = hashlib.sha256(content).hexdigest()[:DIGEST_DIGITS]
    document = Document(path, tables, scan_positions(text), digest)
    problems = []
    for key, value in tables.items():
        if key not in _TABLES:
            message = f"unknown table{did_you_mean(key, _TABLES) or '; expected ' + _listed()}"
            problems.append(document.problem((key,), message))
        elif not isinstance(value, dict):
            problems.append(document.problem((key,), f"expected a table: [{key}]"))
            tables[key] = {}
    return document, problems


def _listed() -> str:
    return ", ".join(f"[{name}]" for name in ("daemon", "http", "defaults", "functions.NAME"))


def _syntax_problem(path: Path, text: str, message: str) -> Problem:
    match = _PLACE.search(message)
    if match is None:
        return Problem(str(path), f"is not TOML: {message}")
    end = text.count("\n") + 1, len(text) - text.rfind("\n")
    line, column = (int(match[1]), int(match[2])) if match[1] else end
    return Problem(str(path), f"is not TOML: {message[: match.start()]}", line, column)
