"""`faasd invoke`: run one function now."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import click

from faasd.cli.command import client_of, command, json_option
from faasd.cli.completing import names_of
from faasd.cli.enqueue_events import read_json_argument
from faasd.cli.exits import FAILED, complain
from faasd.cli.output import print_json

__all__ = ["invoke"]


@command(
    examples=(
        """faasd invoke thumbnail --event '{"path": "/srv/a.jpg"}'""",
        "faasd invoke report --event @event.json --logs",
        "faasd invoke report --async",
        "faasd invoke report:stable",
    )
)
@click.argument("name", shell_complete=names_of("functions"))
@click.option(
    "--event", metavar="JSON|@FILE|-", help="What the handler receives; {} when not given."
)
@click.option("--async", "is_async", is_flag=True, help="Do not wait: print the id and end.")
@click.option("--logs", is_flag=True, help="Show what it prints, on standard error, as it comes.")
@json_option
@click.pass_context
def invoke(
    context: click.Context,
    *,
    name: str,
    event: str | None,
    is_async: bool,
    logs: bool,
    as_json: bool,
) -> None:
    """Run a function now and print its result.

    The result is JSON, and nothing else goes to standard output. A function that fails is told on standard
    error, with exit code 1; it is not tried again. NAME:VERSION and NAME:ALIAS run a kept version of its code.
    Ctrl-C cancels the invocation. With `--json` the whole outcome is printed.
    """
    if logs and is_async:
        raise click.UsageError(
            "--logs shows what is being waited for, so it does not go with --async"
        )
    body = {} if event is None else read_json_argument(event, "--event")
    client = client_of(context)
    if is_async:
        answer = client.invoke(name, body, wait=False)
        print_json(answer) if as_json else print(answer["id"])
        return
    outcome = client.invoke(name, body, on_log=_show_line if logs else None)
    if as_json:
        print_json(outcome)
    elif outcome["outcome"] == "ok":
        print(json.dumps(outcome["result"], ensure_ascii=False))
    if outcome["outcome"] != "ok":
        complain(_failure(name, outcome))
        context.exit(FAILED)


def _show_line(line: Mapping[str, Any]) -> None:
    print(line["text"], file=sys.stderr, flush=True)


def _failure(name: str, outcome: Mapping[str, Any]) -> str:
    error = outcome["error"] or {"type": "", "message": "", "stack": []}
    lines = [
        f"function {name!r} ended as {outcome['outcome']}: {error['type']}: {error['message']}"
    ]
    lines += [str(frame) for frame in error["stack"]]
    lines += [f"hint: {error['hint']}"] if error.get("hint") else []
    return "\n".join([*lines, f"see `faasd invocations show {outcome['id']}`"])
