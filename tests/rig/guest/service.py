"""A real `faasd run` as a transient systemd service, and what a check asks about it."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from faasd.client import Client
from faasd.errors import FaasdError

__all__ = [
    "PATIENCE_S",
    "UNPRIVILEGED",
    "Service",
    "inhabited",
    "run_once",
    "wait_for",
    "waiting_sandboxes",
]

T = TypeVar("T")
FAASD = "/opt/faasd/bin/faasd"
CGROUPS = Path("/sys/fs/cgroup")
UNPRIVILEGED = ("User=faasd", "CapabilityBoundingSet=", "NoNewPrivileges=yes")
#: The guest is emulated: about ten times slower than the machine around it.
PATIENCE_S = 120.0


def wait_for(condition: Callable[[], T], what: str, timeout_s: float = PATIENCE_S) -> T:
    """Wait until the condition is true and return its value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(0.1)
    return value


def systemd_run(unit: str, properties: tuple[str, ...], *arguments: str) -> list[str]:
    """Return the command that runs something as a transient service."""
    options = [f"--property={one}" for one in properties]
    return ["systemd-run", "--quiet", f"--unit={unit}", *options, "--", *arguments]


def run_once(unit: str, properties: tuple[str, ...], *arguments: str) -> tuple[int, str]:
    """Run a command as a service until it ends; returns its exit code and standard output."""
    command = systemd_run(unit, properties, *arguments)
    command[1:1] = ["--wait", "--pipe", "--collect"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


class Service:
    """One daemon in a unit of its own, on a project of its own."""

    def __init__(self, name: str, project: Path, functions: str, *properties: str) -> None:
        self.unit = f"rig-{name}"
        self.properties = properties
        self.user = next((p[5:] for p in properties if p.startswith("User=")), "root")
        self.config = project / "faasd.toml"
        self.state_dir = project / "state"
        (project / "functions").mkdir()
        (project / "functions" / "app.py").write_text(textwrap.dedent(functions))
        # Some of these hosts lack walls on purpose, as root a cap on processes: then it runs and says so.
        self.config.write_text(
            '[daemon]\nstate_dir = "state"\n[defaults]\ncontainment = "best-effort"\n'
        )
        for path in (project, project / "functions"):
            os.chmod(path, 0o755)
            os.chown(path, pwd.getpwnam(self.user).pw_uid, -1)
        self.client = Client(config=str(self.config))

    @contextlib.contextmanager
    def running(self) -> Iterator[Service]:
        """Run it for the length of a block; afterwards the unit ended well and nothing is left of it."""
        begun = time.time()
        arguments = (FAASD, "run", "--config", str(self.config))
        subprocess.run(systemd_run(self.unit, self.properties, *arguments), check=True)
        try:
            self.wait_until_ready()
            yield self
        except BaseException:
            subprocess.run(
                ["journalctl", "--no-pager", "-n60", f"-u{self.unit}", f"--since=@{begun:.0f}"],
                check=False,
            )
            raise
        finally:
            subprocess.run(["systemctl", "stop", self.unit], check=True)
            result = self.show("Result")
            subprocess.run(
                ["systemctl", "reset-failed", self.unit], check=False, stderr=subprocess.DEVNULL
            )
        assert result == "success", f"the service ended with {result}"
        assert not self.group.exists()

    @property
    def group(self) -> Path:
        """The unit's cgroup."""
        return CGROUPS / "system.slice" / f"{self.unit}.service"

    def groups(self) -> list[str]:
        """Return the names of the groups of zygotes and attempts."""
        return [path.name for path in self.group.glob("faasd-????????????????/*") if path.is_dir()]

    def show(self, name: str) -> str:
        """Return one property of the unit."""
        command = ["systemctl", "show", "--property", name, "--value", self.unit]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def wait_until_ready(self, not_pid: int = 0) -> int:
        """Wait until a daemon is ready that is not this process; returns its pid."""

        def look() -> int:
            assert self.show("ActiveState") != "failed", "the service has failed"
            try:
                status = self.client.request("GET", "/api/v1/status")
            except FaasdError:
                return 0
            return status["pid"] if status["state"] == "ready" and status["pid"] != not_pid else 0

        return wait_for(look, f"{self.unit} to be ready")

    def walls(self) -> dict[str, Any]:
        """Return what the daemon says that its sandboxes are built with."""
        walls: dict[str, Any] = self.client.request("GET", "/api/v1/status")["walls"]
        return walls

    def word(self, function: str, event: Any = None) -> str:
        """Run a function; returns its outcome's word, and prints the rest for who reads a failure."""
        outcome = self.client.invoke(function, event)
        print(function, json.dumps(outcome))
        return str(outcome["outcome"])

    def kill9(self) -> int:
        """Kill the daemon the hard way; returns the pid that it had."""
        pid = int(self.show("MainPID"))
        os.kill(pid, signal.SIGKILL)
        return pid


def processes_with(token: str) -> list[int]:
    """Return the living processes with this word on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if token.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def inhabited(service: Path) -> list[Path]:
    """Return the cgroups of sandboxes with a process in them; empty ones are kept for the next attempts."""
    found = []
    for group in service.glob("faasd-????????????????/*-a*"):
        with contextlib.suppress(OSError):  # It has gone meanwhile.
            found += [group] if (group / "cgroup.procs").read_text() else []
    return found


def waiting_sandboxes(config: Path) -> float:
    """Return how many sandboxes wait for an event, as the daemon counts them."""
    command = [FAASD, "metrics", "--config", str(config)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line for line in said.splitlines() if line.startswith("faasd_sandboxes_waiting{")]
    return sum(float(line.split()[-1]) for line in lines)
