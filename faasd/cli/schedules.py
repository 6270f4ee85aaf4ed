"""`faasd schedules`: when things fire. `next --cron` answers without a daemon."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import click

from faasd.cli.command import as_query, client_of, json_option, noun
from faasd.cli.completing import names_of
from faasd.cli.output import Columns, print_json, print_rows, time_text
from faasd.client import Client, quote
from faasd.clock import from_iso, to_iso
from faasd.errors import InvalidSetting

__all__ = ["schedules"]

_COUNT_MAX = 1000


@noun("schedules")
def schedules() -> None:
    """List, pause, resume and run schedules; see when they fire."""


@schedules.verb("list", examples=("faasd schedules list", "faasd schedules list --json"))
@json_option
@click.pass_context
def list_schedules(context: click.Context, as_json: bool) -> None:
    """List the schedules with their next and last fire times."""
    rows = client_of(context).request("GET", "/api/v1/schedules")["schedules"]
    columns: Columns = [
        ("SCHEDULE", "name"),
        ("FUNCTION", "function"),
        ("KIND", "kind"),
        ("EXPRESSION", "expression"),
        ("TIMEZONE", "timezone"),
        ("NEXT", time_text("next_at")),
        ("LAST", time_text("last_at")),
        ("PAUSED", "paused"),
        ("NOTE", "note"),
    ]
    print_rows(rows, columns, as_json=as_json, nothing="there is no schedule")


@schedules.verb(
    "next",
    examples=(
        "faasd schedules next nightly-report -n 10",
        "faasd schedules next --cron '30 2 * * 1-5' --timezone Europe/Berlin -n 3 --json",
    ),
)
@click.argument("name", required=False, shell_complete=names_of("schedules"))
@click.option(
    "-n", "count", type=click.IntRange(1, _COUNT_MAX), default=5, metavar="N", help="How many; 5."
)
@click.option("--from", "after", metavar="TIME", help="After this time instead of now: ISO 8601.")
@click.option("--cron", metavar="EXPR", help="Of this expression; needs no daemon.")
@click.option("--timezone", metavar="TZ", help="The time zone of --cron; UTC when not given.")
@json_option
@click.pass_context
def next_times(
    context: click.Context,
    *,
    name: str | None,
    count: int,
    after: str | None,
    cron: str | None,
    timezone: str | None,
    as_json: bool,
) -> None:
    """Print the next fire times.

    Of one schedule, of all of them, or of an expression.

    With `--json`, an array of ISO 8601 times in UTC; for all schedules one of objects with `at` and `name`.
    """
    if cron is not None and name is not None:
        raise click.UsageError("name a schedule or give --cron, not both")
    if cron is None and timezone is not None:
        raise click.UsageError("--timezone goes with --cron; a schedule has its own")
    zone = _zone(timezone or "UTC")
    at = None if after is None else _moment(after, zone)
    if cron is not None:
        times = _fire_times(cron, timezone or "UTC", time.time() if at is None else at, count)
        _print_times([to_iso(one) for one in times], zone, as_json)
        return
    client = client_of(context)
    if name is not None:
        _print_times(_times_of(client, name, count, at), zone, as_json)
        return
    found = client.request("GET", "/api/v1/schedules")["schedules"]
    rows = [
        {"at": one, "name": row["name"], "function": row["function"]}
        for row in found
        if not row["paused"]
        for one in _times_of(client, row["name"], count, at)
    ]
    rows = sorted(rows, key=lambda row: (row["at"], row["name"]))[:count]
    columns: Columns = [("AT", time_text("at")), ("SCHEDULE", "name"), ("FUNCTION", "function")]
    print_rows(rows, columns, as_json=as_json, nothing="nothing will fire")


@schedules.verb("pause", examples=("faasd schedules pause nightly",))
@click.argument("name", shell_complete=names_of("schedules"))
@json_option
@click.pass_context
def pause(context: click.Context, name: str, as_json: bool) -> None:
    """Stop a schedule from firing, also over a restart."""
    _say(_post(context, name, "pause"), as_json)


@schedules.verb("resume", examples=("faasd schedules resume nightly",))
@click.argument("name", shell_complete=names_of("schedules"))
@json_option
@click.pass_context
def resume(context: click.Context, name: str, as_json: bool) -> None:
    """Let a schedule fire again from now on.

    Ticks that passed are recorded as missed.
    """
    _say(_post(context, name, "resume"), as_json)


@schedules.verb("run", examples=("faasd schedules run nightly",))
@click.argument("name", shell_complete=names_of("schedules"))
@json_option
@click.pass_context
def run(context: click.Context, name: str, as_json: bool) -> None:
    """Fire a schedule once now, beside its times.

    Prints the invocation's id.
    """
    answer = _post(context, name, "run")
    print_json(answer) if as_json else print(answer["id"])


def _post(context: click.Context, name: str, verb: str) -> dict[str, Any]:
    path = f"/api/v1/schedules/{quote(name)}/{verb}"
    answer: dict[str, Any] = client_of(context).request("POST", path)
    return answer


def _say(answer: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    word = "paused" if answer["paused"] else "not paused"
    print(f"schedule {answer['name']} is {word}" + ("" if answer["changed"] else ", as it was"))


def _times_of(client: Client, name: str, count: int, after: float | None) -> list[str]:
    path = f"/api/v1/schedules/{quote(name)}/next"
    query = as_query(n=count, after=to_iso(after))
    times: list[str] = client.request("GET", path, query=query)["times"]
    return times


def _fire_times(expression: str, timezone: str, after: float, count: int) -> list[float]:
    # Imported here: only this one verb works with the scheduler's arithmetic and without a daemon.
    from faasd.model.trigger import ScheduleTrigger
    from faasd.triggers.fire_times import fire_times_of

    trigger = ScheduleTrigger("--cron", "cron", expression=expression, timezone=timezone)
    fire_times = fire_times_of(trigger)
    found: list[float] = []
    while len(found) < count:
        following = fire_times.next_after(found[-1] if found else after)
        if following is None:
            break
        found.append(following)
    return found


def _print_times(times: Sequence[str | None], zone: ZoneInfo, as_json: bool) -> None:
    if as_json:
        print_json(list(times))
    elif not times:
        click.echo("it will not fire", err=True)
    for text in () if as_json else times:
        local = datetime.fromtimestamp(from_iso(text or ""), zone)
        shown = "" if zone.key == "UTC" else f"  {local:%a %Y-%m-%d %H:%M:%S %Z}"
        print(f"{text}{shown}")


def _zone(name: str) -> ZoneInfo:
    if name == "UTC":
        return ZoneInfo(name)
    # Imported here: it brings the scheduler's arithmetic.
    from faasd.triggers.cron_expression import zone_of

    return zone_of(name)


def _moment(text: str, zone: ZoneInfo) -> float:
    """Read ISO 8601; a time without an offset is one of the schedule's own zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidSetting(
            f"--from must be a time such as 2026-01-31T12:00:00Z, not {text!r}"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
