"""Which layers a module's decorators name, read from its text: for a module that cannot be imported without them."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator

__all__ = ["named_layers"]

_TEXT_BYTES_MAX = 2**20


def named_layers(name: str, code_dir: str) -> list[str]:
    """Return what stands as `layers = …` in the calls of a module, as far as it is plain text; never raises."""
    path = os.path.join(code_dir, *name.split("."))
    for file in (path + ".py", os.path.join(path, "__init__.py")):
        try:
            with open(file, "rb") as text:
                tree = ast.parse(text.read(_TEXT_BYTES_MAX))
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return sorted(set(_named(tree)))
    return []


def _named(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for keyword in node.keywords if isinstance(node, ast.Call) else ():
            if keyword.arg != "layers":
                continue
            value = keyword.value
            for one in value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value]:
                if isinstance(one, ast.Constant) and isinstance(one.value, str):
                    yield one.value
