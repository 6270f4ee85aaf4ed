"""`faasd check`: everything that is wrong with the configuration and the functions, at once."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path

import click

from faasd.cli.command import command, config_in_force, json_option
from faasd.cli.exits import FAILED, complain
from faasd.cli.output import print_json

__all__ = ["check"]


@command(examples=("faasd check", "faasd check --config /etc/faasd/faasd.toml --json"))
@json_option
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Check the configuration and the functions, all of it."""
    path = config_in_force(context)
    # Imported here: the daemon's libraries would make every other command a tenth of a second slower.
    loaded = asyncio.run(importlib.import_module("faasd.daemon").load_config(Path(path)))
    errors = [str(problem) for problem in loaded.errors]
    warnings = [str(problem) for problem in loaded.problems if problem.is_warning]
    if as_json:
        print_json({"config": path, "errors": errors, "warnings": warnings})
    elif not errors:
        names = ", ".join(function.name for function in loaded.functions) or "none"
        print(f"{path}: no error found; functions: {names}")
    for warning in warnings if not as_json else ():
        print(f"faasd: warning: {warning}", file=sys.stderr)
    for error in errors if not as_json else ():
        complain(error)
    if errors:
        context.exit(FAILED)
