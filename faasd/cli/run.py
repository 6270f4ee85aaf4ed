"""`faasd run`: the daemon itself."""

from __future__ import annotations

import gc
import importlib

import click

from faasd.cli.command import command, config_in_force
from faasd.cli.exits import CONFIG, complain
from faasd.errors import ConfigErrors, InvalidSetting

__all__ = ["run"]


@command(examples=("faasd run", "faasd run --config /etc/faasd/faasd.toml"))
@click.pass_context
def run(context: click.Context) -> None:
    """Run the daemon in the foreground.

    SIGTERM or Ctrl-C stops it, after what runs has finished.
    """
    context.exit(_run_daemon(config_in_force(context)))


def _run_daemon(config_path: str) -> int:
    # What a start makes is kept, and to look through all of it two hundred times for what is not takes a seventh of the
    # start. The daemon takes it up again a second after it is ready.
    gc.disable()
    # Imported here: the daemon's libraries would make every other command a tenth of a second slower.
    main = importlib.import_module("faasd.foreground").main
    try:
        return main(config_path) or 0
    except (ConfigErrors, InvalidSetting) as error:
        complain(str(error))
        return CONFIG
