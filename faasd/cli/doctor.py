"""`faasd doctor`: what this host can enforce, and what faasd needs of it."""

from __future__ import annotations

import importlib
import os
import platform
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from faasd.cli.command import command, config_of, json_option
from faasd.cli.exits import FAILED, complain
from faasd.cli.output import Columns, print_json, print_rows
from faasd.client import Client, daemon_paths, find_socket
from faasd.errors import FaasdError

__all__ = ["doctor"]

#: RETURNING, which the store's claims are written with.
_SQLITE_MIN = (3, 35)


@command(examples=("faasd doctor", "faasd doctor --json"))
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Tell which walls this host can build, and how to get more.

    Ends with exit code 1 when something that is required is missing.
    """
    walls = _walls()
    checks = _checks(config_of(context))
    if as_json:
        print_json({"walls": walls, "checks": checks})
    else:
        wall_columns: Columns = [
            ("WALL", "wall"),
            ("AVAILABLE", "available"),
            ("HOW", "how"),
            ("REMEDY", "remedy"),
        ]
        print_rows(walls, wall_columns, as_json=False, nothing="no wall is known")
        print()
        columns: Columns = [
            ("CHECK", "check"),
            ("OK", "ok"),
            ("FOUND", "found"),
            ("REMEDY", "remedy"),
        ]
        print_rows(checks, columns, as_json=False, nothing="nothing was checked")
    missing = [str(one["wall"]) for one in walls if one["required"] and not one["available"]]
    missing += [str(one["check"]) for one in checks if one["required"] and not one["ok"]]
    if missing:
        complain(f"missing on this host: {', '.join(missing)}")
        context.exit(FAILED)


def _walls() -> list[dict[str, Any]]:
    # Imported here: it tries each wall in a process of its own.
    inspect_host = importlib.import_module("faasd.sandbox.preflight").inspect_host
    return [
        {
            "wall": one.wall,
            "available": one.available,
            "how": one.how,
            "remedy": one.remedy,
            "required": getattr(one, "required", False),
        }
        for one in inspect_host()
    ]


def _checks(config: str | None) -> list[Mapping[str, Any]]:
    checks = [_python(), _sqlite()]
    try:
        state_dir, _ = daemon_paths(config)
        return [*checks, _state_dir(state_dir), _daemon(find_socket(config=config))]
    except FaasdError as error:
        return [*checks, _row("configuration", False, str(error), "run `faasd check`")]


def _row(check: str, ok: bool, found: str, remedy: str, *, required: bool = True) -> dict[str, Any]:
    return {
        "check": check,
        "ok": ok,
        "found": found,
        "remedy": None if ok else remedy,
        "required": required,
    }


def _python() -> dict[str, Any]:
    ok = sys.version_info >= (3, 11)
    return _row("python", ok, platform.python_version(), "use Python 3.11 or newer")


def _sqlite() -> dict[str, Any]:
    ok = sqlite3.sqlite_version_info >= _SQLITE_MIN
    return _row("sqlite", ok, sqlite3.sqlite_version, "use a Python with SQLite 3.35 or newer")


def _state_dir(path: str) -> dict[str, Any]:
    nearest = Path(path)
    while not nearest.exists():
        nearest = nearest.parent
    ok = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    found = path if nearest == Path(path) else f"{path}, which does not exist yet"
    return _row("state directory", ok, found, f"let this user write {nearest}, or set state_dir")


def _daemon(socket_path: str) -> dict[str, Any]:
    remedy = "start it with `faasd run`"
    try:
        status = Client(socket_path).request("GET", "/api/v1/status")
    except FaasdError as error:
        return _row("daemon", False, str(error), remedy, required=False)
    found = f"{status['state']}, version {status['version']}, process {status['pid']}"
    return _row("daemon", True, found + _walls_of(status), remedy, required=False)


def _walls_of(status: Mapping[str, Any]) -> str:
    """Say what the daemon itself builds with: as a service it may well be allowed more than our shell."""
    walls = status.get("walls")
    if not isinstance(walls, Mapping):
        return ""
    pid = "PID namespaces" if "pid" in walls["namespaces"] else "no PID namespaces"
    if walls["memory_cgroup"] is not None:
        return f"; its sandboxes have {pid} and cgroup {walls['memory_cgroup']}"
    return f"; its sandboxes have {pid} and no cgroup: {walls['memory_cgroup_problem']}"
