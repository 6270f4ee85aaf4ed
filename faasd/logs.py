"""The daemon's own log: one JSON object a line, or readable lines on a terminal.

Event names are `snake_case`, past tense; values are fields with units. docs/operations.md lists them.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, TextIO

import structlog

__all__ = ["configure", "get_logger"]

#: `json.dumps` with options would build an encoder for every line.
_encode = json.JSONEncoder(default=repr, ensure_ascii=True).encode


def configure(log_format: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Send faasd's log, and that of every library, to `stream` (standard error).

    `log_format` is json, console, or auto: console on a terminal.
    """
    out = stream if stream is not None else sys.stderr
    is_console = log_format == "console" or (log_format == "auto" and out.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=out.isatty())]
        if is_console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_to_json)]
    )
    level_number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level_number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _adopt_library_logs(out, shared, renderer, level_number)


def _adopt_library_logs(
    out: TextIO, shared: list[Any], renderer: list[Any], level_number: int
) -> None:
    """Give APScheduler, watchdog, uvicorn and SQLAlchemy the same form; they say little below warning."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level_number, logging.WARNING))


def get_logger(room: str) -> Any:
    """Return the logger of one room of the program."""
    return structlog.get_logger(room=room)


def _to_json(value: Any, **_: Any) -> str:
    """Render one line. A log call must never raise, whatever file name or number it is given."""
    return _encode(value)
