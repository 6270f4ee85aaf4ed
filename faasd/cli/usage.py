"""`faasd usage`: requests, duration and GB-seconds by function and month."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from faasd.cli.command import client_of, command, json_option
from faasd.cli.completing import names_of
from faasd.cli.output import Columns, print_rows
from faasd.model.units import format_duration

__all__ = ["usage"]

_PRICE = click.FloatRange(0)


@command(
    examples=(
        "faasd usage",
        "faasd usage --month 2026-11 --json",
        "faasd usage --price-per-gb-second 0.0000166667 --price-per-million-requests 0.20",
    )
)
@click.option("--month", metavar="YYYY-MM", help="Of this month, in UTC; else of every month.")
@click.option(
    "--function", metavar="NAME", help="Of this function.", shell_complete=names_of("functions")
)
@click.option(
    "--price-per-gb-second", type=_PRICE, metavar="N", help="Else `[daemon] price_per_gb_second`."
)
@click.option(
    "--price-per-million-requests",
    type=_PRICE,
    metavar="N",
    help="Else `[daemon] price_per_million_requests`.",
)
@json_option
@click.pass_context
def usage(context: click.Context, /, *, as_json: bool, **narrow: Any) -> None:
    """Show what functions have used, and what it would cost.

    By month. A request is an attempt; a batch is one. GB-seconds are the duration times the function's
    memory limit in GiB, as clouds bill it. It is kept when the history of invocations is not.
    """
    # Not as_query, which takes the price 0 for none.
    query = {name: value for name, value in narrow.items() if value is not None}
    answer = client_of(context).request("GET", "/api/v1/usage", query=query)
    rows = answer["usage"]
    columns: Columns = [
        ("MONTH", "month"),
        ("FUNCTION", "function"),
        ("REQUESTS", "requests"),
        ("ERRORS", "errors"),
        ("DURATION", lambda row: format_duration(row["duration_s"])),
        ("GB-SECONDS", _fixed("gb_seconds", 3)),
        ("CPU", lambda row: format_duration(row["cpu_s"])),
    ]
    if any(price is not None for price in answer["prices"].values()):
        columns.append(("COST", _fixed("cost", 6)))
        if not as_json and len(rows) > 1:
            rows = [*rows, _total(rows)]
    print_rows(rows, columns, as_json=as_json, nothing="nothing has run yet")


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    words = ("requests", "errors", "duration_s", "gb_seconds", "cpu_s", "cost")
    sums = {word: sum(row[word] for row in rows) for word in words}
    return {"month": "total", "function": "", **sums}


def _fixed(key: str, digits: int) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: f"{row[key]:.{digits}f}"
