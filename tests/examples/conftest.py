"""Every example runs in a copy of its folder, with a daemon that is stopped whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.examples.running import Example


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short name: a socket's path has room for 107 bytes."""
    return tmp_path_factory.mktemp("ex")


@contextmanager
def _running(name: str, scratch: Path) -> Iterator[Example]:
    example = Example.copy_of(name, scratch)
    if name == "image_inbox":
        (example.folder / "inbox").mkdir()  # As its README says.
    example.faasd("check")
    try:
        example.start()
        yield example
    finally:
        example.stop()


# One daemon per file of tests, as it runs for its user: for long, and for everything.


@pytest.fixture(scope="module")
def image_inbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with _running("image_inbox", tmp_path_factory.mktemp("ex")) as example:
        yield example


@pytest.fixture(scope="module")
def nightly_report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with _running("nightly_report", tmp_path_factory.mktemp("ex")) as example:
        yield example


@pytest.fixture(scope="module")
def order_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with _running("order_queue", tmp_path_factory.mktemp("ex")) as example:
        yield example


@pytest.fixture(scope="module")
def shell_backup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with _running("shell_backup", tmp_path_factory.mktemp("ex")) as example:
        yield example


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with _running("hostile", tmp_path_factory.mktemp("ex")) as example:
        yield example
