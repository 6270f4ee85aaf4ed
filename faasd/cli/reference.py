"""Writes docs/cli.md from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator

import click

from faasd.cli.exits import EXIT_CODES
from faasd.cli.group import faasd

__all__ = ["render_cli_reference"]

_HEAD = """\
# Command line

Generated from the commands themselves by `make generate`; `faasd COMMAND --help` prints the same.

Every command takes `--config FILE`, before or after the subcommand. Without it the configuration is
`$FAASD_CONFIG`, `./faasd.toml`, `$XDG_CONFIG_HOME/faasd/faasd.toml` or `/etc/faasd/faasd.toml`, the first
that there is. `$FAASD_SOCKET` names the daemon's socket and wins over the configuration.

Every listing takes `--json` and prints one array; a single thing is one object. Results go to standard
output; errors go to standard error as `faasd: error: …`. Tables are plain columns in a pipe, and have no
colours with `NO_COLOR`.
"""


def render_cli_reference() -> str:
    """Return the whole of docs/cli.md."""
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    parts = [_HEAD, f"## Exit codes\n\n| Code | Meaning |\n|---|---|\n{codes}\n"]
    root = click.Context(
        faasd, info_name="faasd", terminal_width=96, help_option_names=["-h", "--help"]
    )
    parts += _sections(faasd, root)
    return "\n".join(parts)


def _sections(command: click.Command, context: click.Context) -> Iterator[str]:
    depth = "#" * (2 + (context.parent is not None and context.parent.parent is not None))
    yield f"{depth} {context.command_path}\n\n```text\n{_help(command, context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            verb = command.get_command(context, name)
            assert verb is not None, "a group knows the commands that it lists"
            child = click.Context(verb, info_name=name, parent=context, terminal_width=96)
            yield from _sections(verb, child)


def _help(command: click.Command, context: click.Context) -> str:
    text = command.get_help(context)
    # Exit codes stand once at the top instead of below every command.
    kept = text.partition("\nExit codes:\n")[0]
    return "\n".join(line.rstrip() for line in kept.rstrip().splitlines())
