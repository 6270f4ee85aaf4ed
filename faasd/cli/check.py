"""`faasd check`: everything that is wrong with the configuration and the functions, at once."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path

import click

from faasd.cli.command import command, config_of, json_option
from faasd.cli.exits import FAILED, complain
from faasd.cli.output import print_json
from faasd.errors import InvalidSetting
from faasd.model.paths import config_candidates, find_config

__all__ = ["check"]


@command(examples=("faasd check", "faasd check --config /etc/faasd/faasd.toml --json"))
@json_option
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Check the configuration and the functions, and print every problem."""
    path = find_config(config_of(context))
    if path is None:
        looked = ", ".join(config_candidates())
        raise InvalidSetting(f"there is no configuration at {looked}; `faasd init` writes one")
    problems = _problems(path)
    if as_json:
        print_json({"config": path, "problems": problems})
    elif not problems:
        print(f"{path}: no problem found")
    for problem in problems if not as_json else ():
        complain(problem)
    if problems:
        context.exit(FAILED)


def _problems(path: str) -> list[str]:
    # Imported here: the daemon's libraries would make every other command a tenth of a second slower.
    loaded = asyncio.run(importlib.import_module("faasd.daemon").load_config(Path(path)))
    return [str(problem) for problem in loaded.problems]
