"""Sizes and durations as people write them, and back.

Durations: `500ms`, `30s`, `5m`, `1h30m`, `2d`, `1w`. Sizes: `256MiB`, `1GiB`, `64KiB`, `10MB`; a bare
`256M` means MiB, as in systemd.
"""

from __future__ import annotations

import re

from faasd.errors import InvalidSetting

__all__ = [
    "format_duration",
    "format_size",
    "gb_seconds",
    "parse_duration_s",
    "parse_rate",
    "parse_size_bytes",
]

_DURATION_UNITS_S = {
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_SIZE_UNITS_BYTES = {
    "": 1,
    "B": 1,
    "K": 2**10,
    "KB": 10**3,
    "KIB": 2**10,
    "M": 2**20,
    "MB": 10**6,
    "MIB": 2**20,
    "G": 2**30,
    "GB": 10**9,
    "GIB": 2**30,
    "T": 2**40,
    "TB": 10**12,
    "TIB": 2**40,
}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?\s*(?:ms|sec|min|s|m|h|d|w)\s*)+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|sec|min|s|m|h|d|w)", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)
_RATE = re.compile(r"(\d+)\s*/\s*(\d*\s*[a-z]+)", re.ASCII)


def parse_duration_s(text: object) -> float:
    """Read a duration. Raises InvalidSetting for a number without a unit, which could mean anything."""
    if isinstance(text, str) and _DURATION.fullmatch(text.strip()):
        parts = _DURATION_PART.findall(text)
        return sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts)
    if str(text) == "0":
        return 0.0
    hint = f'; did you mean "{text}s"?' if _is_number(text) else ""
    raise InvalidSetting(
        f'expected a duration such as "500ms", "30s", "5m" or "1h30m", not {text!r}{hint}'
    )


def parse_size_bytes(text: object) -> int:
    """Read a size. Raises InvalidSetting when it is none; a plain integer is bytes."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or match[2].upper() not in _SIZE_UNITS_BYTES:
        raise InvalidSetting(f'expected a size such as "256MiB", "64KiB" or "1GiB", not {text!r}')
    return round(float(match[1]) * _SIZE_UNITS_BYTES[match[2].upper()])


def parse_rate(text: object) -> tuple[int, float]:
    """Read a rate such as `10/s`, `100/min` or `5/30s` as (count, seconds)."""
    match = _RATE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise InvalidSetting(f'expected a rate such as "10/s", "100/min" or "5/30s", not {text!r}')
    span = match[2].strip()
    seconds = parse_duration_s(span if span[0].isdigit() else "1" + span)
    if int(match[1]) < 1 or seconds <= 0:
        raise InvalidSetting(f"expected a rate above zero, not {text!r}")
    return int(match[1]), seconds


def format_duration(seconds: float) -> str:
    """Say a duration the way people read it: `350ms`, `2.5s`, `1m30s`, `2h`, `3d`."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.3g}s"
    whole = round(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])


def format_size(size_bytes: float) -> str:
    """Say a size with a binary unit and at most three digits: `512B`, `1.5KiB`, `256MiB`."""
    for unit, length in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= length:
            number = size_bytes / length
            return f"{number:.0f}{unit}" if number >= 100 else f"{number:.3g}{unit}"
    return f"{size_bytes:.0f}B"


def gb_seconds(memory_bytes: int, wall_s: float) -> float:
    """Return the duration times the memory limit in GiB: what clouds call GB-seconds."""
    return memory_bytes / 2**30 * wall_s


def _is_number(text: object) -> bool:
    try:
        float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True
