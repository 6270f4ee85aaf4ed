"""What a zygote may say, checked: it has run the function's code, so every frame of it is hostile input. Pure."""

from __future__ import annotations

from typing import Any

from faasd.errors import WireError
from faasd.sandbox.classify import error_from

__all__ = ["ALONE", "ended_frame", "number", "ready_frame"]

#: Why what a zygote has imported cannot serve other functions, by the word that it says; none where it can.
ALONE = {
    "": "",
    "environment": "its module looks at which function it is, or at the whole environment, when it is imported",
    "programs": "its module runs a program when it is imported, which has the function's environment",
    "left-open": "its module leaves something open or running when it is imported",
}

#: No process lives so long, and none is so large: what says so says nothing.
_SECONDS_MAX = 10.0**9
_BYTES_MAX = 2**56


def ready_frame(frame: dict[str, Any]) -> dict[str, Any]:
    """Return `ready` or `init-error` with nothing in it but what is expected. Raises WireError."""
    if frame["op"] == "init-error":
        error = frame.get("error")
        # What the kernel refused goes on as it is: failures_in_report looks at every field of it, for the hint.
        refused = error.get("os_errors") if isinstance(error, dict) else None
        return {"op": "init-error", "error": {**error_from(error).to_json(), "os_errors": refused}}
    alone = frame.get("alone")
    if not isinstance(alone, str) or alone not in ALONE:
        raise WireError(f"why it is one function's alone is {alone!r:.50}")
    return {
        "op": "ready",
        "alone": alone,
        "init_s": number(frame, "init_s", _SECONDS_MAX),
        "memory_bytes": int(number(frame, "memory_bytes", _BYTES_MAX)),
    }


def ended_frame(frame: dict[str, Any]) -> dict[str, Any]:
    """Return `ended` with nothing in it but what is expected. Raises WireError."""
    return {
        "cpu_s": number(frame, "cpu_s", _SECONDS_MAX),
        "memory_bytes": int(number(frame, "memory_bytes", _BYTES_MAX)),
    }


def number(frame: dict[str, Any], name: str, most: float) -> float:
    """Return a field that is a number between 0 and `most`. Raises WireError."""
    value: Any = frame.get(name)
    if type(value) not in (int, float) or not 0 <= value <= most:  # Which NaN is not either.
        raise WireError(f"the {name} of a frame is {value!r:.50}")
    return float(value)
