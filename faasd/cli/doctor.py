"""`faasd doctor`: what this host can enforce, and what faasd needs of it."""

from __future__ import annotations

import asyncio
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
from faasd.cli.walls_here import Judged, judge
from faasd.client import Client, daemon_paths, find_socket, how_to_start
from faasd.errors import FaasdError
from faasd.model.paths import find_config
from faasd.model.walls import WALLS

__all__ = ["doctor"]

#: RETURNING, which the store's claims are written with.
_SQLITE_MIN = (3, 35)
#: A daemon that runs answers within milliseconds; one that hangs is a finding.
_ANSWER_S = 10.0
#: Walls that a function gets only when a setting asks for them.
_BY_SETTING = {"network", "cpu-cap", "user"}


@command(examples=("faasd doctor", "faasd doctor --json"))
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Tell which walls this host builds, and how to get more.

    Ends with exit code 0 only when every configured function gets every wall that it is promised, or something that
    keeps the same promise, and nothing else that is required is missing.
    """
    walls = _walls()
    functions, found_by = _functions(context)
    checks = _checks(config_of(context))
    rows = [_function_row(one) for one in functions]
    if as_json:
        value = {"walls": walls, "functions": rows, "found_by": found_by, "checks": checks}
        print_json(value)
    else:
        _print_walls(walls)
        _print_functions(rows, found_by)
        columns: Columns = [
            ("CHECK", "check"),
            ("OK", "ok"),
            ("FOUND", "found"),
            ("REMEDY", "remedy"),
        ]
        print_rows(checks, columns, as_json=False, nothing="nothing was checked")
    missing = [str(one["check"]) for one in checks if one["required"] and not one["ok"]]
    if missing:
        complain(f"missing on this host: {', '.join(missing)}")
    unenforced = [one for one in functions if one.lacks or one.problem is not None]
    for one in unenforced:
        complain(_unenforced(one))
    if missing or unenforced:
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
            "meaning": WALLS[one.wall].meaning,
            "instead": WALLS[one.wall].instead,
            "refuses": WALLS[one.wall].refuses,
        }
        for one in inspect_host()
    ]


def _functions(context: click.Context) -> tuple[list[Judged], str | None]:
    """Judge the functions of the configuration, if there is one; its mistakes are for `faasd check`."""
    path = find_config(config_of(context))
    if path is None:
        return [], None
    # Imported here: the daemon's libraries would make every other command a tenth of a second slower.
    load_config = importlib.import_module("faasd.foreground").load_config
    loaded = asyncio.run(load_config(Path(path).absolute()))
    return judge(loaded.functions, path) if loaded.functions else ([], None)


def _function_row(judged: Judged) -> dict[str, Any]:
    return {
        "function": judged.function.name,
        "containment": judged.function.permissions.containment,
        "verdict": judged.verdict,
        "asks_for": list(judged.asks_for),
        "missing": [{**vars(one), "refuses": one.refuses} for one in judged.missing],
        "problem": judged.problem,
    }


def _print_walls(walls: list[dict[str, Any]]) -> None:
    columns: Columns = [
        ("WALL", "wall"),
        ("AVAILABLE", "available"),
        ("STRICT", lambda row: "refuses" if row["refuses"] else "goes on"),
        ("HOW", "how"),
    ]
    print_rows(walls, columns, as_json=False, nothing="no wall is known")
    for one in walls:
        if not one["available"]:
            print(f"\n{one['wall']}: without it, this is what is left: {one['instead']}")
            print(f"  To get it: {one['remedy']}.")
    print()


def _print_functions(rows: list[dict[str, Any]], found_by: str | None) -> None:
    if not rows:
        return
    print(f"Functions, with the walls as {found_by} finds them:\n")
    columns: Columns = [
        ("FUNCTION", "function"),
        ("CONTAINMENT", "containment"),
        ("VERDICT", "verdict"),
        (
            "BESIDES THE USUAL WALLS",
            lambda row: ", ".join(sorted(_BY_SETTING & set(row["asks_for"]))),
        ),
        ("MISSING", lambda row: ", ".join(one["wall"] for one in row["missing"])),
    ]
    print_rows(rows, columns, as_json=False, nothing="")
    print()


def _unenforced(judged: Judged) -> str:
    name = judged.function.name
    if judged.problem is not None:
        return f"function {name!r}: {judged.problem}"
    if judged.refusal is not None:
        return f"function {name!r} is refused: {judged.refusal}"
    walls = "; ".join(map(str, judged.lacks))
    return f"function {name!r} is not enforced, and runs as best-effort: {walls}"


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
    remedy = how_to_start(socket_path)
    try:
        status = Client(socket_path).request("GET", "/api/v1/status", answer_s=_ANSWER_S)
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
