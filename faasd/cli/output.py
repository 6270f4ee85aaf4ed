"""How results are shown: JSON for programs, columns for pipes, tables for people."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = [
    "Columns",
    "duration_text",
    "one_line",
    "print_details",
    "print_fields",
    "print_json",
    "print_rows",
    "printable",
    "time_text",
]

#: (heading, key of the row or what makes the text from it)
Columns = list[tuple[str, str | Callable[[Mapping[str, Any]], object]]]

_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def print_json(value: object) -> None:
    """Print one JSON value."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_rows(
    rows: Sequence[Mapping[str, Any]], columns: Columns, *, as_json: bool, nothing: str
) -> None:
    """Print a listing: one JSON array, or a table, which is plain columns when it goes to a pipe.

    `nothing` is said on standard error when there are no rows.
    """
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        print(nothing, file=sys.stderr)
        return
    heads = [head for head, _ in columns]
    lines = [[_cell(row, key) for _, key in columns] for row in rows]
    if sys.stdout.isatty():
        _draw(heads, lines)
        return
    widths = [max(len(line[index]) for line in [heads, *lines]) for index in range(len(heads))]
    for line in [heads, *lines]:
        padded = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        print("  ".join(padded).rstrip())


def print_fields(value: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one thing: one JSON object, or a line per field."""
    if as_json:
        print_json(value)
        return
    width = max(len(name) for name in value)
    for name, one in value.items():
        print(f"{name.ljust(width)}  {_text(one)}")


def print_details(value: Mapping[str, Any], indent: str = "") -> None:
    """Print one thing that holds others, for people: a line per field, and what is in a field below it."""
    width = max((len(name) for name in value), default=0)
    for name, one in value.items():
        if isinstance(one, dict) and one:
            print(f"{indent}{name}")
            print_details(one, indent + "  ")
        elif isinstance(one, list) and one and isinstance(one[0], dict):
            print(f"{indent}{name}")
            for item in one:
                print(f"{indent}  " + ", ".join(f"{key} {_detail(key, item[key])}" for key in item))
        else:
            print(f"{indent}{name.ljust(width)}  {_detail(name, one)}")


def _detail(name: str, value: object) -> str:
    if isinstance(value, list) and value:
        return ", ".join(_text(one) for one in value)
    if name.endswith("_bytes") and isinstance(value, int):
        from faasd.model.units import format_size

        return f"{value} ({format_size(value)})"
    return _text(value)


def one_line(text: str) -> str:
    """Return text of several lines, such as a list of mistakes, as one."""
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def printable(text: str) -> str:
    """Return text whose control characters are escaped, so that it cannot steer a terminal."""
    return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def time_text(key: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a column that shows a time to the second."""
    return lambda row: str(row[key])[:19].replace("T", " ") + "Z" if row.get(key) else "-"


def duration_text(key: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a column that shows milliseconds as people read them."""

    def show(row: Mapping[str, Any]) -> str:
        from faasd.model.units import format_duration

        return "-" if row.get(key) is None else format_duration(row[key] / 1000)

    return show


def _cell(row: Mapping[str, Any], key: str | Callable[[Mapping[str, Any]], object]) -> str:
    return _text(row.get(key) if isinstance(key, str) else key(row))


def _text(value: object) -> str:
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return printable(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _draw(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    # Imported here: rich costs 30 ms, which only somebody who looks at a table should pay.
    from rich import box
    from rich.console import Console, ConsoleDimensions
    from rich.table import Table
    from rich.text import Text

    table = Table(*heads, box=box.SIMPLE_HEAD, pad_edge=False)
    for line in lines:
        table.add_row(*[Text(text, style=_STYLES.get(text, "")) for text in line])
    # An id that was cut could not be copied, so a table too wide for the terminal is wrapped by it.
    console = Console()  # Keeps to NO_COLOR by itself.
    natural = Console(width=10_000, height=console.height).measure(table).maximum
    console.size = ConsoleDimensions(max(console.width, natural), console.height)
    console.print(table)


_STYLES = {
    "ok": "green",
    "done": "green",
    "error": "red",
    "timeout": "red",
    "oom": "red",
    "crashed": "red",
    "dead": "red",
    "failed": "red",
    "running": "cyan",
    "waiting": "yellow",
}
