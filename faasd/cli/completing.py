"""What the shell offers for names: those that the daemon knows, and nothing when none answers."""

from __future__ import annotations

from collections.abc import Callable

import click

from faasd.cli.command import client_of
from faasd.errors import FaasdError

__all__ = ["names_of"]

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def names_of(plural: str, key: str = "name") -> Complete:
    """Return a completion with the names in one of the daemon's listings, such as `functions`."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            rows = client_of(context).request("GET", f"/api/v1/{plural}")[plural]
        except FaasdError:
            return []  # Somebody is typing; this is no time for messages.
        return [row[key] for row in rows if row[key].startswith(incomplete)]

    return complete
