"""The project's own source files, parsed once for the tests beside this file."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "SANDBOXED", "is_sandboxed", "modules", "parsed", "those_of_tests"]

ROOT = Path(__file__).parents[2]

#: What also runs under an interpreter that a function names: CPython 3.9 or newer, standard library only.
SANDBOXED = (
    "faasd/__init__.py",
    "faasd/clock.py",
    "faasd/declare.py",
    "faasd/errors.py",
    "faasd/linux/",
    "faasd/model/",
    "faasd/runtime/",
    "faasd/wire.py",
)


def modules() -> list[str]:
    """Return every module of the package, relative to the root."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "faasd").rglob("*.py"))


def those_of_tests() -> list[str]:
    """Return every file of tests, relative to the root."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))


def is_sandboxed(path: str) -> bool:
    """Whether a module belongs to the sandboxed side."""
    return any(path == one or (one.endswith("/") and path.startswith(one)) for one in SANDBOXED)


@cache
def parsed(path: str) -> ast.Module:
    """Return the syntax tree of one file."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), path)
