"""`faasd service`: faasd as a systemd service, of the system or of one user."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from faasd.cli import service_plan as plan
from faasd.cli.command import config_of, json_option, noun
from faasd.cli.exits import FAILED, NO_DAEMON, complain
from faasd.cli.output import print_fields
from faasd.cli.service_steps import ask, take
from faasd.client import daemon_paths
from faasd.errors import Conflict, InvalidSetting

__all__ = ["service"]

_PACKAGED = ("/usr/lib/systemd/system", "/lib/systemd/system")
_PROPERTIES = {
    "state": "ActiveState",
    "substate": "SubState",
    "enabled": "UnitFileState",
    "since": "StateChangeTimestamp",  # In UTC, and ISO 8601 here.
    "pid": "MainPID",
    "status": "StatusText",
    "result": "Result",
    "restarts": "NRestarts",
    "memory_bytes": "MemoryCurrent",
}

user_option = click.option(
    "--user", "is_user", is_flag=True, help="The service of this user, instead of the system's."
)
dry_option = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


@noun("service")
def service() -> None:
    """Run faasd as a systemd service."""


@service.verb(
    "install",
    examples=(
        "sudo faasd service install",
        "faasd service install --user",
        "faasd service install --dry-run",
    ),
)
@user_option
@dry_option
@click.option("--no-socket", is_flag=True, help="Let the daemon open its socket itself.")
@click.pass_context
def install(context: click.Context, *, is_user: bool, dry_run: bool, no_socket: bool) -> None:
    """Write the units, enable them and start the daemon.

    Makes what is missing: the system user, the directories, a configuration to begin with. Nothing
    that you wrote is touched, and a second time changes nothing, or what an upgrade changed.
    """
    place = _place(context, is_user)
    program = _program()
    refusal = _refusal(place, program, with_socket=not no_socket)
    if refusal is not None and not dry_run:
        raise Conflict(refusal)
    has_config = Path(place.config_path).exists()
    steps = plan.install_steps(
        place,
        program,
        has_config=has_config,
        has_socket=Path(place.unit_dir, plan.SOCKET).exists(),
        with_socket=not no_socket,
    )
    has_changed = _take(steps, dry_run)
    states = {name: _show(place, name, "ActiveState") for name in plan.UNITS}
    _take(
        plan.activation(place, has_changed=has_changed, states=states, with_socket=not no_socket),
        dry_run,
        on_failure=lambda: _print_log(place),
    )
    if refusal is not None:
        raise Conflict(f"but it would refuse: {refusal}")
    if not dry_run:
        _print_next(place)


@service.verb("uninstall", examples=("sudo faasd service uninstall", "sudo faasd service uninstall --purge"))  # fmt: skip
@user_option
@dry_option
@click.option(
    "--purge", is_flag=True, help="Delete configuration, functions, data and the system user too."
)
@click.pass_context
def uninstall(context: click.Context, *, is_user: bool, dry_run: bool, purge: bool) -> None:
    """Stop the daemon, after what runs has finished, and remove the units.

    Configuration and data stay, unless they are purged.
    """
    place = _place(context, is_user)
    refusal = _unmanageable(place)
    if refusal is not None and not dry_run:
        raise Conflict(refusal)
    present = frozenset(name for name in plan.UNITS if Path(place.unit_dir, name).exists())
    steps = plan.uninstall_steps(place, present=present, purge=purge)
    if not present:
        print(f"absent     {place.unit_dir}/{plan.SERVICE}")
    _take(steps, dry_run)
    if not purge:
        print(f"kept       {place.config_dir}/ and {place.state_dir}/")


@service.verb("status", examples=("faasd service status", "faasd service status --json"))
@user_option
@json_option
@click.pass_context
def status(context: click.Context, *, is_user: bool, as_json: bool) -> None:
    """Show what systemd knows of the service.

    Ends with exit code 3 when the daemon does not run, and 1 when nothing is installed.
    """
    place = _place(context, is_user)
    found = _describe(place)
    print_fields(found, as_json=as_json)
    if not found["installed"]:
        sudo, user = ("", " --user") if is_user else ("sudo ", "")
        complain(
            f"nothing is installed; try `{sudo}faasd service install{user}`, with --dry-run first"
        )
        context.exit(FAILED)
    if found["state"] not in ("active", "reloading"):
        complain(_why_not(place, str(found["state"])))
        context.exit(NO_DAEMON)


def _why_not(place: plan.Place, state: str) -> str:
    user = " --user" if place.is_user else ""
    if state in ("activating", "deactivating"):
        return f"the daemon is {state}, and does not answer yet or no more; its log: journalctl{user} -u faasd -f"  # fmt: skip
    start = f"`systemctl{user} start faasd` starts it"
    if state == "failed":
        return f"the daemon has failed; `journalctl{user} -u faasd -n 30` says why, and {start} when that is mended"
    return f"the daemon does not run; {start}"


def _place(context: click.Context, is_user: bool) -> plan.Place:
    place = plan.place_of(is_user, os.environ, str(Path.home()))
    given = config_of(context)
    if given is not None and os.path.abspath(given) != place.config_path:
        raise InvalidSetting(
            f"the service reads {place.config_path}, not {given}; put your configuration there"
        )
    return place


def _program() -> tuple[str, ...]:
    """Return how this very faasd is started by somebody else."""
    beside = Path(sys.executable).parent / "faasd"
    if beside.is_file() and os.access(beside, os.X_OK):
        return (str(beside),)
    return (sys.executable, "-m", "faasd")


def _unmanageable(place: plan.Place) -> str | None:
    """Return why this place's systemd cannot be told anything; None when it can."""
    if not Path("/run/systemd/system").is_dir():
        return (
            "systemd does not run this machine; docs/operations.md says how to run faasd under another "
            "supervisor, and --dry-run shows what would be written"
        )
    if not place.is_user and os.geteuid() != 0:
        return "this needs root: try sudo, or --user for a service of your own"
    if place.is_user and not os.environ.get("XDG_RUNTIME_DIR"):
        return (
            "cannot reach this user's systemd: XDG_RUNTIME_DIR is not set; log in as this user, which su and "
            "sudo do not do, or: machinectl shell USER@"
        )
    return None


