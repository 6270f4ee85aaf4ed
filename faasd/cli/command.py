"""What all commands share: `--config` before or after, exit codes in the help, the connection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from faasd.cli.exits import exit_codes_of
from faasd.client import Client
from faasd.errors import InvalidSetting
from faasd.model.paths import config_candidates, find_config

__all__ = [
    "Noun",
    "as_query",
    "client_of",
    "command",
    "config_in_force",
    "config_of",
    "config_option",
    "json_option",
    "noun",
]

_CONFIG = "faasd.config"

json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON: a listing is one array, a thing one object.",
)


def _keep_config(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:  # `meta` is shared by the contexts of one command line.
        context.meta[_CONFIG] = value


config_option = click.option(
    "--config",
    type=click.Path(),
    metavar="FILE",
    expose_value=False,
    is_eager=True,
    callback=_keep_config,
    help="The configuration; else FAASD_CONFIG, ./faasd.toml, the user's, the system's.",
)


def config_of(context: click.Context) -> str | None:
    """Return the configuration that the command line names."""
    found: str | None = context.meta.get(_CONFIG)
    return found


def config_in_force(context: click.Context) -> str:
    """Return the configuration to work on, absolute. Raises InvalidSetting when there is none."""
    path = find_config(config_of(context))
    if path is None:
        looked = ", ".join(config_candidates())
        raise InvalidSetting(f"there is no configuration at {looked}; `faasd init` writes one")
    return str(Path(path).absolute())


def client_of(context: click.Context) -> Client:
    """Return a client of the daemon that the command line means."""
    return Client(config=config_of(context))


def as_query(**values: object) -> dict[str, object]:
    """Return query parameters without those that were not given; several values are joined by commas."""
    query: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, tuple):
            value = ",".join(value)  # noqa: PLW2901
        if value not in (None, "", False):
            query[name] = 1 if value is True else value
    return query


def command(
    name: str | None = None, *, examples: tuple[str, ...] = (), **settings: Any
) -> Callable[[Callable[..., Any]], Command]:
    """Declare a command that takes `--config`; its help ends with examples and exit codes."""

    def declare(function: Callable[..., Any]) -> Command:
        made = click.command(name, cls=Command, **settings)(config_option(function))
        made.examples = examples
        return made

    return declare


def noun(name: str, **settings: Any) -> Callable[[Callable[..., Any]], Noun]:
    """Declare a group of verbs for one noun."""

    def declare(function: Callable[..., Any]) -> Noun:
        return click.group(name, cls=Noun, **settings)(config_option(function))

    return declare


class Command(click.Command):
    """A command whose help ends with examples and its exit codes."""

    examples: tuple[str, ...] = ()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and the exit codes."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        with formatter.section("Exit codes"):
            words = ctx.command_path.partition(" ")[2]
            formatter.write_dl([(str(code), said) for code, said in exit_codes_of(words).items()])


class Noun(click.Group):
    """A noun with verbs, each of which takes `--config`."""

    def verb(self, name: str, **settings: Any) -> Callable[[Callable[..., Any]], Command]:
        """Declare a verb of this noun."""

        def declare(function: Callable[..., Any]) -> Command:
            made = command(name, **settings)(function)
            self.add_command(made)
            return made

        return declare
