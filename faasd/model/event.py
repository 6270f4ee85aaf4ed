"""The native event envelope, the same for every trigger."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

__all__ = ["decode_json", "encode_json", "event_body"]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Made once: `json.dumps` and `json.loads` with options make theirs at every call.
_encoder = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
_scan: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once  # type: ignore[attr-defined]


def event_body(
    trigger: str, source: str, event_id: str, at: float, **fields: Any
) -> dict[str, Any]:
    """Return what a handler receives: `trigger`, `source`, `id`, `time`, then the trigger's own fields."""
    from faasd.clock import to_iso  # Here, as zygotes need it not, nor the `datetime` behind it.

    return {"trigger": trigger, "source": source, "id": event_id, "time": to_iso(at), **fields}


def encode_json(value: Any) -> str:
    """Write JSON text that any file name survives: non-ASCII, and bytes that are not UTF-8, as escapes.

    Raises TypeError or ValueError for what JSON cannot hold, NaN and infinities included.
    """
    return _encoder.encode(value)


def decode_json(text: str | bytes) -> Any:
    """Read JSON text. Raises ValueError; NaN and infinities, which are not JSON, are refused."""
    if isinstance(text, bytes):
        if text[:1] != b"{" or text[1:2] == b"\0":
            # It tells the encodings apart.
            return json.loads(text, parse_constant=_refuse_constant)
        # As that would, and without a decoder of its own.
        text = text.decode("utf-8", "surrogatepass")
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        end = -1
    # With blanks around it, or something wrong, it goes the long way.
    return value if end == len(text) else _decoder.decode(text)
