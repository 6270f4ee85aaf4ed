"""`faasd status`: the daemon itself."""

from __future__ import annotations

import click

from faasd.cli.command import client_of, command, json_option
from faasd.cli.output import print_fields

__all__ = ["status"]


@command(examples=("faasd status", "faasd status --json"))
@json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show what the daemon does, and what is wrong."""
    print_fields(client_of(context).request("GET", "/api/v1/status"), as_json=as_json)
