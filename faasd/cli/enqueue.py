"""`faasd enqueue` for click: its help, and the arguments that the small parser leaves over."""

from __future__ import annotations

import click

from faasd.cli.command import command, config_of, json_option
from faasd.cli.completing import names_of
from faasd.cli.enqueue_events import BATCH_DEFAULT, BATCH_MAX, enqueue_events

__all__ = ["enqueue"]


@command(
    examples=(
        """faasd enqueue images '{"path": "/srv/a.jpg"}'""",
        "faasd enqueue mail @letter.json --delay 10m --key customer-7",
        "generate-events | faasd enqueue images -",
    )
)
@click.argument("queue", shell_complete=names_of("queues", "queue"))
@click.argument("event", required=False, metavar="[JSON|@FILE|-]")
@click.option("--delay", metavar="DURATION", help="Run it this much later, such as 90s or 1h30m.")
@click.option("--key", metavar="TEXT", help="Events of one key run in order, one at a time.")
@click.option(
    "--dedup",
    metavar="TEXT",
    help="Accept only the first event with this key within five minutes; the id printed is that one's.",
)
@click.option("--priority", type=int, metavar="N", help="Higher runs first; 0 when not given.")
@click.option(
    "--expires", metavar="DURATION", help="Do not run it any more when it has waited this long."
)
@click.option(
    "--batch",
    type=click.IntRange(1, BATCH_MAX),
    metavar="N",
    help=f"Commit N lines at a time ({BATCH_DEFAULT} when not given); makes @FILE read as lines too.",
)
@json_option
@click.pass_context
def enqueue(
    context: click.Context,
    *,
    queue: str,
    event: str | None,
    delay: str | None,
    key: str | None,
    dedup: str | None,
    priority: int | None,
    expires: str | None,
    batch: int | None,
    as_json: bool,
) -> None:
    """Put events on a queue; they are on disk when this ends.

    The ids of the events are printed. An event is a JSON value; `@FILE` reads it from a file. `-` reads standard
    input, one JSON value a line, and commits each batch of lines in one transaction. Without an event it is `{}`.

    When no daemon runs, the event is written to its store, and runs when it starts.
    """
    options = {
        "delay": delay,
        "key": key,
        "dedup": dedup,
        "priority": priority,
        "expires": expires,
    }
    config = config_of(context)
    context.exit(
        enqueue_events(queue, event, options=options, batch=batch, config=config, as_json=as_json)
    )
