"""`faasd doctor` tries things out instead of guessing."""

from __future__ import annotations

import os
from pathlib import Path

from faasd.sandbox.preflight import inspect_host


def test_every_wall_is_reported_with_a_remedy_where_it_is_missing() -> None:
    """And looking leaves no group behind."""
    reports = {report.wall: report for report in inspect_host()}
    assert list(reports) == [
        "pid namespace",
        "user namespace",
        "memory cap",
        "process cap",
        "landlock",
        "seccomp",
    ]
    for report in reports.values():
        assert report.how
        assert report.available or report.remedy
    assert not [base for base, names, _ in os.walk("/sys/fs/cgroup") if "faasd-doctor" in names]


def test_an_interpreter_that_is_none_is_said_so(tmp_path: Path) -> None:
    """Instead of an exception."""
    report = inspect_host(str(tmp_path / "python"))[0]
    assert not report.available
    assert str(tmp_path / "python") in report.how
