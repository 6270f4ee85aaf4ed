"""The daemon's own log: one JSON object a line, or readable lines on a terminal.

Event names are `snake_case`, past tense; values are fields with units.
"""

from __future__ import annotations

import io
import json
import logging
import os
import select
import sys
import threading
from typing import Any, TextIO

import structlog

__all__ = ["LogStream", "configure", "get_logger"]

_KEPT_BYTES_MAX = 2**20
#: What a pipe takes whole and without blocking once it says that it takes anything (PIPE_BUF).
_PIECE_BYTES = 4096


class LogStream(io.TextIOBase):
    """Where log lines go: neither a reader that hangs nor one that has left may hold up the daemon.

    What the other side does not take now is kept, up to a mebibyte, and handed over with the next
    line; beyond that, lines are dropped, and a line says how many. May be used by any thread.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._lock = threading.Lock()
        self._kept = b""
        self._dropped_count = 0

    def writable(self) -> bool:
        """Whether it can be written to: always, whatever becomes of the lines."""
        return True

    def isatty(self) -> bool:
        """Whether a person looks on."""
        return os.isatty(self._fd)

    def write(self, text: str, /) -> int:
        """Write whole lines, now or later. Never blocks and never raises."""
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            if self._dropped_count and not self._kept:
                note = {"event": "log_lines_dropped", "count": self._dropped_count}
                self._kept = json.dumps(note).encode() + b"\n"
                self._dropped_count = 0
            if len(self._kept) + len(data) > _KEPT_BYTES_MAX:
                self._dropped_count += text.count("\n")
            else:
                self._kept += data
            self._hand_over()
        return len(text)

    def _hand_over(self) -> None:
        while self._kept:
            try:
                poller = select.poll()
                poller.register(self._fd, select.POLLOUT)
                if not poller.poll(0):
                    return
                written = os.write(self._fd, self._kept[:_PIECE_BYTES])
            except BlockingIOError:
                return
            except OSError:
                # Nobody reads any more (EPIPE), or there is no room on the disk.
                self._dropped_count += self._kept.count(b"\n")
                self._kept = b""
                return
            self._kept = self._kept[written:]


#: `json.dumps` with options would build an encoder for every line.
_encode = json.JSONEncoder(default=repr, ensure_ascii=True).encode


def configure(log_format: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Send faasd's log, and that of every library, to `stream` (standard error).

    `log_format` is json, console, or auto: console on a terminal.
    """
    out: Any = stream if stream is not None else LogStream(sys.stderr.fileno())
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
        logger_factory=structlog.WriteLoggerFactory(out),
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
