"""`faasd check`: everything that is wrong with the configuration and the functions, at once."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faasd.cli.command import command, config_in_force, json_option
from faasd.cli.exits import FAILED, complain
from faasd.cli.output import print_json

if TYPE_CHECKING:
    from faasd.model.declaration import Problem

__all__ = ["check"]


@command(examples=("faasd check", "faasd check --config /etc/faasd/faasd.toml --json"))
@json_option
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Check the configuration and the functions, all of it."""
    path = config_in_force(context)
    # Imported here: the daemon's libraries would make every other command a tenth of a second slower.
    loaded = asyncio.run(importlib.import_module("faasd.daemon").load_config(Path(path)))
    warnings = [problem for problem in loaded.problems if problem.is_warning]
    names = [function.name for function in loaded.functions]
    if as_json:
        found = {"errors": _views(loaded.errors), "warnings": _views(warnings)}
        print_json({"config": path, "functions": names, **found})
    else:
        if not loaded.errors:
            print(f"{path}: no error found; functions: {', '.join(names) or 'none'}")
        for warning in warnings:
            print(f"faasd: {warning}", file=sys.stderr)
        for error in loaded.errors:
            complain(str(error))
    if loaded.errors:
        context.exit(FAILED)


def _views(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Write problems for other programs, with their places apart."""
    keys = ("path", "line", "column", "setting", "function", "message")
    return [{key: getattr(problem, key) for key in keys} for problem in problems]
