"""`faasd functions`: what there is, and holding and releasing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from faasd.cli.command import client_of, json_option, noun
from faasd.cli.completing import names_of
from faasd.cli.output import Columns, print_details, print_json, print_rows, printable, time_text
from faasd.cli.reload import print_report
from faasd.client import quote

__all__ = ["functions"]


@noun("functions")
def functions() -> None:
    """List, show, pause and resume functions; go back."""


@functions.verb("list", examples=("faasd functions list", "faasd functions list --json"))
@json_option
@click.pass_context
def list_functions(context: click.Context, as_json: bool) -> None:
    """List the functions, with how the last 24 hours' attempts ended."""
    rows = client_of(context).request("GET", "/api/v1/functions")["functions"]
    columns: Columns = [
        ("FUNCTION", "name"),
        ("HANDLER", "handler"),
        ("TRIGGERS", _triggers),
        ("RUNNING", "running"),
        ("LAST 24 HOURS", _outcomes),
        ("PAUSED SINCE", time_text("paused_since")),
        ("BREAKER", _breaker),
        ("REFUSED", lambda row: _yes(bool(row.get("refused")))),
        ("PINNED", lambda row: _yes(bool(row.get("pinned_to")))),
        ("KEPT OLD", lambda row: _yes(bool(row.get("kept_because")))),
    ]
    print_rows(rows, columns, as_json=as_json, nothing="there is no function; see `faasd check`")


@functions.verb("show", examples=("faasd functions show thumbnail",))
@click.argument("name", shell_complete=names_of("functions"))
@json_option
@click.pass_context
def show_function(context: click.Context, name: str, as_json: bool) -> None:
    """Show a function's triggers, limits and permissions.

    What it may touch and use on this host is said in sentences, and so is each wall that is missing here,
    and what its import leaves open that all attempts would share.
    """
    value = client_of(context).request("GET", f"/api/v1/functions/{quote(name)}")
    if as_json:
        print_json(value)
        return
    apart = ("policy", "missing_walls", "left_open")
    shown = {key: one for key, one in value.items() if key not in apart}
    shown |= {"outcomes_24h": _outcomes(value), "breaker": _breaker(value) or "closed"}
    print_details(shown)
    print("\nWhat it may touch and use here:")
    for sentence in value["policy"]:
        print(f"  {printable(sentence)}")
    if value["left_open"]:
        print("\nWhat its import leaves open:")
    for sentence in value["left_open"]:
        print(f"  {printable(sentence)}")


@functions.verb("pause", examples=("faasd functions pause thumbnail",))
@click.argument("name", shell_complete=names_of("functions"))
@json_option
@click.pass_context
def pause(context: click.Context, name: str, as_json: bool) -> None:
    """Hold a function: what is accepted for it waits.

    Also over a restart, until `resume`.
    """
    _set_paused(context, name, "pause", as_json)


@functions.verb("resume", examples=("faasd functions resume thumbnail",))
@click.argument("name", shell_complete=names_of("functions"))
@json_option
@click.pass_context
def resume(context: click.Context, name: str, as_json: bool) -> None:
    """Let a paused function run again, and lift what else stopped it.

    That is its breaker, which holds a function back whose sandboxes died one after another, and the guard
    that stops a files trigger whose function feeds it. `faasd why NAME` says which of them it was.
    """
    _set_paused(context, name, "resume", as_json)


@functions.verb(
    "versions",
    examples=("faasd functions versions thumbnail", "faasd functions versions thumbnail --json"),
)
@click.argument("name", shell_complete=names_of("functions"))
@json_option
@click.pass_context
def list_versions(context: click.Context, name: str, as_json: bool) -> None:
    """List the versions of its code that were in service.

    The last one first. Those that are kept can be gone back to.
    """
    path = f"/api/v1/functions/{quote(name)}/versions"
    rows = client_of(context).request("GET", path)["versions"]
    columns: Columns = [
        ("VERSION", "version"),
        ("IN SERVICE", lambda row: _yes(row["in_service"])),
        ("PINNED", lambda row: _yes(row["pinned"])),
        ("ALIASES", lambda row: ", ".join(row["aliases"])),
        ("SINCE", time_text("served_at")),
        ("KEPT", lambda row: _yes(row["kept"])),
        ("FILES", "files"),
        ("SOURCE", "source"),
    ]
    print_rows(
        rows, columns, as_json=as_json, nothing=f"{name} runs in place: no version of it is kept"
    )


