"""A real daemon as a child process, and what a test asks about it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from faasd.client import Client
from faasd.errors import DaemonUnreachable, FaasdError
from tests.patience import patient

__all__ = ["DaemonProcess", "tmpfs", "wait_for", "write_project"]

T = TypeVar("T")
REPOSITORY = Path(__file__).resolve().parents[2]


def wait_for(condition: Callable[[], T], what: str, timeout_s: float = 20.0) -> T:
    """Wait until the condition is true and return its value; fail with `what` when time is up."""
    timeout_s = patient(timeout_s)
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s}s in vain for {what}")
        time.sleep(0.02)


@contextlib.contextmanager
def tmpfs(path: Path, size: str = "8m") -> Iterator[Callable[[], None]]:
    """Mount a tmpfs; yields what unmounts it, however often."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"this host does not let root mount a tmpfs: {done.stderr.strip()}")
    try:
        yield lambda: subprocess.run(["umount", str(path)], check=True, capture_output=True)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


def write_project(directory: Path, functions: str, toml: str = "") -> Path:
    """Write a configuration and one module of functions; returns the configuration's path.

    The functions may write the file `notes` beside the configuration, which is there and empty.
    """
    (directory / "functions").mkdir(parents=True, exist_ok=True)
    (directory / "notes").touch()
    if "[defaults]" not in toml:
        toml = textwrap.dedent(toml) + "\n[defaults]\n"
    toml = textwrap.dedent(toml).replace("[defaults]\n", '[defaults]\nwrite = ["notes"]\n')
    (directory / "functions" / "app.py").write_text(textwrap.dedent(functions))
    config = directory / "faasd.toml"
    config.write_text('[daemon]\nstate_dir = "state"\n' + textwrap.dedent(toml))
    return config


#: The daemon as it is, on a host that seems to lack the walls named before `--`.
_LACKING = """
import functools, sys
import faasd.daemon
end = sys.argv.index("--")
faasd.daemon.ProcessSandboxes = functools.partial(
    faasd.daemon.ProcessSandboxes, without=set(sys.argv[1:end])
)
sys.argv[1 : end + 1] = []
from faasd.cli.main import main
sys.exit(main())
"""


class DaemonProcess:
    """`faasd run` on one configuration, in a session of its own.

    `without` names fields of policy.Walls that it does not find, as on a host that lacks them.
    """

    def __init__(self, config: Path, without: Collection[str] = ()) -> None:
        self.config = config
        self.without = without
        self.state_dir = config.parent / "state"
        self.log_path = config.parent / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.client = Client(config=str(config))

    def start(self, wait: bool = True, pass_fds: tuple[int, ...] = ()) -> None:
        """Start it and wait until it is ready."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self._program(), "run", "--config", str(self.config)],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        if wait:
            self.wait_until_ready()

    def _program(self) -> list[str]:
        if not self.without:
            return ["-m", "faasd"]
        return ["-c", _LACKING, *self.without, "--"]

    def wait_until_ready(self) -> None:
        """Wait until it says that it is ready; fail with its log when it ends instead."""
        wait_for(self._is_ready, "the daemon to be ready", 30.0)

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended:\n{self.log()[-5000:]}")
        try:
            self.client.request("GET", "/readyz")
        except (DaemonUnreachable, FaasdError):
            return False
        return True

    def log(self) -> str:
        """Return everything that it has logged."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill9(self) -> None:
        """Kill it the hard way and reap it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self, timeout_s: float = 60.0) -> int:
        """Ask it to stop as systemd does; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(patient(timeout_s))
        self.process = None
        return code

    def leftovers(self) -> list[int]:
        """Return the processes that belong to this state directory, the daemon itself left out."""
        own = self.process.pid if self.process is not None else -1
        return [pid for pid in _marked(str(self.state_dir)) if pid != own]

    def invocation(self, id_: str) -> dict[str, Any]:
        """Return one invocation as the API shows it."""
        return self.client.invocation(id_)

    def wait_for_state(self, id_: str, *states: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait until an invocation is in one of these states and return it."""

        def look() -> dict[str, Any] | None:
            found = self.invocation(id_)
            return found if found["state"] in states else None

        return wait_for(look, f"{id_} to become {' or '.join(states)}", timeout_s)

    def cli(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line against it."""
        return subprocess.run(
            [sys.executable, "-m", "faasd", *arguments, "--config", str(self.config)],
            cwd=REPOSITORY,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=patient(60),
            check=False,
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[DaemonProcess]:
        """Run it for the length of a block; afterwards nothing may be left."""
        self.start()
        try:
            yield self
        finally:
            was_killed = self.process is None
            if not was_killed:
                with contextlib.suppress(ProcessLookupError):
                    self.stop()
        if was_killed:  # The kernel ends what was below it, a moment later.
            wait_for(lambda: not self.leftovers(), "what a killed daemon had started to end")
        assert not self.leftovers(), "processes are left behind"


def _marked(state_dir: str) -> Iterator[int]:
    """Yield the processes that were started on behalf of a daemon on this state directory."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(state_dir))).hexdigest()
    mark = f"FAASD_SANDBOX_OF={digest[:16]}:".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            environment = Path(f"/proc/{entry}/environ").read_bytes()
        except OSError:
            continue  # It has ended, or it is not ours to look at.
        if mark in environment:
            yield int(entry)
