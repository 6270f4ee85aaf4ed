"""Options and fixtures for all tests."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--run-faults` runs the long fault runs, which `make test` leaves out."""
    parser.addoption("--run-faults", action="store_true", help="run the long fault runs too")
