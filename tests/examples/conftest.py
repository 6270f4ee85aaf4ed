"""Every example runs in a copy of its folder, with a daemon that is stopped whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.examples.running import Example


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short name: a socket's path has room for 107 bytes."""
    return tmp_path_factory.mktemp("ex")


@pytest.fixture
def started(scratch: Path) -> Iterator[Callable[[str], Example]]:
    """Copies an example, starts its daemon, and stops it at the end."""
    examples: list[Example] = []

    def start(name: str) -> Example:
        example = Example.copy_of(name, scratch)
        examples.append(example)
        for directory in ("inbox",) if name == "image_inbox" else ():
            (example.folder / directory).mkdir()
        assert "error" not in example.faasd("check").lower()
        example.start()
        return example

    yield start
    for example in examples:
        example.stop()
