"""`faasd why`: the reasons, in sentences."""

from __future__ import annotations

import os

import click

from faasd.cli.command import client_of, command, json_option
from faasd.cli.completing import names_of
from faasd.cli.output import print_json, printable

__all__ = ["why"]


@command(examples=("faasd why thumbnail", "faasd why 0193ab", "faasd why /srv/inbox/a.jpg"))
@click.argument(
    "subject",
    shell_complete=names_of("functions"),
    metavar="ID|FUNCTION|QUEUE|SCHEDULE|PATH",
)
@json_option
@click.pass_context
def why(context: click.Context, *, subject: str, as_json: bool) -> None:
    """Explain why something ran, waits or did not run."""
    query = {"subject": subject, "path": os.path.abspath(subject)}
    answer = client_of(context).request("GET", "/api/v1/why", query=query)
    if as_json:
        print_json(answer)
    else:
        print(*[printable(sentence) for sentence in answer["sentences"]], sep="\n")
