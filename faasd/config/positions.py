"""Where in a TOML text each key and each element of a list stands.

tomllib gives values without places. This scanner gives places without values, for a text that
tomllib has already accepted, so it looks only for structure and never has to say what is wrong.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

__all__ = ["KeyPath", "Positions", "scan_positions"]

#: A path of keys and indexes, such as ("functions", "thumbnail", "triggers", 0, "path").
KeyPath = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL_STRING = re.compile(r"'[^']*'")
# A closing run may hold up to two quotes that belong to the text.
_MULTILINE_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"""(?:""|"(?!")|(?!"))', re.DOTALL)
_MULTILINE_LITERAL = re.compile(r"'''.*?'''(?:''|'(?!')|(?!'))", re.DOTALL)
_BARE_VALUE = re.compile(r"[^,\]}\n#]+")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")


class Positions:
    """Line and column, both from 1, of everything in one text."""

    def __init__(self, offsets: dict[KeyPath, int], text: str) -> None:
        self._offsets = offsets
        self._text = text

    def __iter__(self) -> Iterator[KeyPath]:
        return iter(self._offsets)

    def of(self, path: KeyPath) -> tuple[int, int]:
        """Return the place of a path, or of the nearest thing around it that has one."""
        while path and path not in self._offsets:
            path = path[:-1]
        offset = self._offsets.get(path, 0)
        line_start = self._text.rfind("\n", 0, offset) + 1
        return self._text.count("\n", 0, offset) + 1, offset - line_start + 1


def scan_positions(text: str) -> Positions:
    """Scan a text that tomllib accepts."""
    text = text.replace("\r\n", "\n")  # As tomllib does; lines and columns stay the same.
    scanner = _Scanner(text)
    scanner.document()
    return Positions(scanner.offsets, text)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.offsets: dict[KeyPath, int] = {}
        self.table_counts: dict[KeyPath, int] = {}  # Of `[[…]]`, so far.

    def document(self) -> None:
        table: KeyPath = ()
        while True:
            self._skip(_BLANK)
            if self.at >= len(self.text):
                return
            if self.text.startswith("[", self.at):
                table = self._header()
            else:
                self._key_value(table)

    def _header(self) -> KeyPath:
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        path: KeyPath = ()
        keys = list(self._dotted_key())
        for place, (key, offset) in enumerate(keys):
            path = (*path, key)
            self.offsets.setdefault(path, offset)
            is_last = place == len(keys) - 1
            if is_array and is_last:
                index = self.table_counts.get(path, 0)
                self.table_counts[path] = index + 1
                path = (*path, index)
                self.offsets[path] = offset
            elif path in self.table_counts:
                path = (*path, self.table_counts[path] - 1)
        self.at += 2 if is_array else 1
        return path

    def _key_value(self, table: KeyPath) -> None:
        path = table
        for key, offset in self._dotted_key():
            path = (*path, key)
            self.offsets.setdefault(path, offset)
        self.at += 1  # The equals sign.
        self._skip(_SPACE)
        self._value(path)

    def _dotted_key(self) -> Iterator[tuple[str, int]]:
        """Yield each part with its offset, and stop behind the last one's trailing space."""
        while True:
            self._skip(_SPACE)
            offset = self.at
            yield self._key(), offset
            self._skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return
            self.at += 1

    def _key(self) -> str:
        if self.text.startswith('"', self.at):
            raw = self._skip(_BASIC_STRING)
            return str(tomllib.loads(f"key = {raw}")["key"])
        if self.text.startswith("'", self.at):
            return self._skip(_LITERAL_STRING)[1:-1]
        return self._skip(_BARE_KEY)

    def _value(self, path: KeyPath) -> None:
        for opening, pattern in (
            ('"""', _MULTILINE_BASIC),
            ("'''", _MULTILINE_LITERAL),
            ('"', _BASIC_STRING),
            ("'", _LITERAL_STRING),
        ):
            if self.text.startswith(opening, self.at):
                self._skip(pattern)
                return
        if self.text.startswith("[", self.at):
            self._array(path)
        elif self.text.startswith("{", self.at):
            self._inline_table(path)
        else:
            self._skip(_BARE_VALUE)

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self.text.startswith("]", self.at):
                break
            if self.text.startswith(",", self.at):
                self.at += 1
                continue
            self.offsets[(*path, index)] = self.at
            self._value((*path, index))
            index += 1
        self.at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while True:
            self._skip(_BLANK)
            if self.text.startswith("}", self.at):
                break
            if self.text.startswith(",", self.at):
                self.at += 1
                continue
            self._key_value(path)
        self.at += 1

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"not TOML at offset {self.at}")
        self.at = match.end()
        return match[0]
