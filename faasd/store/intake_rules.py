"""What decides whether an event is accepted, kept beside the database for whoever enqueues without a daemon.

The daemon writes `intake.json` when it starts and when it reloads, so the file holds what was in force when
it last ran. A file that is not there, or not whole, says that nothing is known.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.trigger import QueueTrigger

__all__ = ["RULES_NAME", "IntakeRules", "keep_rules", "kept_rules"]

RULES_NAME = "intake.json"
_FORMAT = 1


@dataclass(frozen=True)
class IntakeRules:
    """What was in force. Of the functions, only what intake asks them: name, limits, expiry, queues, filters."""

    functions: tuple[Function, ...]
    state_bytes_max: int | None


def keep_rules(state_dir: Path, functions: Iterable[Function], state_bytes_max: int | None) -> None:
    """Write down what is in force, whole or not at all; nothing is written when it stands there. Raises OSError."""
    value = {
        "format": _FORMAT,
        "state_bytes_max": state_bytes_max,
        "functions": [_written(one) for one in functions],
    }
    path = state_dir / RULES_NAME
    content = json.dumps(value, separators=(",", ":")).encode()
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    fresh = path.with_name(f".{RULES_NAME}.new")
    # Filters may name what the configuration does, and that need not be for everybody.
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    # Not synced: what a power cut leaves half-written is not JSON, and then nothing is known.
    fresh.replace(path)


def kept_rules(state_dir: Path) -> IntakeRules | None:
    """Return what was in force when a daemon last ran on this directory; None when that is not known."""
    try:
        value = json.loads((state_dir / RULES_NAME).read_bytes())
        if value["format"] != _FORMAT:
            return None
        functions = tuple(_read(one) for one in value["functions"])
        return IntakeRules(functions, value["state_bytes_max"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _written(function: Function) -> dict[str, Any]:
    filters = {one.name: list(one.filter) for one in function.queues}
    return {
        "name": function.name,
        "payload_limit_bytes": function.limits.payload_limit_bytes,
        "expires_s": function.expires_s,
        "queues": {
            lane.queue: filters.get(lane.queue, [])
            for lane in function.lanes()
            if lane.queue != function.name or lane.queue in filters
        },
    }


def _read(value: dict[str, Any]) -> Function:
    return Function(
        value["name"],
        limits=Limits(payload_limit_bytes=value["payload_limit_bytes"]),
        expires_s=value["expires_s"],
        queues=tuple(
            QueueTrigger(name, filter=tuple(patterns)) for name, patterns in value["queues"].items()
        ),
    )
