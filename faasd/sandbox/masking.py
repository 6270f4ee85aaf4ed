"""Masking: an attempt's secrets are replaced by `***NAME***` in what it prints and in its errors.

A courtesy to honest handlers, whose libraries print more than anybody meant; who wants to give a secret
away can spell it in a way that no mask knows. Results are data and stay as they are.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus

from faasd.model.outcome import ErrorRecord

__all__ = ["Masker"]

#: Shorter values would be found in everything.
_BYTES_MIN = 4
#: Each is looked for in each line that is printed.
_SPELLINGS_MAX = 500
#: What cut texts end with; see LineCutter and runtime/report.py.
_CUT_MARK = b"\xe2\x80\xa6[truncated "


class Masker:
    """Replaces an attempt's secrets in text. Lines are best given whole: a secret is found in one piece only."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        found: dict[bytes, bytes] = {}
        for name, value in secrets.items():
            for spelling in _spellings(value):
                found.setdefault(spelling, f"***{name}***".encode())
        # The longest first: a line of a secret may be part of another one.
        longest_first = sorted(found.items(), key=lambda item: -len(item[0]))
        self._spellings = longest_first[:_SPELLINGS_MAX]
        self.bytes_max = max((len(one) for one in found), default=0)

    def mask(self, data: bytes, *, is_cut: bool = False) -> bytes:
        """Return the text without the secrets; where it `is_cut`, also without the beginning of one at its end."""
        for spelling, mark in self._spellings:
            if spelling in data:
                data = data.replace(spelling, mark)
        return self._mask_beginning(data) if is_cut else data

    def text(self, text: str) -> str:
        """Return a text, which may end with the mark of one that was cut, without the secrets."""
        data = text.encode("utf-8", "surrogatepass")
        kept, separator, count = data.rpartition(_CUT_MARK)
        if separator and count.endswith((b"bytes]", b"characters]")):
            data = self.mask(kept, is_cut=True) + separator + count
        else:
            data = self.mask(data)
        return data.decode("utf-8", "surrogatepass")

    def error(self, error: ErrorRecord | None) -> ErrorRecord | None:
        """Return an error's record without the secrets."""
        if error is None:
            return None
        stack = tuple(self.text(frame) for frame in error.stack)
        hint = self.text(error.hint) if error.hint is not None else None
        return dataclasses.replace(error, message=self.text(error.message), stack=stack, hint=hint)

    def _mask_beginning(self, data: bytes) -> bytes:
        """Replace what may be the first bytes of a secret whose rest was cut off."""
        for spelling, mark in self._spellings:
            size = min(len(spelling) - 1, len(data))
            start = data.find(spelling[:_BYTES_MIN], len(data) - size)
            while start >= 0:
                # Views, because a handler may print what has us compare often.
                if memoryview(data)[start:] == memoryview(spelling)[: len(data) - start]:
                    return data[:start] + mark
                start = data.find(spelling[:_BYTES_MIN], start + 1)
        return data


def _spellings(value: bytes) -> Iterable[bytes]:
    """Return how a secret is likely to be written: itself, its lines, quoted, in base64."""
    value = value.strip(b"\r\n")
    lines = [line.strip() for line in value.splitlines()]
    for plain in (value, *lines):
        if len(plain) >= _BYTES_MIN:
            yield plain
    if len(value) < _BYTES_MIN:
        return
    yield from _base64(value)
    yield quote(value, safe="").encode()
    yield quote_plus(value).encode()
    text = value.decode("utf-8", "backslashreplace")
    yield json.dumps(text)[1:-1].encode()
    yield repr(text)[1:-1].encode()


def _base64(value: bytes) -> Iterable[bytes]:
    """Return the base64 of a value at each place within a longer text, less the letters it shares with that."""
    for before in range(3):
        after = -(before + len(value)) % 3
        whole = base64.b64encode(b"\0" * before + value + b"\0" * after)
        own = whole[(0, 2, 3)[before] : len(whole) - (0, 2, 3)[after]]
        if len(own) >= 2 * _BYTES_MIN:
            yield own
            yield own.translate(bytes.maketrans(b"+/", b"-_"))
