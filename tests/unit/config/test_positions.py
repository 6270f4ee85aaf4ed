"""Where things stand in a TOML text."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faasd.config.positions import KeyPath, scan_positions


def paths_of(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of every key and every element."""
    entries = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, one in entries:
        yield (*path, key)
        yield from paths_of(one, (*path, key))


class Writer:
    """Writes a value as TOML, choosing at random among the ways that TOML allows."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def key(self, key: str) -> str:
        if (
            key
            and key.isascii()
            and key.replace("_", "a").replace("-", "a").isalnum()
            and self.random.random() < 0.6
        ):
            return key
        if "'" not in key and key.isprintable() and self.random.random() < 0.5:
            return f"'{key}'"
        return json.dumps(key, ensure_ascii=False)

    def blank(self) -> str:
        return self.random.choice(["", " ", "  ", "\t"])

    def break_(self) -> str:
        return self.random.choice(["", " ", "\n", "  # ] } \" ''' [x]\n", "\r\n"])

    def value(self, value: Any) -> str:
        if isinstance(value, dict):
            pairs = [
                f"{self.key(key)}{self.blank()}={self.blank()}{self.value(one)}"
                for key, one in value.items()
            ]
            return (
                "{"
                + self.blank()
                + f"{self.blank()},{self.blank()}".join(pairs)
                + self.blank()
                + "}"
            )
        if isinstance(value, list):
            parts = [self.break_() + self.value(one) + self.break_() for one in value]
            last = "," if parts and self.random.random() < 0.3 else ""
            return "[" + ",".join(parts) + last + self.break_() + "]"
        if isinstance(value, str):
            return self.string(value)
        return json.dumps(value)

    def string(self, text: str) -> str:
        choice = self.random.random()
        if choice < 0.25 and "'" not in text and text.isprintable():
            return f"'{text}'"
        if choice < 0.5 and "'''" not in text and text.isprintable() and not text.endswith("'"):
            return f"'''\n{text}'''"
        escaped = json.dumps(text, ensure_ascii=False)[1:-1]
        if choice < 0.75:
            # Up to two bare quotes may stand at the end of a multi-line string.
            ending = self.random.choice(["", '"', '""']) if text.endswith('"') is False else ""
            return f'"""{escaped}{ending}"""' if not ending else f'"""{escaped}\\u0020{ending}"""'
        return json.dumps(text, ensure_ascii=False)

    def document(self, tables: dict[str, Any], path: tuple[str, ...] = ()) -> str:
        """Write plain keys first, as TOML wants, then tables under headers."""
        plain, headed = [], []
        for key, value in tables.items():
            is_tables = (
                isinstance(value, list) and value and all(isinstance(one, dict) for one in value)
            )
            if isinstance(value, dict) and self.random.random() < 0.7:
                headed.append((key, value, False))
            elif is_tables and self.random.random() < 0.7:
                headed.append((key, value, True))
            else:
                plain.append(
                    f"{self.blank()}{self.key(key)}{self.blank()}={self.blank()}{self.value(value)}\n"
                )
        lines = plain
        for key, value, is_array in headed:
            name = f"{self.blank()}.{self.blank()}".join(self.key(part) for part in (*path, key))
            for table in value if is_array else [value]:
                header = f"[[{name}]]" if is_array else f"[{name}]"
                lines.append(f"{self.blank()}{header}{self.blank()}# [c]\n")
                lines.append(self.document(table, (*path, key)))
        return "".join(lines)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=8)
scalars = st.booleans() | st.integers(-999, 999) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(tables=st.dictionaries(texts, values, max_size=4), seed=st.integers(0, 2**32))
def test_every_key_and_element_that_tomllib_reads_has_its_own_place(
    tables: dict[str, Any], seed: int
) -> None:
    """A place that is missing or beside the point makes every message of `faasd check` worthless."""
    text = Writer(seed).document(tables)
    parsed = tomllib.loads(text)

    positions = scan_positions(text)

    assert set(positions) == set(paths_of(parsed))
    lines = text.replace("\r\n", "\n").split("\n")
    for path in positions:
        line, column = positions.of(path)
        rest = lines[line - 1][column - 1 :]
        key = path[-1] if isinstance(path[-1], str) else None
        if key is not None:
            assert rest.startswith((key, f"'{key}'", json.dumps(key, ensure_ascii=False))), (
                path,
                rest,
            )


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("a", "b"), (1, 3)),
        (("functions", "x y", "triggers", 1, "type"), (4, 28)),
        (("q", 1, "sub", "n"), (9, 1)),
        (("q", 1, "nothing", "there"), (7, 3)),
        (("nowhere",), (1, 1)),
    ],
)
def test_a_path_without_a_place_has_that_of_what_surrounds_it(
    path: KeyPath, place: tuple[int, int]
) -> None:
    """What is required and missing has no place of its own, but its table has."""
    text = (
        'a.b = 1\n[functions."x y"]\ntext = """a\\""""""\n'
        'triggers = [{ a = [] },  { type = "cron" }]\n'
        "day = 1979-05-27 07:32:00 # x\n[[q]]\n[[q]]\n[q.sub]\nn = {}\n"
    )
    tomllib.loads(text)
    assert scan_positions(text).of(path) == place
