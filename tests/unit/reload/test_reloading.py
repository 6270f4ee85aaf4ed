"""How a reload ends, whatever ends it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faasd.clock import FakeClock
from faasd.config.http_settings import HttpSettings
from faasd.config.loader import Loaded
from faasd.config.settings import DaemonSettings
from faasd.errors import VersionError
from faasd.functions.registry import Registry
from faasd.reload.reloading import Reloading


class Quiet:
    """A supervisor that nobody hears."""

    def begin_reload(self) -> None:
        """Hear that one begins."""

    async def ready(self) -> None:
        """Hear that it is over."""


@pytest.mark.parametrize(
    ("fault", "told"),
    [(VersionError("the disk is full"), "the disk is full"), (RuntimeError("x"), "reload_broke")],
)
async def test_a_reload_that_ends_with_any_error_was_refused(
    tmp_path: Path, fault: Exception, told: str
) -> None:
    """A fault of our own keeps what the files say out of force as well as a mistake in them."""

    async def read() -> Loaded:
        raise fault

    loaded = Loaded(tmp_path / "faasd.toml", DaemonSettings(), HttpSettings(), (), ())
    versions: Any = SimpleNamespace(read=read)
    rooms: Any = SimpleNamespace(registry=Registry())
    quiet: Any = Quiet()
    reloading = Reloading(loaded, versions, rooms, quiet, {}, FakeClock(5.0))
    with pytest.raises(type(fault)):
        await reloading.reload()
    assert reloading.record.last is not None
    assert (reloading.record.last.result, reloading.record.last.at) == ("refused", 5.0)
    [problem] = reloading.problems_now()
    assert problem.startswith("the last reload was refused: ")
    assert told in problem
