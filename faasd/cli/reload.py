"""`faasd reload`: what the files say, in force without stopping; and how its answer is shown."""

from __future__ import annotations

import sys
from typing import Any

import click

from faasd.cli.command import client_of, command, json_option
from faasd.cli.exits import FAILED, complain
from faasd.cli.output import Columns, print_json, print_rows
from faasd.model.reload import by_reason

__all__ = ["print_report", "reload"]


@command(examples=("faasd reload", "faasd reload --json"))
@json_option
@click.pass_context
def reload(context: click.Context, as_json: bool) -> None:
    """Put changed code and configuration in force.

    Attempts that run finish on what they began with; no tick and no event is lost. A mistake in the
    configuration file refuses it all; a module that is broken leaves its functions as they were. In both
    cases the exit code is 1.
    """
    print_report(context, client_of(context).request("POST", "/api/v1/reload"), as_json=as_json)


def print_report(context: click.Context, report: dict[str, Any], *, as_json: bool) -> None:
    """Print what a reload or a rollback has done; exit with 1 when something is not as the files say."""
    if as_json:
        print_json(report)
    else:
        columns: Columns = [
            ("FUNCTION", "function"),
            ("CHANGE", "change"),
            ("CODE VERSION", "code_version"),
            ("BEFORE", "before"),
        ]
        print_rows(report["changes"], columns, as_json=False, nothing="there is no function")
        for one in report["needs_restart"]:
            print(
                f"faasd: warning: `{one['setting']}` is {one['in_file']} in the file and "
                f"{one['in_force']} in force; it takes effect at the next start",
                file=sys.stderr,
            )
        for one in report["changes"]:
            if one["change"] in ("unchanged", "changed") and one["reason"]:
                print(
                    f"function {one['function']!r} is {one['reason']}; `faasd functions unpin {one['function']}` "
                    f"has it follow the files again"
                )
        for change in ("kept", "refused"):
            found = [one for one in report["changes"] if one["change"] == change]
            said = by_reason((one["function"], one["reason"]) for one in found if one["reason"])
            for who, reason in said:
                complain(f"{who} {change}: {reason}")
    if not report["whole"]:
        context.exit(FAILED)
