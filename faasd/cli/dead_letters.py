"""`faasd dead-letters`: what was given up on, and what people make of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from faasd.cli.command import as_query, client_of, json_option, noun
from faasd.cli.invocations import narrowing_options, print_invocation
from faasd.cli.output import Columns, print_json, print_rows, time_text
from faasd.errors import NotFound

__all__ = ["dead_letters"]


@noun("dead-letters")
def dead_letters() -> None:
    """List, show, redrive and drop dead letters."""


@dead_letters.verb("list", examples=("faasd dead-letters list --function thumbnail --json",))
@narrowing_options
@json_option
@click.pass_context
def list_dead_letters(context: click.Context, /, *, as_json: bool, **narrow: Any) -> None:
    """List dead letters, newest first."""
    answer = client_of(context).request("GET", "/api/v1/dead-letters", query=as_query(**narrow))
    columns: Columns = [
        ("ID", "id"),
        ("FUNCTION", "function"),
        ("QUEUE", "queue"),
        ("OUTCOME", _outcome),
        ("ATTEMPTS", "attempts"),
        ("ENDED", time_text("ended_at")),
        ("ERROR", _error),
    ]
    print_rows(answer["dead_letters"], columns, as_json=as_json, nothing="there is no dead letter")


@dead_letters.verb("show", examples=("faasd dead-letters show 0193ab",))
@click.argument("id")
@json_option
@click.pass_context
def show(context: click.Context, *, id: str, as_json: bool) -> None:  # noqa: A002
    """Show a dead letter with its event and its attempts.

    And with the end of what they printed.
    """
    value = client_of(context).invocation(id)
    if value["state"] != "dead":
        raise NotFound(f"invocation {value['id']} is no dead letter: it is {value['state']}")
    print_invocation(value, as_json=as_json)


def _which(function: Any) -> Any:
    for option in (
        click.option("--outcome", metavar="WORD", help="With --all: whose last attempt ended so."),
        click.option("--queue", metavar="NAME", help="With --all: of this queue."),
        click.option("--function", metavar="NAME", help="With --all: of this function."),
        click.option("--all", "every", is_flag=True, help="All of them, or all that match."),
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        function = option(function)
    return function


@dead_letters.verb(
    "redrive",
    examples=(
        "faasd dead-letters redrive 0193ab",
        "faasd dead-letters redrive --all --function thumbnail",
    ),
)
@_which
@json_option
@click.pass_context
def redrive(context: click.Context, /, *, as_json: bool, **which: Any) -> None:
    """Send dead letters back to their queue with fresh attempts.

    Prints their ids.
    """
    ids = _change(context, "redrive", which)["redriven"]
    _print_ids(ids, as_json)


@dead_letters.verb(
    "drop",
    examples=("faasd dead-letters drop 0193ab", "faasd dead-letters drop --all --outcome timeout"),
)
@_which
@json_option
@click.pass_context
def drop(context: click.Context, /, *, as_json: bool, **which: Any) -> None:
    """Drop dead letters; history keeps a record of them.

    Prints their ids.
    """
    ids = _change(context, "drop", which)["dropped"]
    _print_ids(ids, as_json)


def _change(context: click.Context, verb: str, which: dict[str, Any]) -> dict[str, Any]:
    ids, every = which.pop("ids"), which.pop("every")
    narrow = as_query(**which)
    if bool(ids) == bool(every or narrow):
        raise click.UsageError(
            "name dead letters by id, or choose them by --function, --queue or --outcome, or say --all"
        )
    body = {"ids": list(ids)} if ids else {"all": True, **narrow}
    path = f"/api/v1/dead-letters/{verb}"
    answer: dict[str, Any] = client_of(context).request("POST", path, body)
    return answer


def _print_ids(ids: list[str], as_json: bool) -> None:
    if as_json:
        print_json(ids)
    elif ids:
        print(*ids, sep="\n")
    else:
        click.echo("no dead letter matches", err=True)


def _outcome(row: Mapping[str, Any]) -> str:
    return f"{row['outcome']}, quarantined" if row.get("quarantined") else str(row["outcome"])


def _error(row: Mapping[str, Any]) -> str:
    error = row["error"]
    return f"{error['type']}: {error['message']}"[:80] if error else ""
