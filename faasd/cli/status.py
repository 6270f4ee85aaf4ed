"""`faasd status` and `faasd backup`: the daemon itself."""

from __future__ import annotations

import os

import click

from faasd.cli.command import client_of, command, json_option
from faasd.cli.output import print_fields, print_json

__all__ = ["backup", "status"]


@command(examples=("faasd status", "faasd status --json"))
@json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show what the daemon does, and what is wrong."""
    print_fields(client_of(context).request("GET", "/api/v1/status"), as_json=as_json)


@command(examples=("faasd backup /var/backups/faasd.sqlite3",))
@click.argument("file", type=click.Path())
@json_option
@click.pass_context
def backup(context: click.Context, *, file: str, as_json: bool) -> None:
    """Write a consistent copy of the database to a new file.

    The daemon goes on meanwhile.
    """
    body = {"path": os.path.abspath(file)}
    answer = client_of(context).request("POST", "/api/v1/backup", body)
    if as_json:
        print_json(answer)
    else:
        print(f"{answer['path']}: {answer['size_bytes']} bytes")
