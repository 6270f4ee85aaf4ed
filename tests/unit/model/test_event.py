"""JSON as events and results have it."""

from __future__ import annotations

import pytest

from faasd.model.event import decode_json


@pytest.mark.parametrize(
    "text", ['{"a": [1, "é"]}', ' {"a": [1, "é"]}\n', b'{"a": [1, "\xc3\xa9"]}']
)
def test_blanks_around_a_value_are_no_part_of_it(text: str | bytes) -> None:
    """The short way, and the long one for those who send such."""
    assert decode_json(text) == {"a": [1, "é"]}


@pytest.mark.parametrize("text", ["", " ", "{", "{} {}", "[1]x", "NaN", '{"a": Infinity}', "nul"])
def test_what_is_no_json_is_refused(text: str) -> None:
    """NaN and infinities too, which some call JSON."""
    with pytest.raises(ValueError, match=r"\S"):
        decode_json(text)
