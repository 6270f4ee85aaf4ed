"""Tells a running daemon of what has come into service, or gone out of it; and what nobody needs any more goes."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from faasd.cli.command import client_of
from faasd.client import Client, quote
from faasd.errors import BundleRefused, DaemonUnreachable, FaasdError

__all__ = ["Taken", "clear_away", "take"]


@dataclass(frozen=True)
class Taken:
    """What became of it in the daemon."""

    sentence: str
    warnings: tuple[str, ...] = ()


def take(
    context: click.Context, name: str, functions: Collection[str], undo: Callable[[], None]
) -> Taken:
    """Have a running daemon read its configuration again; functions that were rolled back follow again.

    Where the daemon does not take the functions, `undo` puts back what was in service, the daemon is told of
    that, and BundleRefused says why.
    """
    client = client_of(context)
    try:
        report = client.request("POST", "/api/v1/reload")
        for one in functions:
            if _change_of(one, report).get("reason", "").startswith("pinned"):
                report = client.request("POST", f"/api/v1/functions/{quote(one)}/unpin")
        faults = [
            f"function {one!r} is {change['change']}: {change['reason']}"
            for one in functions
            if (change := _change_of(one, report)).get("change") in ("kept", "refused")
        ]
    except DaemonUnreachable:
        return Taken("no daemon runs; it is in force at its next start")
    except FaasdError as error:
        faults = str(error).splitlines()
    if faults:
        undo()
        with contextlib.suppress(FaasdError):
            # It never took the new one, so nothing is to be said.
            client.request("POST", "/api/v1/reload")
        said = "\n".join(f"  {line}" for line in faults)
        raise BundleRefused(f"the daemon does not take {name}, and all is as it was:\n{said}")
    return Taken("the daemon has taken it", tuple(_refusals(client, functions)))


def _change_of(function: str, report: dict[str, Any]) -> dict[str, Any]:
    found = (one for one in report["changes"] if one["function"] == function)
    return {key: one or "" for key, one in next(found, {}).items()}


def _refusals(client: Client, functions: Collection[str]) -> Iterator[str]:
    for row in client.request("GET", "/api/v1/functions")["functions"]:
        if row["name"] in functions and row["refused"]:
            yield f"function {row['name']!r} is there and does not run here: {row['refused']}"


def clear_away(context: click.Context, store: Any, gone: Any = None) -> None:
    """Remove versions of deployments that nobody can need: neither in service, nor of a version of code that is kept.

    Of a deployment that is `gone` all of them, unless its functions still run.
    """
    if gone is not None and not _are_running(context, gone.functions):
        store.collect(keep=_bundles_of_kept_code(store, without=store.root / gone.name))
    else:
        store.collect(keep=_bundles_of_kept_code(store))


def _are_running(context: click.Context, functions: Collection[str]) -> bool:
    try:
        attempts = client_of(context).request("GET", "/api/v1/attempts")["attempts"]
    except DaemonUnreachable:
        return False
    return any(one["function"] in functions for one in attempts)


def _bundles_of_kept_code(store: Any, without: Path | None = None) -> list[Path]:
    """Return the bundles that kept versions of code, to which functions may be rolled back, are linked to."""
    versions: Any = importlib.import_module("faasd.functions.versions")
    root = Path(os.path.realpath(store.root))
    found = []
    for version in versions.VersionStore(store.root.parent / "versions").list():
        inside = [path for path in map(Path, version.linked) if path.is_relative_to(root)]
        found += [root.joinpath(*path.relative_to(root).parts[:2]) for path in inside]
    return [path for path in found if without is None or path.parent.name != without.name]
