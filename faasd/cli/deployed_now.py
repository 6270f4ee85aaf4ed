"""Tells a running daemon of what has come into service, or gone out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from faasd.cli.command import client_of
from faasd.errors import DaemonUnreachable

__all__ = ["Taken", "take"]


@dataclass(frozen=True)
class Taken:
    """What became of it in the daemon."""

    sentence: str


def take(context: click.Context, store: Any, made: Any, before: Any) -> Taken:
    """Have a running daemon read its configuration again."""
    del store, made, before
    try:
        client_of(context).request("GET", "/healthz")
    except DaemonUnreachable:
        return Taken("no daemon runs; the functions are there at its next start")
    return Taken("the running daemon takes them at its next start")
