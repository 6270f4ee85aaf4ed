"""Reading the log files of a function, newest first and no further back than asked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faasd.interfaces import LogLine
from faasd.model.event import encode_json
from faasd.store.log_files import CURRENT, rotated_files

__all__ = ["LogQuery", "read_lines"]


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines are wanted; None means any."""

    invocation_id: str | None = None
    since: float | None = None
    limit: int | None = None


def read_lines(directory: Path, function: str, query: LogQuery) -> list[LogLine]:
    """Return a function's lines in time order; with a limit, its newest ones."""
    newest_first: list[LogLine] = []
    for data in _files_newest_first(directory):
        newest_first += reversed(_lines_in(data, function, query))
        if query.limit is not None and len(newest_first) >= query.limit:
            break
        if query.since is not None and _ends_before(data, query.since):
            break
    newest_first.reverse()
    newest_first.sort(key=lambda line: line.at)
    surplus = 0 if query.limit is None else max(0, len(newest_first) - query.limit)
    return newest_first[surplus:]


def _files_newest_first(directory: Path) -> Iterator[bytes]:
    """Yield the content of each file, while the daemon may write and rotate them."""
    current = None
    with suppress(FileNotFoundError), (directory / CURRENT).open("rb") as file:
        current = os.fstat(file.fileno()).st_ino
        yield file.read()
    # Listed only now, and compared by inode: what was current may have become the last numbered one.
    for path in reversed(rotated_files(directory)):
        with suppress(FileNotFoundError), path.open("rb") as file:
            if os.fstat(file.fileno()).st_ino != current:
                yield file.read()


def _ends_before(data: bytes, since: float) -> bool:
    """Whether the last line of a file, and so every older file, is from before that time."""
    last = _record(data[data.rfind(b"\n", 0, -1) + 1 :])
    return last is not None and last.get("at", since) < since


def _lines_in(data: bytes, function: str, query: LogQuery) -> list[LogLine]:
    wanted = query.invocation_id
    needle = None if wanted is None else encode_json(wanted).encode()
    batches: dict[str, int] = {}  # Batches that hold the invocation: the attempt's number for it.
    found: list[LogLine] = []
    for raw in data.splitlines():
        # Most lines belong to others; looking for the id is far cheaper than reading the JSON.
        if needle is not None and needle not in raw and not (batches and b'"batch":' in raw):
            continue
        record = _record(raw)
        if record is None:
            continue
        if "members" in record:
            numbers = dict(record["members"])
            if wanted in numbers:
                batches[record["batch"]] = numbers[wanted]
            continue
        line = _as_asked(record, function, wanted, batches)
        if line is not None and (query.since is None or line.at >= query.since):
            found.append(line)
    return found


def _as_asked(
    record: dict[str, Any], function: str, wanted: str | None, batches: dict[str, int]
) -> LogLine | None:
    """Return the line as the invocation asked for sees it, or None if it belongs to others."""
    invocation_id, attempt = record["invocation"], record["attempt"]
    if wanted is not None and invocation_id != wanted:
        number = batches.get(record.get("batch", ""))
        if number is None:
            return None
        invocation_id, attempt = wanted, number
    return LogLine(
        at=record["at"],
        function=function,
        invocation_id=invocation_id,
        attempt=attempt,
        stream=record["stream"],
        text=record["text"],
        level=record.get("level"),
    )


def _record(raw: bytes) -> dict[str, Any] | None:
    """Read one line; None for one that a crash has cut."""
    try:
        record = json.loads(raw)
    except ValueError:
        return None
    return (
        record if isinstance(record, dict) and ("text" in record or "members" in record) else None
    )
