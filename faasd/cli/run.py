"""`faasd run` and `faasd demo`: the commands that are more than a question to a daemon."""

from __future__ import annotations

import importlib

import click

from faasd.cli.command import command, config_in_force

__all__ = ["demo", "run"]


@command(examples=("faasd run", "faasd run --config /etc/faasd/faasd.toml"))
@click.pass_context
def run(context: click.Context) -> None:
    """Run the daemon in the foreground; SIGTERM or Ctrl-C stops it, after what runs has finished."""
    context.exit(_run_daemon(config_in_force(context)))


@command()
def demo() -> None:
    """Run the main job on real input in a temporary directory; ends by itself."""
    click.get_current_context().exit(importlib.import_module("faasd.cli.demo").main() or 0)


def _run_daemon(config_path: str) -> int:
    # Imported here: the daemon's libraries would make every other command a tenth of a second slower.
    return importlib.import_module("faasd.daemon").main(config_path) or 0
