"""How an address to listen on is written."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from faasd.config.http_settings import HttpSettings


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("127.0.0.1:7380", "127.0.0.1:7380"),
        ("localhost:80", "127.0.0.1:80"),
        ("0.0.0.0:65535", "0.0.0.0:65535"),
        ("[::1]:7380", "[::1]:7380"),
        ("[0:0::1]:7380", "[::1]:7380"),
    ],
)
def test_an_address_and_a_port(written: str, shown: str) -> None:
    """It is shown as it stands in URLs."""
    assert str(HttpSettings.model_validate({"listen": written}).listen) == shown


@pytest.mark.parametrize(
    "written", [7380, ":7380", "7380", "::1:7380", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "example:80"]
)  # fmt: skip
def test_what_is_no_address_is_refused_with_an_example(written: object) -> None:
    """So is a name, which could come to mean another address."""
    with pytest.raises(ValidationError, match=r'such as "127\.0\.0\.1:7380"'):
        HttpSettings.model_validate({"listen": written})


@pytest.mark.parametrize("written", ["1.2.3.400:80", "[1::2::3]:80"])
def test_what_looks_like_an_address_and_is_none(written: str) -> None:
    """It is named."""
    with pytest.raises(ValidationError, match="is not an address of IPv4 or IPv6"):
        HttpSettings.model_validate({"listen": written})
