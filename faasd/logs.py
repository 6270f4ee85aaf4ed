"""The daemon's own log: one JSON object a line, readable lines on a terminal, or entries of the journal.

Event names are `snake_case`, past tense; values are fields with units.
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
import logging
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog

from faasd.linux.journal import JournalSender, encode, is_journal_stream

__all__ = ["JournalLog", "LogStream", "configure", "get_logger", "journal_fields"]

_KEPT_BYTES_MAX = 2**20
#: What a pipe takes whole and without blocking once it says that it takes anything (PIPE_BUF).
_PIECE_BYTES = 4096


class LogStream(io.TextIOBase):
    """Where log lines go: neither a reader that hangs nor one that has left may hold up the daemon.

    What the other side does not take now is kept, up to a mebibyte, and handed over with the next
    line; beyond that, lines are dropped, and a line says how many. May be used by any thread.

    On a thread with an event loop, the first line of a turn is handed over at once and those that
    follow it together, at the end of the turn: two system calls for each would be a tenth of what an attempt costs.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._poller = select.poll()
        self._poller.register(fd, select.POLLOUT)
        self._lock = threading.Lock()
        self._kept = b""
        self._dropped_count = 0
        self._turn_of: asyncio.AbstractEventLoop | None = None

    def writable(self) -> bool:
        """Whether it can be written to: always, whatever becomes of the lines."""
        return True

    def isatty(self) -> bool:
        """Whether a person looks on."""
        return os.isatty(self._fd)

    def write(self, text: str, /) -> int:
        """Write whole lines, now or later. Never blocks and never raises."""
        data = text.encode("utf-8", "backslashreplace")
        waits = self._waits_for_turn()
        with self._lock:
            if self._dropped_count and not self._kept:
                note = {"event": "log_lines_dropped", "count": self._dropped_count}
                self._kept = json.dumps(note).encode() + b"\n"
                self._dropped_count = 0
            if len(self._kept) + len(data) > _KEPT_BYTES_MAX:
                self._dropped_count += text.count("\n")
            else:
                self._kept += data
            if not waits or len(self._kept) > _PIECE_BYTES:
                self._hand_over()
        return len(text)

    def _waits_for_turn(self) -> bool:
        """Whether this turn of the loop hands over at its end; the first to ask in a turn has it do so."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if self._turn_of is loop:
            return True
        self._turn_of = loop
        loop.call_soon(self._end_turn)
        return False

    def _end_turn(self) -> None:
        self._turn_of = None
        with self._lock:
            self._hand_over()

    def _hand_over(self) -> None:
        while self._kept:
            try:
                if not self._poller.poll(0):
                    return
                # Whole lines as far as possible: others may write to the same place, or read it meanwhile.
                whole = self._kept.rfind(b"\n", 0, _PIECE_BYTES) + 1
                written = os.write(self._fd, self._kept[: whole or _PIECE_BYTES])
            except BlockingIOError:
                return
            except OSError:
                # Nobody reads any more (EPIPE), or there is no room on the disk.
                self._dropped_count += self._kept.count(b"\n")
                self._kept = b""
                return
            self._kept = self._kept[written:]


#: syslog's numbers, which the journal filters by: `journalctl -p warning`.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
#: What our own code hands to the standard library's loggers beside the event.
_EXTRA = ("method", "path")
_MESSAGE_ONLY = frozenset({"event", "level", "timestamp", "exception"})


def journal_fields(record: Mapping[str, Any]) -> dict[str, str]:
    """Return one record as fields of the journal.

    MESSAGE is for people: the event and its values. Each value is also a field of its own,
    FAASD_FUNCTION, FAASD_INVOCATION and so on, by which journalctl finds it.
    """
    event, level = str(record.get("event", "")), str(record.get("level", "info"))
    values = {name: value for name, value in record.items() if name not in _MESSAGE_ONLY}
    texts = {
        name: value if isinstance(value, str) else _encode(value) for name, value in values.items()
    }
    told = [f"{name}={_quoted(text)}" for name, text in texts.items() if name != "room"]
    message = " ".join([event, *told])
    exception = record.get("exception")
    return {
        "MESSAGE": f"{message}\n{exception}" if exception else message,
        "PRIORITY": str(_PRIORITIES.get(level, 6)),
        "SYSLOG_IDENTIFIER": "faasd",
        "FAASD_EVENT": event,
        **{f"FAASD_{name}": text for name, text in texts.items()},
    }


def _quoted(text: str) -> str:
    return _encode(text) if not text or any(one in text for one in ' "=\n\r\t') else text


class JournalLog:
    """Hands records to the journal, and keeps what it does not take now. May be used by any thread."""

    def __init__(self, sender: JournalSender) -> None:
        self._sender = sender
        self._lock = threading.Lock()
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._dropped_count = 0

    def __call__(self, _logger: Any, _method: str, record: MutableMapping[str, Any]) -> str:
        """Be the last of structlog's processors: nothing is left to be written elsewhere."""
        self.write(record)
        raise structlog.DropEvent

    def write(self, record: Mapping[str, Any]) -> None:
        """Send one record, now or with a later one. Never blocks and never raises."""
        with self._lock:
            if self._dropped_count and not self._kept:
                note = {"event": "log_lines_dropped", "count": self._dropped_count}
                self._dropped_count = 0
                self._keep({**note, "level": "warning"})
            self._keep(record)
            while self._kept:
                try:
                    self._sender.send(self._kept[0])
                except OSError:  # It is busy, or just starting anew.
                    return
                self._kept_bytes -= len(self._kept.popleft())

    def _keep(self, record: Mapping[str, Any]) -> None:
        entry = encode(journal_fields(record))
        if self._kept and self._kept_bytes + len(entry) > _KEPT_BYTES_MAX:
            self._dropped_count += 1
            return
        self._kept.append(entry)
        self._kept_bytes += len(entry)


