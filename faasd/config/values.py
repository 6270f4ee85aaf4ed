"""Kinds of values that people write in a setting, each with its bounds and the text that explains it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from faasd.errors import InvalidSetting
from faasd.model.permissions import Ports
from faasd.model.units import (
    format_duration,
    format_size,
    parse_duration_s,
    parse_rate,
    parse_size_bytes,
)

__all__ = [
    "Destinations",
    "Duration",
    "Kind",
    "Location",
    "Moment",
    "Name",
    "Names",
    "Network",
    "Rate",
    "Size",
    "Spares",
    "setting",
]

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_NAME = re.compile(NAME_PATTERN)
_DESTINATION = re.compile(rf"(function|queue):({NAME_PATTERN})")


def setting(
    default: Any,
    sentence: str,
    *,
    key: str | None = None,
    example: Any = None,
    default_text: str | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Any:
    """Declare a setting once: default, bounds and the sentence that every page shows.

    `key` is its name in TOML where that differs from the attribute, which carries the unit.
    `default_text` says in words what the default is when it is not a constant; a `default` that is
    callable makes it.
    """
    given: dict[str, Any] = {
        "default_factory" if callable(default) else "default": default,
        "alias": key,
        "description": sentence,
        "examples": None if example is None else [example],
        "ge": at_least,
        "le": at_most,
        "json_schema_extra": {"default_text": default_text} if default_text else None,
    }
    return Field(**given)


@dataclass(frozen=True)
class Kind:
    """Base of the kinds: how a value is read, how it is shown, and its JSON schema."""

    def read(self, value: Any) -> Any:
        """Return the value as the program uses it. Raises InvalidSetting."""
        raise NotImplementedError

    def show(self, value: Any) -> Any:
        """Return the value as a person would write it."""
        return value

    @property
    def unit(self) -> str:
        """Say for the manual what is written here."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema that editors use."""
        return {"type": "string"}

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return self.schema()


@dataclass(frozen=True)
class Duration(Kind):
    """A length of time with its unit, in seconds."""

    at_least_s: float = 0.0
    at_most_s: float = 366 * 86400.0

    def read(self, value: Any) -> float:
        """Read text such as `30s`; a bare number is refused, with the likely text as a hint."""
        seconds = parse_duration_s(value)
        _check_bounds(seconds, self.at_least_s, self.at_most_s, value, format_duration)
        return seconds

    def show(self, value: float) -> str:
        """Return it with a unit."""
        return format_duration(value) if value else "0s"

    @property
    def unit(self) -> str:
        """Say that it is a duration, and which."""
        return _bounds_text(
            "duration",
            format_duration(self.at_least_s) if self.at_least_s else None,
            format_duration(self.at_most_s) if self.at_most_s < 366 * 86400 else None,
        )

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of a duration."""
        return {"type": "string", "pattern": r"^\s*(\d+(\.\d+)?\s*(ms|sec|min|s|m|h|d|w)\s*)+$"}


@dataclass(frozen=True)
class Size(Kind):
    """An amount of memory or disk with its unit, in bytes."""

    at_least_bytes: int = 0
    at_most_bytes: int = 2**50

    def read(self, value: Any) -> int:
        """Read text such as `256MiB`; a bare number is refused, with the likely text as a hint."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise InvalidSetting(
                f'expected a size with its unit, such as "256MiB", not {value!r}; '
                f'did you mean "{value}MiB"?'
            )
        size = parse_size_bytes(value)
        _check_bounds(size, self.at_least_bytes, self.at_most_bytes, value, format_size)
        return size

    def show(self, value: int) -> str:
        """Return it with a unit."""
        return format_size(value)

    @property
    def unit(self) -> str:
        """Say that it is a size, and which."""
        return _bounds_text(
            "size",
            format_size(self.at_least_bytes) if self.at_least_bytes else None,
            format_size(self.at_most_bytes) if self.at_most_bytes < 2**50 else None,
        )

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of a size."""
        return {
            "type": "string",
            "pattern": r"^\s*\d+(\.\d+)?\s*([KMGTkmgt]([iI]?[bB])?|[bB])?\s*$",
        }


@dataclass(frozen=True)
class Rate(Kind):
    """So many in a length of time, as (count, seconds)."""

    def read(self, value: Any) -> tuple[int, float]:
        """Read text such as `10/s`."""
        return parse_rate(value)

    @property
    def unit(self) -> str:
        """Say that it is a rate."""
        return "rate"


@dataclass(frozen=True)
class Moment(Kind):
    """A point in time. Without an offset it is read in the trigger's time zone."""

    def read(self, value: Any) -> datetime:
        """Read ISO 8601 text, or what TOML has already read as a date and time."""
        moment = value
        if isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                moment = None
        if isinstance(moment, datetime):
            return moment
        hint = f'; did you mean "{value}T00:00:00Z"?' if isinstance(value, date) else ""
        raise InvalidSetting(
            f'expected a time such as "2030-01-31T09:00:00Z", not {str(value)!r}{hint}'
        )

    def show(self, value: datetime) -> str:
        """Return it as ISO 8601."""
        return value.astimezone(UTC).isoformat()

    @property
    def unit(self) -> str:
        """Say that it is a time."""
        return "time"

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of a time; TOML's own date-times reach editors as text too."""
        return {"type": "string", "format": "date-time"}