def _refusal(place: plan.Place, program: tuple[str, ...], *, with_socket: bool) -> str | None:
    """Return why installing is refused, before anything is written that could not run afterwards."""
    for directory in () if place.is_user else _PACKAGED:
        if Path(directory, plan.SERVICE).exists():
            return (
                f"{directory}/{plan.SERVICE} comes with a package: systemctl enable --now {plan.SOCKET} "
                f"{plan.SERVICE}"
            )
    if with_socket and Path(place.config_path).exists():
        _, socket_path = daemon_paths(place.config_path)
        if socket_path != f"{place.runtime_dir}/faasd.sock":
            return (
                f"{place.config_path} has its socket at {socket_path}, and faasd.socket listens at "
                f"{place.runtime_dir}/faasd.sock; remove `socket` and `state_dir` from it, or use --no-socket"
            )
    return _unmanageable(place) or (_unreachable(program[0], place.owner) if place.owner else None)


def _unreachable(program: str, owner: str) -> str | None:
    """Say what keeps the service's user from interpreter, program or package; None when nothing does."""
    package = str(Path(__file__).resolve().parents[1])
    for path in (program, os.path.realpath(sys.executable), package):
        modes = {str(one): one.stat().st_mode for one in (Path(path), *Path(path).parents)}
        closed = plan.closed_to_others(modes)
        if closed is not None:
            return (
                f"user {owner} could not run {path}: {closed} is closed to others; install faasd where everybody "
                f"may read it: python3 -m venv /opt/faasd && /opt/faasd/bin/pip install faasd"
            )
    return None


#: What is printed for the verbs of steps.
_DONE = {
    "keep": "unchanged",
    "miss": "absent",
    "make": "made",
    "give": "gave",
    "write": "wrote",
    "rewrite": "rewrote",
    "remove": "removed",
    "run": "ran",
}


def _take(
    steps: list[plan.Step], is_dry: bool, on_failure: Callable[[], None] = lambda: None
) -> bool:
    """Take steps and print each; returns whether a unit file changed."""
    has_changed = False
    for step in steps:
        try:
            verb, what = take(step, is_dry=is_dry)
        except Conflict:
            on_failure()
            raise
        is_change = verb not in ("keep", "miss")
        if isinstance(step, plan.WriteFile | plan.Remove) and "/systemd/" in what:
            has_changed |= is_change
        label = f"would {verb}" if is_dry and is_change else _DONE[verb]
        print(f"{label.ljust(13 if is_dry else 9)}  {what}", flush=True)
    return has_changed


def _show(place: plan.Place, unit: str, name: str) -> str:
    return ask(place.systemctl("show", "--property", name, "--value", unit)).strip()


def _describe(place: plan.Place) -> dict[str, Any]:
    names = ",".join(_PROPERTIES.values())
    show = place.systemctl("show", "--timestamp=utc", "--property", names, plan.SERVICE)
    lines = ask(show).splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    found: dict[str, Any] = {"installed": values.get("UnitFileState", "") != ""}
    for name, theirs in _PROPERTIES.items():
        text = values.get(theirs, "")
        found[name] = (
            int(text) if text.isdecimal() and text != "18446744073709551615" else text or None
        )
    if found["memory_bytes"] == "[not set]":
        found["memory_bytes"] = None
    found["since"] = _iso_time(found["since"])
    return {
        **found,
        "socket": _show(place, plan.SOCKET, "ActiveState") or None,
        "unit": f"{place.unit_dir}/{plan.SERVICE}",
        "config_path": place.config_path,
        "state_dir": place.state_dir,
    }


def _iso_time(theirs: str | None) -> str | None:
    """Return a time of systemd's, such as `Sat 2026-11-21 12:45:19 UTC`, in ISO 8601."""
    parts = (theirs or "").split()
    return f"{parts[1]}T{parts[2]}Z" if len(parts) == 4 and parts[3] == "UTC" else theirs


def _print_log(place: plan.Place) -> None:
    user = ["--user"] if place.is_user else []
    print("the last lines of its log:", file=sys.stderr, flush=True)
    subprocess.run(["journalctl", *user, "-u", plan.SERVICE, "-n", "15", "-o", "cat", "--no-pager"], stdout=sys.stderr.fileno(), check=False)  # fmt: skip


def _print_next(place: plan.Place) -> None:
    user = " --user" if place.is_user else ""
    print(f"\nThe daemon runs. Its log: journalctl{user} -u faasd -f; its functions: {place.config_dir}/functions")  # fmt: skip
    if place.is_user:
        print("It runs while you are logged in; for always: loginctl enable-linger")
    else:
        print(
            f"Members of the group {place.owner} may send events: usermod -a -G {place.owner} NAME"
        )
