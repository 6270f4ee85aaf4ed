"""`faasd check`: everything that is wrong with the configuration and the functions, at once."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faasd.cli.command import command, config_in_force, json_option
from faasd.cli.exits import FAILED, complain
from faasd.cli.output import print_json
from faasd.cli.walls_here import Judged, judge
from faasd.model.declaration import Problem

if TYPE_CHECKING:
    from faasd.model.function import Function

__all__ = ["check"]

_NO_FUNCTION = (
    "faasd: no function is declared: put @function on a handler in a module of `functions`, or write a "
    "[functions.NAME] table; `faasd init DIRECTORY` makes examples of it"
)


@command(examples=("faasd check", "faasd check --config /etc/faasd/faasd.toml --json"))
@json_option
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Check the configuration and the functions, all of it.

    A function with `containment = "strict"` that is promised a wall which this host cannot build is an error, too.
    """
    path = config_in_force(context)
    # Imported here: the daemon's libraries would make every other command a tenth of a second slower.
    loaded = asyncio.run(importlib.import_module("faasd.foreground").load_config(Path(path)))
    problems = [
        *loaded.problems,
        *_wall_problems(loaded.functions, path),
        *_absent_directories(loaded.functions),
    ]
    warnings = [problem for problem in problems if problem.is_warning]
    errors = [problem for problem in problems if not problem.is_warning]
    names = [function.name for function in loaded.functions]
    if as_json:
        found = {"errors": _views(errors), "warnings": _views(warnings)}
        print_json({"config": path, "functions": names, **found})
    else:
        if not errors:
            print(f"{path}: no error found; functions: {', '.join(names) or 'none'}")
            if not names and not loaded.disabled:
                print(_NO_FUNCTION, file=sys.stderr)
        for warning in warnings:
            print(f"faasd: {warning}", file=sys.stderr)
        for error in errors:
            complain(str(error))
    if errors:
        context.exit(FAILED)


def _wall_problems(functions: Sequence[Function], config: str) -> list[Problem]:
    """Return an error for each function that is refused here, a warning for each that runs without a wall."""
    if not functions:
        return []
    found = []
    for one in judge(functions, config)[0]:
        name = one.function.name
        if one.refusal is not None:
            found.append(_problem(one, f"function {name!r} is refused: {one.refusal}"))
        elif one.lacks:
            walls = "; ".join(map(str, one.lacks))
            message = f"function {name!r} runs without what it is promised: {walls}"
            found.append(_problem(one, message, is_warning=True))
    return found


def _absent_directories(functions: Sequence[Function]) -> list[Problem]:
    """Return a warning for each watched directory that is not there: a typing error looks like that."""
    return [
        _at_origin(
            function,
            f"function {function.name!r} watches {trigger.path}, which is no directory now; it is watched from "
            "the moment it appears",
        )
        for function in functions
        for trigger in function.files
        if not Path(trigger.path).is_dir()
    ]


def _at_origin(function: Function, message: str) -> Problem:
    path, _, line = function.origin.rpartition(":")
    at_line = int(line) if path and line.isdigit() else None
    place = path if at_line is not None else function.origin
    return Problem(place, message, at_line, function=function.name, is_warning=True)


def _problem(judged: Judged, message: str, *, is_warning: bool = False) -> Problem:
    return replace(_at_origin(judged.function, message), is_warning=is_warning)


def _views(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Write problems for other programs, with their places apart."""
    keys = ("path", "line", "column", "setting", "function", "message")
    return [{key: getattr(problem, key) for key in keys} for problem in problems]
