"""Lines, and what is too much of them."""

from __future__ import annotations

import pytest

from faasd.clock import FakeClock
from faasd.model.attempt import OutputLine
from faasd.model.limits import Limits
from faasd.sandbox.output import FAR_OVER, LINES_LEAST, LineCutter, Output


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_do_not_depend_on_how_the_bytes_arrive(size: int) -> None:
    """A pipe hands over whatever it has."""
    data = "first\r\nsécond\n\nlast".encode()
    cutter = LineCutter(100)
    lines = [line for at in range(0, len(data), size) for line in cutter.feed(data[at : at + size])]
    assert lines + cutter.finish() == ["first", "sécond", "", "last"]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_long_line_is_cut_and_says_by_how_much(size: int) -> None:
    """However it arrives, and without holding it."""
    data = b"x" * 100 + b"\nshort\n"
    cutter = LineCutter(10)
    lines = [line for at in range(0, len(data), size) for line in cutter.feed(data[at : at + size])]
    assert lines == ["x" * 10 + "…[truncated 90 bytes]", "short"]


def an_output(limit: int) -> tuple[Output, list[OutputLine]]:
    lines: list[OutputLine] = []
    limits = Limits(output_limit_bytes=limit, line_limit_bytes=50)
    return Output(limits, FakeClock(now=5.0), lines.extend), lines


def test_streams_and_log_records_share_one_budget() -> None:
    """What is over is dropped, and that is said once."""
    output, lines = an_output(20)
    output.feed("stdout", b"12345678\n")
    output.record(4.0, "INFO", "abcdefgh\nij")
    output.feed("stderr", b"dropped\n")
    output.feed("stdout", b"dropped\n")
    output.finish()

    assert [(line.stream, line.text, line.level) for line in lines] == [
        ("stdout", "12345678", None),
        ("log", "abcdefgh", "INFO"),
        ("log", "ij", "INFO"),
        ("faasd", "output_limit of 20B reached; what is printed from here on is dropped", None),
    ]
    assert lines[1].at == 4.0
    assert output.is_truncated


def test_exactly_the_limit_is_within_it() -> None:
    """The control."""
    output, lines = an_output(9)
    output.feed("stdout", b"12345678\n")
    assert not output.is_truncated
    assert [line.text for line in lines] == ["12345678"]


def test_far_over_is_eight_times_the_limit() -> None:
    """An endless printer is told from a chatty one."""
    output, _ = an_output(10)
    output.feed("stdout", b"x" * 80)
    assert not output.is_far_over
    output.feed("stdout", b"x")
    assert output.is_far_over


def test_empty_lines_are_limited_by_their_number() -> None:
    """They cost a byte each to print, and a record each to keep."""
    output, lines = an_output(LINES_LEAST * 8)
    output.feed("stdout", b"\n" * (LINES_LEAST - 1) + b"x\n" * 10)
    assert [line.text for line in lines[LINES_LEAST - 2 :]] == [
        "",
        "x",
        "output_limit of 7.81KiB (1000 lines) reached; what is printed from here on is dropped",
    ]
    assert not output.is_far_over
    output.feed("stdout", b"\n" * LINES_LEAST * FAR_OVER)
    assert output.is_far_over
    assert len(lines) == LINES_LEAST + 1
