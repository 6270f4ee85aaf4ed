"""`faasd top`: what the daemon does now, drawn anew every few seconds."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from faasd.cli.command import client_of, command, json_option
from faasd.cli.output import print_json
from faasd.client import Client
from faasd.errors import DaemonUnreachable, FaasdError

__all__ = ["top"]

#: The look for failures goes through a day's history, so it is made more rarely.
_FAILURES_EVERY_S = 10.0
_FAILURES_MAX = 20
_FAILED = "error,timeout,oom,crashed,output-limit,init-error,lost,sandbox-failed"


@command(examples=("faasd top", "faasd top --interval 5", "faasd top --once | mail -s faasd ops"))
@click.option(
    "--once", is_flag=True, help="Print a single frame; so it is when output is no terminal."
)
@click.option(
    "--interval",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    metavar="SECONDS",
    help="Between two frames; 2.",
)
@json_option
@click.pass_context
def top(context: click.Context, *, once: bool, interval: float, as_json: bool) -> None:
    """Watch what runs, waits, comes and fails.

    Functions, running attempts with their age and memory, queues, next ticks and recent failures, drawn
    anew every two seconds until Ctrl-C. With `--json` what a single frame shows, as one object.
    """
    look = _Look(client_of(context))
    if as_json:
        print_json(look())
    elif once or not sys.stdout.isatty():
        from faasd.cli.top_frame import print_frame

        print_frame(look())
    else:
        _watch(look, interval)


class _Look:
    """Asks the daemon for everything that a frame shows."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._failures: list[dict[str, Any]] | None = None
        self._failures_at = 0.0

    def __call__(self) -> dict[str, Any]:
        """Return a frame's content; what this user may not see is None."""
        now = time.monotonic()
        if self._failures is None or now - self._failures_at >= _FAILURES_EVERY_S:
            query = {"outcome": _FAILED, "since": "24h", "limit": _FAILURES_MAX}
            self._failures = self._if_allowed("/api/v1/invocations", "invocations", query)
            self._failures_at = now
        return {
            "status": self._client.request("GET", "/api/v1/status"),
            "functions": self._client.request("GET", "/api/v1/functions")["functions"],
            "attempts": self._if_allowed("/api/v1/attempts", "attempts"),
            "queues": self._client.queues(),
            "schedules": self._client.request("GET", "/api/v1/schedules")["schedules"],
            "failures": self._failures,
        }

    def _if_allowed(
        self, path: str, key: str, query: dict[str, object] | None = None
    ) -> list[dict[str, Any]] | None:
        try:
            found: list[dict[str, Any]] = self._client.request("GET", path, query=query)[key]
        except DaemonUnreachable:
            raise
        except FaasdError:
            return None
        return found


def _watch(look: Callable[[], dict[str, Any]], interval_s: float) -> None:
    from rich.console import Console
    from rich.live import Live

    from faasd.cli.top_frame import frame_of, trouble_of

    # Like Ctrl-C, so that the terminal is given back as it was found.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seen = look()  # Before the screen is taken: without a daemon the error is all there is to say.
    console = Console()
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(frame_of(seen, console.size.height), refresh=True)
                time.sleep(interval_s)
                try:
                    seen = look()
                except FaasdError as error:
                    # It may be restarting; whoever watches wants to see it come back.
                    live.update(trouble_of(error), refresh=True)
                    time.sleep(interval_s)
    except KeyboardInterrupt:
        pass
