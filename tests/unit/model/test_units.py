"""Sizes, durations and rates as people write them."""

from __future__ import annotations

import pytest

from faasd.errors import InvalidSetting
from faasd.model.units import (
    format_duration,
    format_size,
    parse_duration_s,
    parse_rate,
    parse_size_bytes,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("2d", 172800),
        ("1.5h", 5400),
        ("0", 0),
    ],
)
def test_durations_are_read_with_their_unit(text: str, seconds: float) -> None:
    """Every unit that the reference names."""
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", [30, "30", "", "s", "1y", "-5s", "5 s 3", None, True, "٣s"])
def test_a_duration_without_a_unit_is_refused(text: object) -> None:
    """30 could be seconds, minutes or milliseconds; guessing wrong costs somebody a night."""
    with pytest.raises(InvalidSetting, match="expected a duration"):
        parse_duration_s(text)


def test_the_refusal_of_a_bare_number_names_the_likely_meaning() -> None:
    """The next step is in the message."""
    with pytest.raises(InvalidSetting, match='did you mean "30s"'):
        parse_duration_s(30)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("256MiB", 2**28), ("256M", 2**28), ("10MB", 10**7), ("1g", 2**30), ("64 KiB", 65536), (7, 7)],
)
def test_sizes_are_read_as_systemd_reads_them(text: object, size_bytes: int) -> None:
    """A bare M is MiB, as in MemoryMax=256M."""
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MiB", "-1M", "1X", None, True, 1.5])
def test_what_is_no_size_is_refused(text: object) -> None:
    """With an example of what is one."""
    with pytest.raises(InvalidSetting, match="256MiB"):
        parse_size_bytes(text)


@pytest.mark.parametrize(
    ("text", "rate"), [("10/s", (10, 1.0)), ("100/min", (100, 60.0)), ("5/30s", (5, 30.0))]
)
def test_rates_are_a_count_per_span(text: str, rate: tuple[int, float]) -> None:
    """Both `10/s` and `5/30s`."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["0/s", "10", "10/", "x/s", "10/0s", None])
def test_what_is_no_rate_is_refused(text: object) -> None:
    """A rate of zero would stop a queue for ever; pausing is the way to say that."""
    with pytest.raises(InvalidSetting):
        parse_rate(text)


def test_sizes_and_durations_are_written_short() -> None:
    """As tables show them."""
    assert [format_duration(s) for s in (0.35, 2.5, 90, 7200, 90061)] == [
        "350ms", "2.5s", "1m30s", "2h", "1d1h",
    ]  # fmt: skip
    assert [format_size(b) for b in (512, 1536, 2**28)] == ["512B", "1.5KiB", "256MiB"]
