"""`faasd logs`: what functions printed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from faasd.cli.command import as_query, client_of, command, json_option
from faasd.cli.completing import names_of
from faasd.cli.exits import INTERRUPTED
from faasd.cli.log_lines import LineText, wants_colour
from faasd.cli.output import print_json
from faasd.client import Client
from faasd.errors import DaemonUnreachable, NotAccepting
from faasd.http_answer import Interrupted

__all__ = ["logs"]

_PATH = "/api/v1/logs"
_AWAY_RETRY_S = 0.5


@command(
    examples=(
        "faasd logs -f",
        "faasd logs -f --function thumbnail --function report",
        "faasd logs --since 1h --grep 'refused|denied'",
        "faasd logs --invocation 0193ab --json",
    )
)
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with what comes, across restarts; Ctrl-C ends it."
)
@click.option(
    "--function",
    metavar="NAME",
    multiple=True,
    help="Of this function; may be repeated.",
    shell_complete=names_of("functions"),
)
@click.option("--invocation", metavar="ID", help="Of this invocation; a prefix of the id will do.")
@click.option(
    "--since", metavar="TIME", help="Printed then or after: ISO 8601, or 1h for an hour ago."
)
@click.option("--grep", metavar="RE", help="Lines that this regular expression finds something in.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 100_000), metavar="N", help="The newest N; 1000."
)
@click.option(
    "--color",
    "--colour",
    "colour",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="`auto`: on a terminal, unless NO_COLOR is set.",
)
@json_option
@click.pass_context
def logs(
    context: click.Context, /, *, follow: bool, colour: str, as_json: bool, **narrow: Any
) -> None:
    """Show what functions printed, oldest first.

    With `--json` one array; together with `-f`, which has no end, one JSON object a line.
    """
    client = client_of(context)
    query = as_query(follow=follow, **narrow)
    lines = _followed(client, query) if follow else client.stream("GET", _PATH, query=query)
    if as_json and not follow:
        print_json(list(lines))
        return
    shown: LineText | None = None
    try:
        for line in lines:
            # Made with the first line: the daemon has then found the regular expression good.
            shown = shown or LineText(colour=wants_colour(colour), grep=narrow["grep"])
            text = json.dumps(line, ensure_ascii=False) if as_json else shown.of(line)
            print(text, flush=follow)
    except KeyboardInterrupt:
        if not follow:
            raise
        context.exit(INTERRUPTED)  # Nothing else ends it, so there is nothing to be told.
    if shown is None and not follow:
        click.echo("no line matches", err=True)


def _followed(client: Client, query: dict[str, object]) -> Iterator[Mapping[str, Any]]:
    """Yield lines as they come; when the daemon restarts, go on where it stopped.

    Raises DaemonUnreachable when there is none to begin with.
    """
    last: list[Mapping[str, Any]] = []  # The lines of the last moment, which come again.
    is_first, is_told = True, False
    while True:
        again = list(last)
        try:
            for line in client.stream("GET", _PATH, query=query):
                is_first = is_told = False
                if line in again:
                    again.remove(line)
                    continue
                last = [*last, line] if last and line["at"] == last[0]["at"] else [line]
                yield line
        except (DaemonUnreachable, NotAccepting) as error:
            if is_first and not isinstance(error, Interrupted):
                raise
        is_first = False
        if not is_told:
            click.echo("the daemon has stopped; waiting for it to come back", err=True)
            is_told = True
        if last:
            query = {**query, "since": last[0]["at"], "limit": 100_000}
        time.sleep(_AWAY_RETRY_S)