@dataclass(frozen=True)
class Name(Kind):
    """A name that is safe in paths, URLs and on a command line."""

    def read(self, value: Any) -> str:
        """Read a name."""
        if not isinstance(value, str):
            raise InvalidSetting(f"expected a name as text, not {value!r}")
        if not _NAME.fullmatch(value):
            raise InvalidSetting(
                f"expected at most 100 letters, digits, dots, dashes and underscores, beginning "
                f"with a letter or digit, not {value!r}"
            )
        return value

    @property
    def unit(self) -> str:
        """Say that it is a name."""
        return "name"

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of a name."""
        return {"type": "string", "pattern": f"^{NAME_PATTERN}$"}


@dataclass(frozen=True)
class Location(Kind):
    """A file or directory. The loader makes it absolute."""

    def read(self, value: Any) -> str:
        """Read a path."""
        if not isinstance(value, str) or not value or "\0" in value:
            raise InvalidSetting(f"expected a path as text, not {value!r}")
        return value

    def show(self, value: Any) -> str:
        """Return it as text."""
        return str(value)

    @property
    def unit(self) -> str:
        """Say that it is a path."""
        return "path"


@dataclass(frozen=True)
class Names(Kind):
    """One text or a list of them."""

    what: str = "text"

    def read(self, value: Any) -> tuple[str, ...]:
        """Read one or many."""
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple):
            raise InvalidSetting(f"expected {self.what} or a list of it, not {value!r}")
        for one in values:
            if not isinstance(one, str) or not one:
                raise InvalidSetting(f"expected {self.what}, not {one!r}")
        return tuple(values)

    def show(self, value: tuple[str, ...]) -> Any:
        """Return one as itself, many as a list."""
        return value[0] if len(value) == 1 else list(value)

    @property
    def unit(self) -> str:
        """Say what may be listed."""
        return f"{self.what}, or a list"

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema: text or a list of it."""
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


@dataclass(frozen=True)
class Network(Kind):
    """Yes, no, or the TCP ports that may be used."""

    def read(self, value: Any) -> bool | Ports:
        """Read a truth value, a list of ports to connect to, or a table of both kinds."""
        if isinstance(value, bool):
            return value
        if isinstance(value, list | tuple):
            return Ports(connect=_ports(value))
        if not isinstance(value, dict) or not value or set(value) - {"connect", "bind"}:
            raise InvalidSetting(
                "expected true, false, a list of ports such as [443], or a table such as "
                f"{{ connect = [443], bind = [8080] }}, not {value!r}"
            )
        return Ports(**{key: _ports(ports) for key, ports in value.items()})

    def show(self, value: bool | Ports) -> Any:
        """Return it in its shortest spelling."""
        if isinstance(value, bool):
            return value
        both = {"connect": list(value.connect), "bind": list(value.bind)}
        return both if value.bind else both["connect"]

    @property
    def unit(self) -> str:
        """Say what may be written."""
        return "true, false, ports, or a table of ports"

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the three spellings."""
        ports = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 65535}}
        table = {"type": "object", "properties": {"connect": ports, "bind": ports}}
        return {"anyOf": [{"type": "boolean"}, ports, {**table, "additionalProperties": False}]}


def _ports(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidSetting(f"expected a list of ports such as [443], not {value!r}")
    for port in value:
        if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
            raise InvalidSetting(f"expected a port from 1 to 65535, not {port!r}")
    return tuple(sorted(set(value)))


@dataclass(frozen=True)
class Spares(Kind):
    """How many sandboxes are forked ahead: a number, or as many as the function's use asks for (None)."""

    at_most: int = 64

    def read(self, value: Any) -> int | None:
        """Read a number or `auto`."""
        if value == "auto":
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= self.at_most:
            raise InvalidSetting(f"expected {self.unit}, not {value!r}")
        return value

    def show(self, value: int | None) -> Any:
        """Return it as it is written."""
        return "auto" if value is None else value

    @property
    def unit(self) -> str:
        """Say what may be written."""
        return f'"auto", or a number from 0 to {self.at_most}'

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of both."""
        number = {"type": "integer", "minimum": 0, "maximum": self.at_most}
        return {"anyOf": [{"const": "auto"}, number]}


@dataclass(frozen=True)
class Destinations(Names):
    """Where finished invocations' records are sent."""

    what: str = '"function:NAME" or "queue:NAME"'

    def read(self, value: Any) -> tuple[str, ...]:
        """Read one or many destinations."""
        names = super().read(value)
        for name in names:
            if not _DESTINATION.fullmatch(name):
                hint = f'; did you mean "function:{name}"?' if _NAME.fullmatch(name) else ""
                raise InvalidSetting(f"expected {self.what}, not {name!r}{hint}")
        return names


def _check_bounds(
    value: float, at_least: float, at_most: float, text: Any, show: Callable[[float], str]
) -> None:
    if value < at_least:
        raise InvalidSetting(f"expected at least {show(at_least)}, not {text}")
    if value > at_most:
        raise InvalidSetting(f"expected at most {show(at_most)}, not {text}")


def _bounds_text(what: str, at_least: str | None, at_most: str | None) -> str:
    if at_least and at_most:
        return f"{what}, {at_least} to {at_most}"
    if at_least:
        return f"{what}, at least {at_least}"
    return f"{what}, at most {at_most}" if at_most else what
