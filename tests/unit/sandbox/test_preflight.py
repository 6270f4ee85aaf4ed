"""`faasd doctor` tries things out instead of guessing."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

from faasd.model.function import Function
from faasd.model.permissions import Permissions
from faasd.model.walls import WALLS
from faasd.sandbox.policy import Walls
from faasd.sandbox.preflight import inspect_functions, inspect_host, walls_from_json


def test_every_wall_is_reported_with_a_remedy_where_it_is_missing() -> None:
    """And looking leaves no group behind."""
    reports = {report.wall: report for report in inspect_host()}
    assert list(reports) == list(WALLS)
    for report in reports.values():
        assert report.how
        assert report.available or report.remedy
    assert not [base for base, names, _ in os.walk("/sys/fs/cgroup") if "faasd-doctor" in names]


def test_an_interpreter_that_is_none_is_said_so(tmp_path: Path) -> None:
    """Instead of an exception."""
    [report] = [one for one in inspect_host(str(tmp_path / "python")) if one.wall == "files"]
    assert not report.available
    assert str(tmp_path / "python") in report.how
    assert "CPython" in report.remedy


def test_each_function_is_judged_by_its_own_interpreter(tmp_path: Path) -> None:
    """One that does not run says so, and does not keep the others from being judged."""
    functions = [
        Function("plain", "m:h"),
        Function("elsewhere", "m:h", python=str(tmp_path / "python")),
        Function("known", "m:h", python="/opt/python", permissions=Permissions(network=False)),
    ]
    found = inspect_functions(functions, {"/opt/python": Walls()})
    assert isinstance(found["plain"], tuple)
    assert str(tmp_path / "python") in str(found["elsewhere"])
    known = found["known"]
    assert isinstance(known, tuple)
    assert {"files", "system-calls", "network"} <= {one.wall for one in known}


def test_walls_survive_the_way_through_json() -> None:
    """Of another version, too: what it knows and we do not is left out."""
    walls = Walls(("pid",), "v2", landlock=7, python_paths=("/usr",))
    value = {**dataclasses.asdict(walls), "namespaces": ["pid"], "of_the_future": 1}
    assert walls_from_json(value) == walls


def test_what_a_zygote_really_finds_is_what_is_reported() -> None:
    """The daemon's own interpreter is asked when none is named."""
    assert inspect_functions([Function("a", "m:h")], {}) == inspect_functions(
        [Function("a", "m:h", python=sys.executable)], {}
    )
