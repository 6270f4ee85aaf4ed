"""`faasd init`: a configuration and functions to begin with."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from faasd.cli.command import command
from faasd.errors import Conflict

__all__ = ["init"]


@command(examples=("faasd init", "faasd init /srv/jobs"))
@click.argument("directory", default=".", metavar="[DIR]")
def init(directory: str) -> None:
    """Write a starter configuration and first functions; nothing that exists is touched."""
    base = Path(directory)
    write_starter = importlib.import_module("faasd.config.starter").write_starter
    try:
        for path in write_starter(base):
            print(f"wrote {path}")
    except OSError as error:
        raise Conflict(f"cannot write {error.filename}: {error.strerror}") from error
    run = "faasd run" if directory == "." else f"faasd run --config {base / 'faasd.toml'}"
    print(f"next: `{run}`, and in another terminal `faasd functions list`")
