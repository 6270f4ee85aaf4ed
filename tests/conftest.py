"""Options and fixtures for all tests."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable

import pytest
import uvloop


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--run-faults` runs the long fault runs, which `make test` leaves out."""
    parser.addoption("--run-faults", action="store_true", help="run the long fault runs too")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], AbstractEventLoop]]:
    """What a test awaits runs on the loop that the daemon runs on."""
    return {"uvloop": uvloop.new_event_loop}
