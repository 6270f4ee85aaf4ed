"""The real daemon on a copy of an example's folder, and the real command line beside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faasd.client import Client
from faasd.errors import FaasdError

__all__ = ["REPOSITORY", "Example", "processes_in", "wait_for"]

REPOSITORY = Path(__file__).resolve().parents[2]
_WAIT_S = 30.0


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = _WAIT_S) -> Any:
    """Return the first true value of a condition; fail with `what` when time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s:g}s: {what}"
        time.sleep(0.05)


def processes_in(folder: Path) -> dict[int, str]:
    """Return pid → command line of every process that works in a folder: the daemon, zygotes, handlers."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            directory = os.readlink(entry / "cwd")
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # It ended while we looked, or is a kernel thread.
        if directory == str(folder) or directory.startswith(f"{folder}/"):
            found[int(entry.name)] = command
    return found


def _cgroups_of(state_dir: Path) -> list[Path]:
    """Return the control groups of a daemon, which are named after its state directory."""
    name = f"faasd-{hashlib.sha256(os.fsencode(os.path.realpath(state_dir))).hexdigest()[:16]}"
    return [Path(top) / name for top, names, _ in os.walk("/sys/fs/cgroup") if name in names]


class Example:
    """A folder with a `faasd.toml`, its daemon, and `faasd` as a user types it there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemon: subprocess.Popen[bytes] | None = None
        dropped = ("FAASD_CONFIG", "FAASD_SOCKET", "STATE_DIRECTORY", "RUNTIME_DIRECTORY")
        self.environ = {name: text for name, text in os.environ.items() if name not in dropped}
        # What the README calls `faasd` and `python` is what runs these tests.
        bin_dir = str(Path(sys.executable).parent)
        self.environ["PATH"] = f"{bin_dir}:{self.environ.get('PATH', os.defpath)}"

        self.client = Client(str(folder / "state" / "faasd.sock"))

    @staticmethod
    def copy_of(name: str, to: Path) -> Example:
        """Copy the example out of the repository, without what running it there has made."""
        made = shutil.ignore_patterns(
            "state",
            "__pycache__",
            "inbox",
            "done",
            "failed",
            "thumbnails",
            "reports",
            "out",
            "backups",
        )
        return Example(
            Path(shutil.copytree(REPOSITORY / "examples" / name, to / name, ignore=made))
        )

    def start(self) -> None:
        """Start the daemon and wait until it is ready."""
        with self._log.open("ab") as log:
            self._daemon = subprocess.Popen(
                ["faasd", "run"], cwd=self.folder, env=self.environ, stdout=log, stderr=log
            )
        wait_for("the daemon is ready\n" + self.log_text(), self._is_ready)

    def stop(self) -> None:
        """Stop the daemon as systemd would, and see that nothing of it is left."""
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return
        daemon.send_signal(signal.SIGTERM)
        try:
            code = daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
            raise AssertionError(f"the daemon did not stop\n{self.log_text()}") from None
        assert code == 0, f"the daemon ended with {code}\n{self.log_text()}"
        assert processes_in(self.folder) == {}, "the daemon left processes behind"
        assert _cgroups_of(self.folder / "state") == [], "the daemon left cgroups behind"

    def kill9(self) -> None:
        """Kill the daemon the hard way."""
        daemon, self._daemon = self._daemon, None
        assert daemon is not None
        daemon.kill()
        daemon.wait()

    @property
    def pid(self) -> int:
        """The daemon's."""
        assert self._daemon is not None
        return self._daemon.pid

    @property
    def is_running(self) -> bool:
        """Whether the daemon has not ended."""
        return self._daemon is not None and self._daemon.poll() is None

    def invoke_in_background(self, name: str, event: str = "null") -> subprocess.Popen[bytes]:
        """Start `faasd invoke` and do not wait for it."""
        return subprocess.Popen(
            ["faasd", "invoke", name, "--event", event],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def faasd(self, *arguments: str, code: int = 0, text: str | None = None) -> str:
        """Run one command as a user would in the folder; return what it printed."""
        ended = subprocess.run(
            ["faasd", *arguments],
            cwd=self.folder,
            env=self.environ,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = f"{ended.stdout}{ended.stderr}"
        assert ended.returncode == code, f"faasd {' '.join(arguments)}: {ended.returncode}\n{said}"
        return ended.stdout

    def json(self, *arguments: str) -> Any:
        """Run one command with `--json` and return the value."""
        return json.loads(self.faasd(*arguments, "--json"))

    def invocations(self, **query: str) -> list[dict[str, Any]]:
        """Return invocations, newest first, without the cost of a process for each look."""
        return self._list("invocations", query)

    def dead_letters(self, **query: str) -> list[dict[str, Any]]:
        """Return dead letters, newest first."""
        return self._list("dead-letters", query)

    def log_text(self) -> str:
        """Return what the daemon has logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self.folder / "daemon.log"

    def _is_ready(self) -> bool:
        assert self._daemon is not None
        assert self._daemon.poll() is None, f"the daemon ended:\n{self.log_text()}"
        try:
            self.client.request("GET", "/readyz")
        except FaasdError:
            return False
        return True

    def _list(self, what: str, query: dict[str, str]) -> list[dict[str, Any]]:
        answer = self.client.request("GET", f"/api/v1/{what}", query=query)
        found: list[dict[str, Any]] = answer[what.replace("-", "_")]
        return found
