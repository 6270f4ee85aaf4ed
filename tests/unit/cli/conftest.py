from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.api_fakes import FakeDaemon, ServerThread, serving

FAASD = str(Path(sys.executable).parent / "faasd")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir()
    return path


@pytest.fixture
def server(daemon: FakeDaemon, state_dir: Path) -> Iterator[ServerThread]:
    with serving(daemon, state_dir / "faasd.sock") as thread:
        yield thread


@pytest.fixture
def environment(tmp_path: Path, state_dir: Path) -> dict[str, str]:
    """An environment in which nothing but a configuration of the test's own is found."""
    (tmp_path / "faasd.toml").write_text(f'[daemon]\nstate_dir = "{state_dir}"\n')
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FAASD_")}
    return {**kept, "FAASD_CONFIG": str(tmp_path / "faasd.toml"), "COLUMNS": "100"}


@pytest.fixture
def faasd(environment: dict[str, str], tmp_path: Path) -> Run:
    """Run a command line in a process of its own."""

    def run(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [FAASD, *arguments],
            input=stdin,
            env={**environment, **env},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
