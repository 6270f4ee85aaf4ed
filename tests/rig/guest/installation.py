"""The service as it is installed in the guest, and what checks ask about it."""

from __future__ import annotations

import os
import subprocess
import textwrap
from pathlib import Path
from typing import Any

from faasd.client import Client
from faasd.errors import FaasdError
from tests.rig.guest.service import wait_for

__all__ = [
    "CONFIG",
    "SOCKET",
    "UNIT",
    "client",
    "daemon_pid",
    "durably",
    "run",
    "show",
    "state_of",
    "wait_until",
    "write_configuration",
    "write_unit",
]

CONFIG = Path("/etc/faasd/faasd.toml")
UNIT = Path("/etc/systemd/system/faasd.service")
SOCKET = Path("/run/faasd/faasd.sock")


def run(*command: str, code: int | None = 0) -> str:
    """Run a command and return what it prints, both streams together."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # fmt: skip
    print("$", *command, f"→ {done.returncode}\n{done.stdout}")
    assert code is None or done.returncode == code
    return done.stdout


def show(name: str, unit: str = "faasd.service") -> str:
    """Return one property of a unit."""
    return run("systemctl", "show", "--property", name, "--value", unit).strip()


def client() -> Client:
    """Return a client of the installed daemon."""
    return Client(config=str(CONFIG))


def daemon_pid(other_than: int = 0) -> int:
    """Wait for a daemon that answers; returns its process id."""

    def look() -> int:
        try:
            status = client().request("GET", "/api/v1/status")
        except FaasdError:
            return 0
        return status["pid"] if status["state"] == "ready" and status["pid"] != other_than else 0

    return int(wait_for(look, "the daemon to be ready"))


def state_of(id_: str) -> dict[str, Any]:
    """Return everything about one invocation."""
    found: dict[str, Any] = client().invocation(id_)
    return found


def wait_until(id_: str, state: str) -> dict[str, Any]:
    """Wait until an invocation is in this state, and return it."""
    return wait_for(lambda: found if (found := state_of(id_))["state"] == state else None, f"{id_} to be {state}")  # fmt: skip


def write_configuration(functions: str, toml: str) -> None:
    """Write the functions and the configuration that the installation finds there."""
    directory = CONFIG.parent / "functions"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "app.py").write_text(textwrap.dedent(functions))
    CONFIG.write_text(textwrap.dedent(toml))


def write_unit(name: str, text: str) -> None:
    """Write a unit of the test's own."""
    path = Path("/etc/systemd/system", name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text))
    run("systemctl", "daemon-reload")


def durably(path: Path, line: str) -> None:
    """Append a line that no power cut takes back once this has returned."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(fd, b"\n" + line.encode() + b"\n")  # Of its own also after one that a cut tore.
        os.fsync(fd)
    finally:
        os.close(fd)
