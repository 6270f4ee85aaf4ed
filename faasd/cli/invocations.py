"""`faasd invocations`: what was accepted and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from faasd.cli.command import as_query, client_of, json_option, noun
from faasd.cli.completing import names_of
from faasd.cli.output import (
    Columns,
    duration_text,
    print_fields,
    print_json,
    print_rows,
    printable,
    time_text,
)
from faasd.client import quote

__all__ = ["COLUMNS", "invocations", "narrowing_options", "print_invocation"]

COLUMNS: Columns = [
    ("ID", "id"),
    ("FUNCTION", "function"),
    ("TRIGGER", "trigger"),
    ("STATE", "state"),
    ("OUTCOME", "outcome"),
    ("ATTEMPTS", "attempts"),
    ("CREATED", time_text("created_at")),
    ("TOOK", duration_text("duration_ms")),
]


def narrowing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that narrow a listing of invocations."""
    for option in (
        click.option(
            "--limit",
            type=click.IntRange(1, 10_000),
            metavar="N",
            help="At most N; 100 when not given.",
        ),
        click.option("--until", metavar="TIME", help="Created then or before."),
        click.option(
            "--since",
            metavar="TIME",
            help="Created then or after: ISO 8601, or 1h for an hour ago.",
        ),
        click.option(
            "--outcome",
            multiple=True,
            metavar="WORD",
            help="Of the last attempt, or why it never ran.",
        ),
        click.option("--source", metavar="NAME", help="The trigger's name."),
        click.option(
            "--trigger",
            metavar="KIND",
            help="cron, every, at, files, queue, invoke, function or replay.",
        ),
        click.option(
            "--queue",
            metavar="NAME",
            help="On this queue.",
            shell_complete=names_of("queues", "queue"),
        ),
        click.option(
            "--function",
            metavar="NAME",
            help="Of this function.",
            shell_complete=names_of("functions"),
        ),
    ):
        function = option(function)
    return function


@noun("invocations")
def invocations() -> None:
    """List, show, replay and cancel invocations."""


@invocations.verb(
    "list",
    examples=(
        "faasd invocations list --function thumbnail --outcome error --since 1h",
        "faasd invocations list --state waiting --json",
    ),
)
@click.option("--state", multiple=True, metavar="WORD", help="waiting, running, done, dead …")
@narrowing_options
@json_option
@click.pass_context
def list_invocations(context: click.Context, /, *, as_json: bool, **narrow: Any) -> None:
    """List invocations, newest first."""
    query = as_query(**narrow)
    rows = client_of(context).request("GET", "/api/v1/invocations", query=query)["invocations"]
    print_rows(rows, COLUMNS, as_json=as_json, nothing="no invocation matches")


@invocations.verb("show", examples=("faasd invocations show 0193ab",))
@click.argument("id")
@json_option
@click.pass_context
def show(context: click.Context, *, id: str, as_json: bool) -> None:  # noqa: A002
    """Show an invocation with its event, its result and its attempts.

    A prefix of the id will do, if it is unique.
    """
    print_invocation(client_of(context).invocation(id), as_json=as_json)


@invocations.verb("replay", examples=("faasd invocations replay 0193ab",))
@click.argument("id")
@json_option
@click.pass_context
def replay(context: click.Context, *, id: str, as_json: bool) -> None:  # noqa: A002
    """Accept the event of an invocation once more.

    Prints the id of the new invocation.
    """
    answer = client_of(context).request("POST", f"/api/v1/invocations/{quote(id)}/replay")
    print_json(answer) if as_json else print(answer["id"])


@invocations.verb("cancel", examples=("faasd invocations cancel 0193ab",))
@click.argument("id")
@json_option
@click.pass_context
def cancel(context: click.Context, *, id: str, as_json: bool) -> None:  # noqa: A002
    """Cancel an invocation that waits or runs."""
    answer = client_of(context).request("POST", f"/api/v1/invocations/{quote(id)}/cancel")
    print_json(answer) if as_json else print(f"cancelled {answer['cancelled'][0]}")


def print_invocation(value: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one invocation, its attempts below it."""
    if as_json:
        print_json(value)
        return
    shown = {name: one for name, one in value.items() if name not in ("attempt_records", "error")}
    print_fields(shown, as_json=False)
    if value["error"]:
        print(f"error  {printable(value['error']['type'])}: {printable(value['error']['message'])}")
        for line in "\n".join(value["error"]["stack"]).splitlines():
            print(f"  {printable(line)}")
        if value["error"].get("hint"):
            print(f"hint   {printable(value['error']['hint'])}")
    for record in value["attempt_records"]:
        print(f"\nattempt {record['number']}")
        rest = {name: one for name, one in record.items() if name not in ("number", "log_tail")}
        print_fields(rest, as_json=False)
        for line in record["log_tail"].splitlines():
            print(f"  | {printable(line)}")
