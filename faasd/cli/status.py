"""`faasd status`: the daemon itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from faasd.cli.command import client_of, command, json_option
from faasd.cli.output import one_line, print_details, print_json, printable, time_text

__all__ = ["status"]

#: Far longer than a start takes on a slow machine; whoever watches a daemon by this must not hang with it.
_ANSWER_S = 60.0


@command(examples=("faasd status", "faasd status --json"))
@json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show what the daemon does, and what is wrong.

    `faasd doctor` tells which walls this host builds; with `--json` they are here too.
    """
    found = client_of(context).request("GET", "/api/v1/status", answer_s=_ANSWER_S)
    if as_json:
        print_json(found)
        return
    problems = found["problems"]
    if found.get("last_reload"):
        found["last_reload"] = _reload_text(found["last_reload"])
    # Of the walls `faasd doctor` tells more, and in words.
    apart = {"walls", "problems"} if problems else {"walls"}
    print_details({key: value for key, value in found.items() if key not in apart})
    if problems:
        print("problems")
    for problem in problems:
        print(f"  {printable(one_line(problem))}")


def _reload_text(last: Mapping[str, Any]) -> str:
    told = f"{last['result']} at {time_text('at')(last)}"
    return one_line(f"{told}: {last['error']}" if last.get("error") else told)
