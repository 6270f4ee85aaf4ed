"""For pytest in the guest: a failure is shown when it happens, since a boot may end before the summary."""

from __future__ import annotations

import pytest

__all__ = ["pytest_configure"]


class _FailuresAtOnce:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(f"FAILED {report.nodeid} ({report.when})")
            terminal.write_line(report.longreprtext)


def pytest_configure(config: pytest.Config) -> None:
    """Listen to every report."""
    config.pluginmanager.register(_FailuresAtOnce(config))
