"""Runs peers in their own environment: scripts below benchmarks/peers, and redis-server where one is needed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.daemon import ROOT, wait_until
from benchmarks.model import CouldNotMeasure, Stage
from benchmarks.usage import descendants

__all__ = ["ask", "found_or_reason", "long_running", "python_of", "redis_running"]

_ANSWER_S = 600.0


def python_of(stage: Stage) -> str:
    """Return the interpreter of the peers' environment. Raises CouldNotMeasure."""
    if stage.peers_python is None:
        raise CouldNotMeasure("the peers are not installed; `make bench` installs them")
    return stage.peers_python


def found_or_reason(program: str, package: str) -> str:
    """Return where a program is. Raises CouldNotMeasure with what to install."""
    path = shutil.which(program)
    if path is None:
        raise CouldNotMeasure(f"{program} is not installed; on Debian: apt-get install {package}")
    return path


def ask(
    python: str, script: str, *arguments: object, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """Run a module below benchmarks to its end and return the JSON object it prints. Raises CouldNotMeasure."""
    done = subprocess.run(
        [python, "-m", f"benchmarks.{script}", *map(str, arguments)],
        cwd=ROOT,
        env=_environment(environment),
        capture_output=True,
        text=True,
        timeout=_ANSWER_S,
        check=False,
    )
    if done.returncode != 0:
        raise CouldNotMeasure(f"{script} failed: {_last_line(done.stderr)}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@contextlib.contextmanager
def long_running(
    command: list[str], log_path: Path, environment: dict[str, str] | None = None
) -> Iterator[int]:
    """Run a command for the length of a block; yields its process id. Afterwards its whole group is gone."""
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process.pid
        if process.poll() is not None:
            tail = _last_line(log_path.read_text(errors="replace"))
            raise CouldNotMeasure(f"{Path(command[0]).name} ended by itself: {tail}")
    finally:
        _end_group(process)


@contextlib.contextmanager
def redis_running(directory: Path) -> Iterator[tuple[str, int]]:
    """Run a redis-server on a free port; yields (URL, process id). Raises CouldNotMeasure when there is none.

    With the defaults of Debian's package where they matter: no append-only file, so a crash loses what
    came after the last snapshot.
    """
    program = found_or_reason("redis-server", "redis-server")
    directory.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
    with long_running([*command, "--daemonize", "no"], directory / "redis.log") as pid:
        wait_until(lambda: _answers(port), "redis-server to answer", 20.0)
        yield f"redis://127.0.0.1:{port}/0", pid


def _environment(more: dict[str, str] | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FAASD_")}
    return {**kept, "PYTHONPATH": str(ROOT), **(more or {})}


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the group to end, then make it, and whatever of it had left the group."""
    below = descendants({process.pid})
    for number, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    for pid in descendants(below - {process.pid}):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
