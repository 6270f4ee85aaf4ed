"""Secrets in what is printed: found however they are spelled and however they arrive."""

from __future__ import annotations

import base64
import json
import os
from urllib.parse import quote, quote_plus

import pytest

from faasd.clock import FakeClock
from faasd.model.attempt import OutputLine
from faasd.model.limits import Limits
from faasd.model.outcome import ErrorRecord
from faasd.sandbox.masking import Masker
from faasd.sandbox.output import LineCutter, Output

SECRET = 'pa"ss&wörd/42'
MASKER = Masker({"pw": SECRET.encode() + b"\n"})


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        base64.b64encode(SECRET.encode()).decode().rstrip("=")[:-1],
    ],
)
def test_likely_spellings_are_masked(spelled: str) -> None:
    """A library shows a password as it sent it."""
    assert MASKER.text(f"<{spelled}>") == "<***pw***>"


@pytest.mark.parametrize("size", range(6))
def test_base64_is_found_at_every_offset_of_a_longer_text(size: int) -> None:
    """`user:password` of an Authorization header; one letter at each end belongs to both."""
    text = base64.b64encode(b"u" * size + SECRET.encode() + b"v" * size).decode()
    masked = MASKER.text(text)
    assert "***pw***" in masked
    left = masked.replace("***pw***", "")
    assert len(text) - len(left) >= len(SECRET.encode()) * 4 // 3 - 2


def test_short_values_are_left_alone() -> None:
    """They would be found in everything."""
    assert Masker({"a": b"abc\n"}).text("abc") == "abc"
    assert Masker({"a": b"abcd\n"}).text("abcd") == "***a***"


def test_the_longest_secret_is_found_first() -> None:
    """One may begin like another."""
    masker = Masker({"short": b"abcd", "long": b"abcdefgh"})
    assert masker.text("abcdefgh abcd") == "***long*** ***short***"


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("line_limit", [4, 12, 20, 1000])
def test_no_piece_of_a_secret_is_seen_however_lines_arrive_and_are_cut(
    size: int, line_limit: int
) -> None:
    """Neither where two writes meet, nor at the end of a line that is too long."""
    secret = os.urandom(20).hex()
    data = f"{'-' * 8}{secret}{'-' * 8}\n{secret}\n{'-' * 100}{secret}".encode()
    cutter = LineCutter(line_limit, Masker({"x": secret.encode()}))
    lines = [line for at in range(0, len(data), size) for line in cutter.feed(data[at : at + size])]
    text = "\n".join(lines + cutter.finish())
    assert not any(secret[at : at + 4] in text for at in range(len(secret) - 3))
    if line_limit == 1000:
        assert text == f"{'-' * 8}***x***{'-' * 8}\n***x***\n{'-' * 100}***x***"


def test_what_is_longer_than_a_line_still_says_how_much_was_cut() -> None:
    """As for everybody else."""
    cutter = LineCutter(10, Masker({"x": b"secret"}))
    assert cutter.feed(b"-" * 30 + b"\n") == ["-" * 10 + "…[truncated 20 bytes]"]


def test_a_secret_across_the_output_limit_is_not_seen_in_part() -> None:
    """Its rest is dropped, so its beginning must be found."""
    lines: list[OutputLine] = []
    limits = Limits(output_limit_bytes=10, line_limit_bytes=50)
    output = Output(limits, FakeClock(now=5.0), lines.extend, Masker({"x": b"0123456789"}))
    output.feed("stdout", b"abc 0123456789\n")
    assert lines[0].text == "abc ***x***"


def test_errors_are_masked_in_message_and_stack() -> None:
    """Also where the message was cut within a secret."""
    error = ErrorRecord("E", f"no {SECRET}", (f"File, line 1\n    f({SECRET!r})",))
    masked = MASKER.error(error)
    assert masked == ErrorRecord("E", "no ***pw***", ("File, line 1\n    f('***pw***')",))
    assert MASKER.text(f"no {SECRET[:6]}…[truncated 99 characters]") == (
        "no ***pw***…[truncated 99 characters]"
    )
    assert MASKER.error(None) is None


def test_a_mask_survives_what_is_no_text() -> None:
    """Surrogates come out of file names."""
    assert MASKER.text("\udcff" + SECRET) == "\udcff***pw***"
    assert Masker({"raw": b"\xff\xfe\x00\x01"}).mask(b"<\xff\xfe\x00\x01>") == b"<***raw***>"
