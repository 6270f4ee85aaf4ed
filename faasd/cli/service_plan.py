"""What installing, removing and starting the service take, step by step. Pure: nothing is done here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from faasd.cli import service_units as units

__all__ = [
    "SERVICE",
    "SOCKET",
    "UNITS",
    "AddUser",
    "Command",
    "MakeDirectory",
    "Place",
    "Remove",
    "RemoveUser",
    "Step",
    "WriteFile",
    "activation",
    "closed_to_others",
    "exec_words",
    "install_steps",
    "place_of",
    "uninstall_steps",
]

SERVICE, SOCKET = "faasd.service", "faasd.socket"
#: In the order in which they stop: a socket that is still open would start the service again.
UNITS = (SOCKET, SERVICE)
_RUNNING = ("active", "reloading", "activating")


@dataclass(frozen=True)
class AddUser:
    """A system user with a group of its own, without login."""

    name: str


@dataclass(frozen=True)
class MakeDirectory:
    """A directory, made with this mode and owner where it is missing."""

    path: str
    mode: int
    owner: str | None = None


@dataclass(frozen=True)
class WriteFile:
    """A file with this text."""

    path: str
    text: str


@dataclass(frozen=True)
class Command:
    """A program that is run."""

    argv: tuple[str, ...]


@dataclass(frozen=True)
class Remove:
    """A file, or a directory with everything in it, that goes."""

    path: str


@dataclass(frozen=True)
class RemoveUser:
    """The system user goes."""

    name: str


Step = AddUser | MakeDirectory | WriteFile | Command | Remove | RemoveUser


@dataclass(frozen=True)
class Place:
    """Where one service has its things: the system's, or one user's."""

    is_user: bool
    unit_dir: str
    config_dir: str
    state_dir: str
    runtime_dir: str

    @property
    def owner(self) -> str | None:
        """Who runs the daemon, where that is somebody else than who installs it."""
        return None if self.is_user else units.USER_NAME

    @property
    def config_path(self) -> str:
        """The configuration that the unit names."""
        return f"{self.config_dir}/faasd.toml"

    def systemctl(self, *arguments: str) -> tuple[str, ...]:
        """Return the command that asks this service's manager."""
        return ("systemctl", *(("--user",) if self.is_user else ()), *arguments)


def place_of(is_user: bool, environ: Mapping[str, str], home: str) -> Place:
    """Return where things are; for a user as the XDG base directories say."""
    if not is_user:
        return Place(False, "/etc/systemd/system", "/etc/faasd", "/var/lib/faasd", "/run/faasd")
    config = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    state = environ.get("XDG_STATE_HOME") or f"{home}/.local/state"
    runtime = environ.get("XDG_RUNTIME_DIR") or "/run/user"
    return Place(True, f"{config}/systemd/user", f"{config}/faasd", f"{state}/faasd", f"{runtime}/faasd")  # fmt: skip


def install_steps(
    place: Place, program: tuple[str, ...], *, has_config: bool, has_socket: bool, with_socket: bool
) -> list[Step]:
    """Return everything up to the units being there, in order; each step may be taken again.

    Where there is a configuration, it and the functions are left alone: they are somebody's work.
    """
    command = exec_words(*program)
    if place.is_user:
        config = exec_words(place.config_path)
        service, socket = units.user_service_unit(command, config), units.user_socket_unit()
    else:
        service, socket = units.service_unit(command), units.socket_unit()
    functions_dir = f"{place.config_dir}/functions"
    socket_path = f"{place.unit_dir}/{SOCKET}"
    steps: list[Step] = []
    if has_socket and not with_socket:
        # It would go on holding the socket that the daemon is to make.
        steps += [Command(place.systemctl("disable", "--now", SOCKET)), Remove(socket_path)]
    if place.owner is not None:
        steps.append(AddUser(place.owner))
    steps += [MakeDirectory(place.config_dir, 0o755), MakeDirectory(functions_dir, 0o755)]
    if not has_config:
        steps += [
            WriteFile(f"{functions_dir}/hello.py", units.STARTER_FUNCTIONS),
            WriteFile(place.config_path, units.STARTER_CONFIG),
        ]
    steps += [
        MakeDirectory(place.state_dir, 0o750, place.owner),
        MakeDirectory(place.unit_dir, 0o755),
        WriteFile(f"{place.unit_dir}/{SERVICE}", service),
    ]
    if with_socket:
        steps.append(WriteFile(socket_path, socket))
    return steps


def exec_words(*words: str) -> str:
    """Return words as a command line of a unit, where `%`, `$`, quotes and blanks mean something."""
    escaped = [
        re.sub(r'(["\\])', r"\\\1", word.replace("%", "%%").replace("$", "$$")) for word in words
    ]
    return " ".join(f'"{one}"' if re.search(r"[\s\"'\\;]", one) else one for one in escaped)


def activation(
    place: Place, *, has_changed: bool, states: Mapping[str, str], with_socket: bool
) -> list[Step]:
    """Return what makes the installed units run: nothing where they do, a restart where they changed.

    `states` are systemd's words for the units now. A socket cannot be opened while the service that it
    is for runs without it, so the service stops first.
    """
    wanted = UNITS if with_socket else (SERVICE,)
    active = {name for name, state in states.items() if state in _RUNNING}
    failed = [name for name in UNITS if states.get(name) == "failed"]
    steps: list[Step] = []
    if has_changed:
        steps.append(Command(place.systemctl("daemon-reload")))
    steps.append(Command(place.systemctl("enable", *wanted)))
    if has_changed or not set(wanted) <= active:
        if failed:  # What failed too often is not started before that is forgiven.
            steps.append(Command(place.systemctl("reset-failed", *failed)))
        if active:
            running = [name for name in UNITS if name in active]
            steps.append(Command(place.systemctl("stop", *running)))
        steps.append(Command(place.systemctl("start", *wanted)))
    return steps


def uninstall_steps(place: Place, *, present: frozenset[str], purge: bool) -> list[Step]:
    """Return what takes the service away; data, configuration and user stay unless they are purged.

    `present` are the units that are there: stopping waits for what runs, as any stop does.
    """
    there = [name for name in UNITS if name in present]
    steps: list[Step] = []
    if there:
        steps.append(Command(place.systemctl("disable", "--now", *there)))
        steps += [Remove(f"{place.unit_dir}/{name}") for name in there]
        steps.append(Command(place.systemctl("daemon-reload")))
    if purge:
        steps += [Remove(one) for one in (place.config_dir, place.state_dir, place.runtime_dir)]
        if place.owner is not None:
            steps.append(RemoveUser(place.owner))
    return steps


def closed_to_others(modes: Mapping[str, int]) -> str | None:
    """Return the first path in whose way a stranger is stopped: `modes` of a file and all above it."""
    for path, mode in sorted(modes.items()):
        if not mode & 0o001:
            return path
    return None
