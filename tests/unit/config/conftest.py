"""A configuration on disk, loaded with the real discovery."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from faasd.config.loader import Loaded, load
from faasd.functions.code_version import code_version
from faasd.functions.discovery import discover


class Project:
    """A directory with a configuration and functions."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "faasd.toml"
        self.environ = {"HOME": str(root)}

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """Write one file, dedented."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"))
        path.chmod(mode)
        return path

    async def load(self, toml: str | None = None, **given: Any) -> Loaded:
        """Load the configuration, after writing it when a text is given."""
        if toml is not None:
            self.write("faasd.toml", toml)
        checks: dict[str, Callable[[Any], str | None]] = {
            "check_schedule": lambda _: None,
            "check_pattern": lambda _: None,
        }
        return await load(
            self.config,
            discover=discover,
            code_version=code_version,
            environ=self.environ,
            **(checks | given),
        )

    async def problems(self, toml: str | None = None, **given: Any) -> list[str]:
        """Load, and return every problem's text with paths relative to the project."""
        loaded = await self.load(toml, **given)
        return [str(problem).replace(f"{self.root}/", "") for problem in loaded.problems]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)