@functions.verb(
    "rollback",
    examples=("faasd functions rollback thumbnail", "faasd functions rollback thumbnail 3f2a"),
)
@click.argument("name", shell_complete=names_of("functions"))
@click.argument("version", required=False)
@json_option
@click.pass_context
def roll_back(context: click.Context, name: str, version: str | None, as_json: bool) -> None:
    """Go back to the version before this one, or to VERSION.

    VERSION is the beginning of one, or an alias. The function stays pinned to it, over reloads and
    restarts, until `unpin` or another rollback. Its settings are those that the file has now.
    """
    path = f"/api/v1/functions/{quote(name)}/rollback"
    report = client_of(context).request("POST", path, {"version": version} if version else {})
    print_report(context, report, as_json=as_json)


@functions.verb("unpin", examples=("faasd functions unpin thumbnail",))
@click.argument("name", shell_complete=names_of("functions"))
@json_option
@click.pass_context
def unpin(context: click.Context, name: str, as_json: bool) -> None:
    """Run what is on the disk again, after a rollback."""
    path = f"/api/v1/functions/{quote(name)}/unpin"
    print_report(context, client_of(context).request("POST", path), as_json=as_json)


@functions.verb(
    "alias",
    examples=(
        "faasd functions alias thumbnail stable 3f2a",
        "faasd functions alias thumbnail stable --remove",
    ),
)
@click.argument("name", shell_complete=names_of("functions"))
@click.argument("alias")
@click.argument("version", required=False)
@click.option("--remove", is_flag=True, help="Take the name away.")
@json_option
@click.pass_context
def set_alias(
    context: click.Context,
    *,
    name: str,
    alias: str,
    version: str | None,
    remove: bool,
    as_json: bool,
) -> None:
    """Give a version of a function's code a name.

    `faasd invoke NAME:ALIAS` runs it; and a version that has a name is kept.
    """
    if remove == (version is not None):
        raise click.UsageError("name a VERSION, or --remove the alias")
    path = f"/api/v1/functions/{quote(name)}/aliases"
    answer = client_of(context).request("POST", path, {"alias": alias, "version": version})
    if as_json:
        print_json(answer)
    elif remove:
        print(f"{name} has no alias {alias} any more")
    else:
        print(f"{name}:{alias} is version {answer['version']}")


def _yes(value: bool) -> str:
    return "yes" if value else "-"


def _set_paused(context: click.Context, name: str, verb: str, as_json: bool) -> None:
    answer = client_of(context).request("POST", f"/api/v1/functions/{quote(name)}/{verb}")
    if as_json:
        print_json(answer)
        return
    word = "paused" if answer["paused"] else "not paused"
    print(f"function {name} is {word}" + ("" if answer["changed"] else ", as it was"))
    for trigger in answer.get("started_triggers", ()):
        print(f"files trigger {trigger} goes on")


def _triggers(row: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{one['trigger']} {_happening(one) or one.get('path') or one['name']}"
        for one in row["triggers"]
    )


def _happening(trigger: Mapping[str, Any]) -> str:
    """Return when a schedule fires, as it was written; "" for what is none."""
    if trigger.get("interval_s") is not None:
        from faasd.model.units import format_duration

        return format_duration(trigger["interval_s"])
    return str(trigger.get("expression") or trigger.get("at") or "")


def _breaker(row: Mapping[str, Any]) -> str:
    breaker = row["breaker"]
    if breaker["state"] == "open":
        return f"open until {time_text('retry_at')(breaker)}"
    return "" if breaker["state"] == "closed" else str(breaker["state"])


def _outcomes(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {word}" for word, count in row["outcomes_24h"].items())