class _JournalHandler(logging.Handler):
    """The way of the libraries' logs to the journal."""

    def __init__(self, journal: JournalLog) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        fields = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            **{name: str(vars(record)[name]) for name in _EXTRA if name in vars(record)},
        }
        if record.exc_info:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        self._journal.write(fields)


def _journal_of(fd: int) -> JournalLog | None:
    """Return the journal that standard error leads to; None where it leads elsewhere, or none listens."""
    if not is_journal_stream(os.environ.get("JOURNAL_STREAM", ""), fd):
        return None
    try:
        return JournalLog(JournalSender())
    except OSError:
        return None  # Lines of JSON reach it by standard error.


#: `json.dumps` with options would build an encoder for every line.
_encode = json.JSONEncoder(default=repr, ensure_ascii=True).encode


def _wants_colour(out: Any) -> bool:
    is_forbidden = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return bool(out.isatty()) and not is_forbidden


class _ShortWay:
    """The way of most lines where they are JSON: what structlog would write, for half the time and less."""

    def __init__(self) -> None:
        self._out: Any = None
        self._level_number = 0

    def lead_to(self, out: Any, level_number: int) -> None:
        """Lead there from now on; to None, nowhere."""
        self._out, self._level_number = out, level_number

    def write(self, level: str, number: int, room: str, event: str, values: dict[str, Any]) -> bool:
        """Write one line, if its level is wanted; False where lines go another way."""
        if self._out is None or "exc_info" in values:
            return False
        if number >= self._level_number:
            stamp = _timestamp()
            record = {"room": room, **values, "event": event, "level": level, "timestamp": stamp}
            self._out.write(_encode(record) + "\n")
            self._out.flush()
        return True


_short_way = _ShortWay()


def configure(log_format: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Send faasd's log, and that of every library, to `stream` (standard error).

    `log_format` is json, console, or auto: console on a terminal, entries with fields of their own where
    standard error is the journal.
    """
    if stream is None and log_format == "auto":
        journal = _journal_of(sys.stderr.fileno())
        if journal is not None:
            _configure_journal(journal, level)
            return
    out: Any = stream if stream is not None else LogStream(sys.stderr.fileno())
    is_console = log_format == "console" or (log_format == "auto" and out.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _stamp,
    ]
    renderer: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=_wants_colour(out))]
        if is_console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_to_json)]
    )
    level_number = logging.getLevelNamesMapping()[level.upper()]
    _short_way.lead_to(None if is_console else out, level_number)
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level_number),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _adopt_library_logs(out, shared, renderer, level_number)


def _configure_journal(journal: JournalLog, level: str) -> None:
    _short_way.lead_to(None, 0)
    level_number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            journal,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level_number),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_JournalHandler(journal)]
    root.setLevel(max(level_number, logging.WARNING))


def _adopt_library_logs(
    out: TextIO, shared: list[Any], renderer: list[Any], level_number: int
) -> None:
    """Give APScheduler, watchdog, uvicorn and SQLAlchemy the same form; they say little below warning."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                *shared,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(allow=_EXTRA),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level_number, logging.WARNING))


class _RoomLogger:
    """structlog's logger of one room; what each attempt writes goes the short way, where there is one."""

    def __init__(self, room: str) -> None:
        self._room = room
        self._all_of_it = structlog.get_logger(room=room)

    def info(self, event: str, **values: Any) -> None:
        """Write a line of level info."""
        if not _short_way.write("info", logging.INFO, self._room, event, values):
            self._all_of_it.info(event, **values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._all_of_it, name)


def get_logger(room: str) -> Any:
    """Return the logger of one room of the program."""
    return _RoomLogger(room)


def _stamp(_logger: Any, _method: str, record: MutableMapping[str, Any]) -> Any:
    """Add the time; structlog's own costs as much as all the rest of a line."""
    record["timestamp"] = _timestamp()
    return record


def _timestamp() -> str:
    """Return the time, in UTC and to the microsecond."""
    now = time.time()
    second = int(now)
    return f"{_iso_second(second)}.{int((now - second) * 1_000_000):06d}Z"


@functools.lru_cache(maxsize=4)
def _iso_second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()[:19]


def _to_json(value: Any, **_: Any) -> str:
    """Render one line. A log call must never raise, whatever file name or number it is given."""
    return _encode(value)
