"""What one HTTP request on the Unix socket costs, beside the bare server that ours is built on."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.daemon import running, wait_until
from benchmarks.load import latencies_s, request_bytes, seconds_for
from benchmarks.model import Contestant, CouldNotMeasure, Row, Sample, Stage
from benchmarks.peering import long_running, python_of
from benchmarks.summary import percentile
from benchmarks.usage import Window

__all__ = ["api_rows", "uvicorn_running"]

CALLERS = 16
_REQUEST = request_bytes("GET", "/healthz")
_LACKS = "no peer credentials, no access rules, no routes but one"
Server = tuple[str, int]  # Its socket and its process.


@contextmanager
def api_rows(stage: Stage) -> Iterator[list[Row]]:
    """GET /healthz: one caller's p50, and many callers' rate."""
    directory = Path(stage.directory)
    single, many = stage.count(2000, 50), stage.count(10_000, 200)
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(running(directory / "daemon", ""))
        ours = (daemon.client.socket_path, daemon.pid)
        peer: Server | str
        try:
            peer = stack.enter_context(uvicorn_running(stage, directory))
        except CouldNotMeasure as error:
            peer = str(error)
        yield [
            Row(
                "api-latency",
                "GET /healthz on the Unix socket, one caller, p50",
                "ms",
                Contestant("faasd", _latency(ours, single)),
                (Contestant("bare uvicorn and Starlette", _latency(peer, single), _LACKS),),
            ),
            Row(
                "api-rate",
                f"the same, {CALLERS} callers",
                "requests/s",
                Contestant("faasd", _rate(ours, many)),
                (Contestant("bare uvicorn and Starlette", _rate(peer, many), _LACKS),),
            ),
        ]


@contextmanager
def uvicorn_running(stage: Stage, directory: Path) -> Iterator[Server]:
    """Run the bare server. Raises CouldNotMeasure."""
    path = directory / "uvicorn.sock"
    command = [python_of(stage), "-m", "benchmarks.peers.api_server", str(path)]
    with long_running(command, directory / "uvicorn.log") as pid:
        wait_until(lambda: _accepts(path), "uvicorn to answer", 30.0)
        yield str(path), pid


def _latency(server: Server | str, count: int) -> Callable[[], Sample]:
    def measure() -> Sample:
        path, pid = _known(server)
        with Window({pid}) as window:
            took_s = latencies_s(path, _REQUEST, count)
        each = window.cpu_s * 1000 / count
        return Sample(percentile(took_s, 50) * 1000, each, window.memory_bytes)

    return measure


def _rate(server: Server | str, count: int) -> Callable[[], Sample]:
    def measure() -> Sample:
        path, pid = _known(server)
        with Window({pid}) as window:
            seconds = seconds_for(path, _REQUEST, count, CALLERS)
        return Sample(count / seconds, window.cpu_s * 1000 / count, window.memory_bytes)

    return measure


def _known(server: Server | str) -> Server:
    if isinstance(server, str):
        raise CouldNotMeasure(server)
    return server


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
