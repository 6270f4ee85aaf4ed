"""What goes wrong in a handler, as records: type, message and the stack of the handler's own frames, bounded."""

from __future__ import annotations

import math
import os
import traceback
from typing import Any

from faasd.runtime.os_errors import os_errors

__all__ = ["InitFailed", "describe", "error_record", "unencodable"]

_OWN_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_MESSAGE_CHARS_MAX = 8192
_FRAME_CHARS_MAX = 1024
_FRAMES_MAX = 50


class InitFailed(Exception):
    """The handler's module could not be imported, or has no such handler; `error` is the record."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.error = error
        super().__init__(error["message"])


def error_record(error: BaseException, message: str | None = None) -> dict[str, Any]:
    """Return type, message, stack and OSErrors of an exception; none is unbounded, whatever it holds."""
    return {
        "type": type(error).__name__,
        "message": _cut(_text_of(error) if message is None else message, _MESSAGE_CHARS_MAX),
        "stack": _stack_of(error),
        "os_errors": os_errors(error),
    }


def describe(error: BaseException) -> str:
    """Return type and text of an exception in one line, whatever its class does."""
    text = _text_of(error)
    return type(error).__name__ + (f": {text}" if text else "")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as unprintable:  # noqa: BLE001 - the handler's own __str__ may do anything.
        return f"(its text cannot be had: {type(unprintable).__name__})"


def _stack_of(error: BaseException) -> list[str]:
    """Return the frames outside faasd and the import machinery, outermost first."""
    frames = [
        f'File "{frame.filename}", line {frame.lineno}, in {frame.name}'
        + (f"\n    {frame.line}" if frame.line else "")
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_OWN_DIR, "<frozen importlib"))
    ]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append(
            f'File "{error.filename}", line {error.lineno}\n    {(error.text or "").strip()}'
        )
    if len(frames) > _FRAMES_MAX:
        left_out = len(frames) - _FRAMES_MAX
        frames = [*frames[:10], f"… {left_out} frames left out …", *frames[10 - _FRAMES_MAX :]]
    return [_cut(frame, _FRAME_CHARS_MAX) for frame in frames]


def _cut(text: str, chars_max: int) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()  # Lone surrogates are no text.
    if len(text) <= chars_max:
        return text
    return f"{text[:chars_max]}…[truncated {len(text) - chars_max} characters]"


def unencodable(value: Any, path: str = "result", depth: int = 0) -> tuple[str, str] | None:
    """Find what JSON cannot hold in a value: (its path, what it is), or None when nothing was found."""
    if depth > 200:
        return path, "nested too deeply, or within itself"
    if value is None or isinstance(value, (str, bool, int)):
        return None
    if isinstance(value, float):
        return (path, str(value)) if not math.isfinite(value) else None
    if isinstance(value, dict):
        return _unencodable_in_dict(value, path, depth)
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            found = unencodable(item, f"{path}[{index}]", depth + 1)
            if found is not None:
                return found
        return None
    kind = type(value)
    return path, f"of type {kind.__module__}.{kind.__qualname__}".replace("builtins.", "")


def _unencodable_in_dict(value: dict[Any, Any], path: str, depth: int) -> tuple[str, str] | None:
    for key, item in value.items():
        if not (key is None or isinstance(key, (str, int, float, bool))):
            return path, f"a dict with a key of type {type(key).__qualname__}"
        found = unencodable(item, f"{path}[{key!r}]", depth + 1)
        if found is not None:
            return found
    return None
