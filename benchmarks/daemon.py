"""Our daemon under measurement: a real `faasd run` on a scratch directory."""

from __future__ import annotations

import inspect
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import faasd
from benchmarks.model import CouldNotMeasure
from faasd.client import Client
from faasd.errors import DaemonUnreachable, FaasdError

__all__ = ["ROOT", "MeasuredDaemon", "can", "running", "wait_until", "write_project"]

ROOT = Path(__file__).resolve().parents[1]
_START_S = (
    300.0  # Each module is looked at in a process of its own; with hundreds that takes its time.
)
_STOP_S = 60.0


def can(setting: str) -> bool:
    """Whether functions of this version have a setting, `reuse` for example."""
    return setting in inspect.signature(faasd.function).parameters


def wait_until(
    condition: Callable[[], Any], what: str, timeout_s: float = 120.0, step_s: float = 0.002
) -> Any:
    """Wait until the condition is true and return its value; raises CouldNotMeasure when time is up."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise CouldNotMeasure(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(step_s)
    return value


def write_project(directory: Path, functions: str, toml: str = "") -> Path:
    """Write a configuration and one module of functions; returns the configuration's path."""
    (directory / "functions").mkdir(parents=True, exist_ok=True)
    (directory / "functions" / "app.py").write_text(textwrap.dedent(functions), encoding="utf-8")
    config = directory / "faasd.toml"
    head = '[daemon]\nstate_dir = "state"\nlog_format = "json"\n'
    config.write_text(head + textwrap.dedent(toml), encoding="utf-8")
    return config


class MeasuredDaemon:
    """`faasd run` on one configuration, and what a benchmark asks of it."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.state_dir = config.parent / "state"
        self.log_path = config.parent / "daemon.log"
        self.client = Client(config=str(config))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self._process is not None, "the daemon runs"
        return self._process.pid

    def start(self) -> float:
        """Start it; returns the seconds until it said that it is ready.

        Raises CouldNotMeasure, and then it does not run.
        """
        began = time.monotonic()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "faasd", "run", "--config", str(self.config)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._is_ready, "the daemon to be ready", _START_S, 0.001)
        except BaseException:
            self.stop()
            raise
        return time.monotonic() - began

    def kill9(self) -> None:
        """Kill it the hard way and reap it."""
        assert self._process is not None, "the daemon runs"
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Ask it to stop as systemd does; without an effect it is killed."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def pause(self, function: str) -> None:
        """Let a function's work wait."""
        self.client.request("POST", f"/api/v1/functions/{function}/pause")

    def resume(self, function: str) -> None:
        """Let it run."""
        self.client.request("POST", f"/api/v1/functions/{function}/resume")

    def fill(self, queue: str, count: int, body: Any = None) -> None:
        """Put events on a queue, thousands to a request."""
        for begin in range(0, count, 5000):
            events = [{"body": body}] * min(5000, count - begin)
            self.client.enqueue_many(queue, events)

    @contextmanager
    def attempts_awaited(self, count: int, timeout_s: float = 600.0) -> Iterator[None]:
        """Wait, at the end of the block, until this many attempts have ended since its begin.

        The daemon's own log says it without making it work, unlike a question to its API.
        """
        with self.log_path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            yield
            seen, word, tail = 0, b'"attempt_finished"', b""

            def all_ended() -> bool:
                nonlocal seen, tail
                text = tail + log.read()
                seen += text.count(word)
                taken = text.rfind(word) + len(word) if word in text else 0
                tail = text[max(taken, len(text) - len(word) + 1, 0) :]
                return seen >= count

            wait_until(all_ended, f"{count} attempts to end", timeout_s)

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """Ask the daemon's database, which is only read."""
        path = self.state_dir / "faasd.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, values).fetchall()

    def result_of(self, invocation_id: str) -> Any:
        """Return what the handler returned, once it has."""

        def look() -> dict[str, Any] | None:
            found = self.client.invocation(invocation_id)
            return found if found["state"] not in ("waiting", "running") else None

        found = wait_until(look, f"invocation {invocation_id} to end", step_s=0.005)
        if found["outcome"] != "ok":
            raise CouldNotMeasure(
                f"the handler ended as {found['outcome']}: {json.dumps(found.get('error'))}"
            )
        return found["result"]

    def _is_ready(self) -> bool:
        assert self._process is not None, "the daemon runs"
        if self._process.poll() is not None:
            tail = self.log_path.read_text(errors="replace")[-1500:]
            raise CouldNotMeasure(f"the daemon ended at its start: {tail}")
        try:
            self.client.request("GET", "/readyz")
        except (DaemonUnreachable, FaasdError):
            return False
        return True


@contextmanager
def running(directory: Path, functions: str, toml: str = "") -> Iterator[MeasuredDaemon]:
    """Run a daemon on a scratch directory for the length of a block."""
    daemon = MeasuredDaemon(write_project(directory, functions, toml))
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()
