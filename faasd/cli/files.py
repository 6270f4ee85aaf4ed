"""`faasd files`: what the watched directories have brought."""

from __future__ import annotations

import os

import click

from faasd.cli.command import as_query, client_of, json_option, noun
from faasd.cli.output import Columns, print_json, print_rows, time_text

__all__ = ["files"]


@noun("files")
def files() -> None:
    """List files in watched directories, and retry failed ones."""


@files.verb("list", examples=("faasd files list --state failed",))
@click.option("--trigger", metavar="NAME", help="Of this files trigger.")
@click.option("--state", metavar="WORD", help="accepted, done or failed.")
@click.option("--limit", type=click.IntRange(1, 100_000), metavar="N", help="At most N.")
@json_option
@click.pass_context
def list_files(
    context: click.Context,
    *,
    trigger: str | None,
    state: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List files of watched directories that were seen complete.

    Newest first. A file that was handled and moved or deleted is listed no more; a failed one is, where
    it lies now. What is wrong with a watch is told on standard error.
    """
    query = as_query(trigger=trigger, state=state, limit=limit)
    rows = client_of(context).request("GET", "/api/v1/files", query=query)["files"]
    columns: Columns = [
        ("PATH", "path"),
        ("TRIGGER", "trigger"),
        ("STATE", "state"),
        ("SIZE", "size"),
        ("SEEN", time_text("seen_at")),
        ("INVOCATION", "invocation_id"),
        ("DETAIL", "detail"),
    ]
    print_rows(
        rows,
        columns,
        as_json=as_json,
        nothing="no file matches; those that were moved or deleted are told by `faasd why PATH`",
    )
    for watch in client_of(context).request("GET", "/api/v1/watches")["watches"]:
        if watch["problem"] and trigger in (None, watch["trigger"]):
            click.echo(f"faasd: {watch['trigger']}: {watch['problem']}", err=True)


@files.verb(
    "retry", examples=("faasd files retry /srv/inbox/a.jpg", "faasd files retry /srv/inbox")
)
@click.argument("path", type=click.Path())
@json_option
@click.pass_context
def retry(context: click.Context, *, path: str, as_json: bool) -> None:
    """Take a file, or all failed ones of a directory, as new.

    Prints the invocations' ids.
    """
    body = {"path": os.path.abspath(path)}
    accepted = client_of(context).request("POST", "/api/v1/files/retry", body)["accepted"]
    if as_json:
        print_json(accepted)
    else:
        print(*[one["id"] for one in accepted], sep="\n")
