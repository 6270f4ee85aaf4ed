"""What a sandbox says was refused is read from hostile input, and only as far as it goes."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from faasd.runtime.os_errors import os_errors
from faasd.runtime.report import error_record
from faasd.sandbox.failures import NAME_LOOKUP, failures_in_lines, failures_in_report


@pytest.mark.parametrize(
    ("line", "number", "path", "needs"),
    [
        ("cat: /srv/x: Permission denied", errno.EACCES, "/srv/x", "read"),
        ("ls: cannot open directory '/root': Permission denied", errno.EACCES, "/root", "read"),
        ("touch: cannot touch '/srv/x': Read-only file system", errno.EROFS, "/srv/x", "write"),
        ("sh: 1: cannot create /srv/x: Permission denied", errno.EACCES, "/srv/x", "write"),
        ("sh: 1: cannot create out.txt: Permission denied", errno.EACCES, "/code/out.txt", "write"),
        ("mkdir: cannot create directory \u2018/srv/a b\u2019: Permission denied", errno.EACCES, "/srv/a b", "write"),
        ("cp: cannot open '/srv/create' for reading: Permission denied", errno.EACCES, "/srv/create", "read"),
        ("./run.sh: line 3: /srv/x: Permission denied", errno.EACCES, "/srv/x", None),
        ("Error: EACCES: permission denied, open '/srv/x'", errno.EACCES, "/srv/x", None),
        ("Error: EACCES: permission denied, mkdir '/srv/x'", errno.EACCES, "/srv/x", "write"),
        ("open /srv/x: permission denied", errno.EACCES, "/srv/x", None),
        ("PermissionError: [Errno 13] Permission denied: '/srv/x'", errno.EACCES, "/srv/x", None),
        ("dd: error writing '/tmp/x': No space left on device", errno.ENOSPC, "/tmp/x", "write"),
        ("unshare: unshare failed: Operation not permitted", errno.EPERM, None, None),
        ("mount: /mnt: permission denied.", errno.EPERM, "/mnt", None),
        ("umount: /mnt: must be superuser to unmount.", errno.EPERM, "/mnt", None),
        ("sh: 0: Cannot fork", errno.EAGAIN, None, None),
        ("curl: (6) Could not resolve host: example.org", NAME_LOOKUP, None, None),
        ("curl: (7) Failed to connect to ::1 port 9: Connection refused", errno.ECONNREFUSED, None, None),
    ],
)  # fmt: skip
def test_programs_say_what_was_refused_each_in_its_own_words(
    line: str, number: int, path: str | None, needs: str | None
) -> None:
    """Shells, coreutils, Node, Go and Python."""
    [failure] = failures_in_lines(["before", line], "/code")
    assert (failure.errno, failure.path, failure.needs) == (number, path, needs)


def test_the_newest_line_comes_first_and_other_lines_are_none() -> None:
    """What a program said last is nearest to what ended it."""
    lines = ["cat: /a/b: Permission denied", "working", "cat: /c/d: Permission denied", "bye"]
    assert [one.path for one in failures_in_lines(lines, "/")] == ["/c/d", "/a/b"]


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        "text",
        {"os_errors": 1},
        {"os_errors": ["x", None, {"errno": "13"}, {}]},
    ],
)
def test_garbage_is_no_failure(told: Any) -> None:
    """The report of a sandbox is written by whoever is in there."""
    assert failures_in_report(told) == []


def test_a_hostile_record_is_cut_and_never_a_path_that_is_none() -> None:
    """Nothing in it is longer than a hint can hold, nor relative."""
    record = {
        "errno": 13,
        "paths": ["relative", "/" + "x" * 5000, {"a": 1}],
        "frames": [1] * 1000,
        "line": "y" * 10_000,
        "address": "\x1b[31mred" + "z" * 1000,
    }
    [failure] = failures_in_report({"os_errors": [record]})
    assert failure.path is None
    assert len(failure.call) < 1000
    assert failure.address is not None
    assert "\x1b" not in failure.address
    assert len(failure.address) <= 200


def test_a_long_hostile_line_costs_no_time() -> None:
    """Every expression is bounded: the daemon's loop reads these lines."""
    import time

    began = time.monotonic()
    for text in ("open(" * 4000, "'/a" * 6000, "cannot create " * 1000, "/" * 16_000):
        failures_in_lines([text + " Permission denied", "Permission denied " + text] * 20, "/")
    assert time.monotonic() - began < 2.0


def _raised(act: Any) -> BaseException:
    try:
        act()
    except (OSError, ValueError) as error:
        return error
    raise AssertionError("nothing was raised")


def test_a_report_names_path_and_operation_of_the_cause(tmp_path: Any) -> None:
    """Also where the handler wrapped it in an exception of its own."""

    def wrap() -> None:
        try:
            (tmp_path / "no" / "x").write_text("x")
        except OSError as error:
            raise ValueError("could not save") from error

    told = error_record(_raised(wrap))
    assert told["type"] == "ValueError"
    [failure] = failures_in_report(told)
    assert (failure.errno, failure.path) == (errno.ENOENT, str(tmp_path / "no" / "x"))
    assert failure.needs == "write"


@pytest.mark.parametrize(("mode", "needs"), [("w", "write"), ("ab", "write"), ("r", "read"), ("rb", "read")])  # fmt: skip
def test_the_mode_of_open_is_read_from_its_line(tmp_path: Any, mode: str, needs: str) -> None:
    """The builtin has no frame; the line that calls it has."""
    calls = {
        "w": lambda: open(tmp_path / "no" / "x", "w"),  # noqa: SIM115
        "ab": lambda: open(tmp_path / "no" / "x", mode="ab"),  # noqa: SIM115
        "r": lambda: open(tmp_path / "no" / "x"),  # noqa: SIM115
        "rb": lambda: open(tmp_path / "no" / "x", "rb"),  # noqa: SIM115
    }
    [failure] = failures_in_report(error_record(_raised(calls[mode])))
    assert failure.needs == needs


def test_an_exception_that_lies_about_itself_breaks_nothing() -> None:
    """Its attributes are the handler's."""

    class Strange(OSError):
        @property
        def errno(self) -> int:  # type: ignore[override]
            raise RuntimeError("no")

    assert os_errors(Strange()) == []
    looped = ValueError("a")
    looped.__cause__ = KeyError("b")
    looped.__cause__.__cause__ = looped
    assert os_errors(looped) == []


def test_a_thread_that_cannot_start_is_a_refused_fork() -> None:
    """Python tells it as a RuntimeError without a number."""
    [failure] = failures_in_report({"os_errors": os_errors(RuntimeError("can't start new thread"))})
    assert failure.errno == errno.EAGAIN
