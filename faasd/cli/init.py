"""`faasd init`: a configuration and functions to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from faasd.cli.command import command
from faasd.errors import Conflict
from faasd.model.paths import CONFIG_NAME

__all__ = ["init"]


@command(examples=("faasd init", "faasd init /srv/jobs"))
@click.argument("directory", default=".", type=click.Path(), metavar="[DIR]")
def init(directory: str) -> None:
    """Write a starter configuration and functions to begin with.

    Nothing that exists is touched.
    """
    # Imported here, with the rest of the configuration's package.
    from faasd.config.starter import write_starter

    base = Path(directory)
    try:
        written = write_starter(base)
    except OSError as error:
        raise Conflict(f"cannot write {error.filename}: {error.strerror}") from error
    print(*[f"wrote {path}" for path in written], sep="\n")
    config = "" if directory == "." else f" --config {base / CONFIG_NAME}"
    print(f"next: `faasd run{config}`, and in another terminal `faasd functions list{config}`")
