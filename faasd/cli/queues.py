"""`faasd queues`: how full they are."""

from __future__ import annotations

import click

from faasd.cli.command import client_of, command, json_option
from faasd.cli.output import Columns, print_rows, time_text

__all__ = ["queues"]


@command(examples=("faasd queues", "faasd queues --json"))
@json_option
@click.pass_context
def queues(context: click.Context, as_json: bool) -> None:
    """List the queues and how full they are."""
    columns: Columns = [
        ("QUEUE", "queue"),
        ("FUNCTION", "function"),
        ("WAITING", "waiting"),
        ("DELAYED", "delayed"),
        ("IN FLIGHT", "in_flight"),
        ("DEAD", "dead"),
        ("OLDEST WAITING", time_text("oldest_waiting_at")),
        ("PAUSED SINCE", time_text("paused_since")),
    ]
    rows = client_of(context).queues()
    print_rows(rows, columns, as_json=as_json, nothing="there is no queue; see `faasd check`")
