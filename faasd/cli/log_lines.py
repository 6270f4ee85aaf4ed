"""How a captured line is shown: plain, or with colours that tell functions apart."""

from __future__ import annotations

import os
import re
import sys
import zlib
from collections.abc import Mapping
from typing import Any

from faasd.cli.output import printable

__all__ = ["LineText", "wants_colour"]

_RESET = "\x1b[0m"
_DIM = "\x1b[2m"
_FOUND = "\x1b[1;31m"
#: Cyan, green, magenta, blue, and the bright ones; red and yellow are for levels.
_OF_FUNCTIONS = tuple(f"\x1b[{code}m" for code in (36, 32, 35, 34, 96, 92, 95, 94))
_OF_LEVELS = {
    "WARNING": "\x1b[33m",
    "ERROR": "\x1b[31m",
    "CRITICAL": "\x1b[1;31m",
    "DEBUG": _DIM,
}


def wants_colour(choice: str) -> bool:
    """Whether to write colours: `auto` is on a terminal, where NO_COLOR and a dumb one do not forbid it."""
    if choice != "auto":
        return choice == "always"
    is_forbidden = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not is_forbidden


class LineText:
    """Makes the text of lines; `grep` is what the reader looks for."""

    def __init__(self, *, colour: bool, grep: str | None) -> None:
        self._is_coloured = colour
        self._is_terminal = sys.stdout.isatty()
        self._found = re.compile(grep) if grep and colour else None

    def of(self, line: Mapping[str, Any]) -> str:
        """Return a line as people read it; what it holds cannot steer a terminal."""
        said = str(line["text"])
        if self._is_terminal or self._is_coloured:
            said = printable(said)
        level = f" {line['level']}" if line["level"] else ""
        if not self._is_coloured:
            return f"{line['at']} {line['function']} {line['invocation_id']}{level} | {said}"
        of_level = _OF_LEVELS.get(str(line["level"]).upper(), "")
        if self._found is not None:
            said = self._found.sub(lambda match: f"{_FOUND}{match[0]}{_RESET}{of_level}", said)
        function = str(line["function"])
        of_function = _OF_FUNCTIONS[zlib.crc32(function.encode()) % len(_OF_FUNCTIONS)]
        return (
            f"{_DIM}{line['at']}{_RESET} {of_function}{function}{_RESET} "
            f"{_DIM}{line['invocation_id']}{_RESET}{of_level}{level} | {said}{_RESET}"
        )
