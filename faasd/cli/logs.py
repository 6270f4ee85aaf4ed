"""`faasd logs`: what functions printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import click

from faasd.cli.command import as_query, client_of, command, json_option
from faasd.cli.completing import names_of
from faasd.cli.output import print_json, printable

__all__ = ["logs"]


@command(
    examples=(
        "faasd logs -f --function thumbnail",
        "faasd logs --since 1h --grep 'refused|denied'",
        "faasd logs --invocation 0193ab --json",
    )
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes; Ctrl-C ends it.")
@click.option(
    "--function", metavar="NAME", help="Of this function.", shell_complete=names_of("functions")
)
@click.option("--invocation", metavar="ID", help="Of this invocation; a prefix of the id will do.")
@click.option(
    "--since", metavar="TIME", help="Printed then or after: ISO 8601, or 1h for an hour ago."
)
@click.option("--grep", metavar="RE", help="Lines that this regular expression finds something in.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 100_000), metavar="N", help="The newest N; 1000."
)
@json_option
@click.pass_context
def logs(context: click.Context, /, *, follow: bool, as_json: bool, **narrow: Any) -> None:
    """Show what functions printed, oldest first.

    With `--json` one array; together with `-f`, which has no end, one JSON object a line.
    """
    lines = client_of(context).stream(
        "GET", "/api/v1/logs", query=as_query(follow=follow, **narrow)
    )
    if as_json and not follow:
        print_json(list(lines))
        return
    is_any = False
    for line in lines:
        shown = json.dumps(line, ensure_ascii=False) if as_json else _text(line)
        print(shown, flush=follow)
        is_any = True
    if not is_any and not follow:
        click.echo("no line matches", err=True)


def _text(line: Mapping[str, Any]) -> str:
    level = f" {line['level']}" if line["level"] else ""
    said = printable(line["text"]) if sys.stdout.isatty() else line["text"]
    return f"{line['at']} {line['function']} {line['invocation_id']}{level} | {said}"
