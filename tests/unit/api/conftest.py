from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faasd.client import Client
from tests.fakes.api_fakes import FakeDaemon, ServerThread, serving


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "faasd.sock"


@pytest.fixture
def server(daemon: FakeDaemon, socket_path: Path) -> Iterator[ServerThread]:
    with serving(daemon, socket_path) as thread:
        yield thread


@pytest.fixture
def client(server: ServerThread, socket_path: Path) -> Client:
    return Client(str(socket_path))
