"""The log files of one function: writing, rotating, and staying within the budget."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from faasd.model.event import encode_json

__all__ = [
    "CURRENT",
    "FunctionLog",
    "LogBudget",
    "directory_name",
    "functions_logged",
    "rotated_files",
]

CURRENT = "current.jsonl"
_NAME_FILE = "function"  # In directories whose name is too short to hold the function's.
_NAME_BYTES_MAX = 200


#: Of a batch: each invocation's id with the number of the attempt.
Members = Sequence[tuple[str, int]]


#: Less than any line takes in a file, its time, invocation and stream included.
_LINE_BYTES_MIN = 64
#: The current file is let go of in so many steps of its time or its count.
_STEPS = 16


@dataclass(frozen=True, slots=True)
class LogBudget:
    """How much output is kept of each function, and in pieces of which size it is let go.

    `function_lines` and `kept_s` are kept to within a sixteenth; None means no such limit.
    """

    function_bytes: int = 16 * 2**20
    file_bytes: int = 2**20
    function_lines: int | None = None
    kept_s: float | None = None

    @property
    def counts_lines(self) -> bool:
        """Whether the bytes leave room for too many lines; else nobody need count them."""
        lines = self.function_lines
        return lines is not None and self.function_bytes // _LINE_BYTES_MIN > lines


class FunctionLog:
    """Appends to the current file of one function."""

    def __init__(self, directory: Path, function: str, budget: LogBudget) -> None:
        self._directory = directory
        self._function = function
        self._budget = budget
        self._file_lines_max = max(1, (budget.function_lines or 0) // _STEPS)
        self._descriptor: int | None = None
        self._size = 0
        self._lines = 0  # In the current file; counted only where it matters.
        self._lines_of: dict[str, int] = {}  # In the numbered files.
        self._batches: set[str] = set()  # Whose members the current file names.
        self._unsaid = 0
        self.dropped = 0

    def write(self, lines: Sequence[bytes], at: float, batch: str | None, members: Members) -> None:
        """Append encoded lines, or count them as dropped when the file system refuses.

        `at` is the time of the first; `batch` and its members are given for batches only.
        """
        try:
            self._write(lines, at, batch, members)
        except OSError:
            self.dropped += len(lines)
            self._unsaid += len(lines)
            self.close()  # To be opened anew: the directory may have been removed under us.

    def close(self) -> None:
        """Close the current file; the next write opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self, path: Path) -> int:
        """Remove one of its numbered files; returns how many bytes that frees."""
        size = path.stat().st_size
        path.unlink()
        self._lines_of.pop(path.name, None)
        return size

    def expire(self, before: float, now: float) -> None:
        """Remove files whose last line is from before that time, and end a current one that is old."""
        for path in rotated_files(self._directory):
            if path.stat().st_mtime < before:
                path.unlink()
                self._lines_of.pop(path.name, None)
        current = self._directory / CURRENT
        if not current.exists():
            pass
        elif current.stat().st_mtime < before:
            self.close()
            current.unlink()
        elif _first_at(current, now) < now - (now - before) / _STEPS:
            self._rotate()  # So that its first lines can go before its last ones come of age.
        if self._directory.is_dir() and not any(self._directory.glob("*.jsonl")):
            (self._directory / _NAME_FILE).unlink(missing_ok=True)
            self._directory.rmdir()

    def _write(
        self, lines: Sequence[bytes], at: float, batch: str | None, members: Members
    ) -> None:
        descriptor = self._open()
        if self._size >= self._budget.file_bytes or self._is_long():
            self._rotate()
            descriptor = self._open()
        data = list(lines)
        if batch is not None and batch not in self._batches:
            data.insert(0, encode_json({"batch": batch, "members": members}).encode() + b"\n")
        if self._unsaid:
            data.insert(0, _note(at, f"{self._unsaid} lines were lost: they could not be written"))
        whole = b"".join(data)
        written = 0
        try:
            while written < len(whole):
                written += os.write(descriptor, whole[written:])
        except OSError:
            os.ftruncate(descriptor, self._size)  # No torn line for readers to stumble over.
            raise
        self._size += len(whole)
        if self._budget.counts_lines:
            self._lines += len(data)
        self._unsaid = 0
        if batch is not None:
            self._batches.add(batch)

    def _open(self) -> int:
        if self._descriptor is None:
            if not self._directory.is_dir():
                self._directory.mkdir(mode=0o750, parents=True)
                if unquote(self._directory.name) != self._function:
                    (self._directory / _NAME_FILE).write_text(self._function, "utf-8")
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._directory / CURRENT, flags, 0o640)
            self._size = _end_torn_line(self._directory / CURRENT, self._descriptor)
            self._lines = _lines_in(self._directory / CURRENT) if self._budget.counts_lines else 0
            self._batches.clear()
        return self._descriptor

    def _rotate(self) -> None:
        """Give the current file the next number, then remove the oldest beyond the budget."""
        numbered = rotated_files(self._directory)
        number = int(numbered[-1].stem) + 1 if numbered else 1
        full = self._directory / f"{number:04d}.jsonl"
        (self._directory / CURRENT).rename(full)
        self.close()
        kept_bytes = self._budget.file_bytes  # What the new current file may come to.
        kept_lines = self._file_lines_max
        for path in reversed([*numbered, full]):
            kept_bytes += path.stat().st_size
            if self._budget.counts_lines:
                kept_lines += self._count(path)
            is_over = kept_lines > (self._budget.function_lines or kept_lines)
            if is_over or kept_bytes > self._budget.function_bytes:
                path.unlink()
                self._lines_of.pop(path.name, None)

    def _is_long(self) -> bool:
        return self._budget.counts_lines and self._lines >= self._file_lines_max

    def _count(self, path: Path) -> int:
        """Count the lines of a numbered file, once: it does not change."""
        if path.name not in self._lines_of:
            self._lines_of[path.name] = _lines_in(path)
        return self._lines_of[path.name]


def rotated_files(directory: Path) -> list[Path]:
    """Return the numbered files, oldest first."""
    numbered = [path for path in directory.glob("*.jsonl") if path.stem.isdecimal()]
    return sorted(numbered, key=lambda path: int(path.stem))


def directory_name(function: str) -> str:
    """Return a file name for any function's name; unlike names never share one."""
    quoted = quote(function, safe="", errors="surrogatepass")
    if quoted.startswith("."):
        quoted = "%2E" + quoted[1:]
    if len(quoted) > _NAME_BYTES_MAX:
        digest = hashlib.sha256(quoted.encode()).hexdigest()[:32]
        quoted = f"{quoted[: _NAME_BYTES_MAX - 40].rpartition('%')[0] or 'long'}~{digest}"
    return quoted


def functions_logged(directory: Path) -> list[str]:
    """Return the names of the functions that have log files."""
    try:
        entries = sorted(entry for entry in directory.iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []
    names = []
    for entry in entries:
        try:
            names.append((entry / _NAME_FILE).read_text("utf-8"))
        except FileNotFoundError:
            names.append(unquote(entry.name, errors="surrogatepass"))
    return names


def _lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def _first_at(path: Path, default: float) -> float:
    """Return the time of a file's first line; a batch's head has none, the line behind it has."""
    with path.open("rb") as file:
        for raw in (file.readline(), file.readline()):
            try:
                record = json.loads(raw)
            except ValueError:
                continue  # A crash has cut it.
            if isinstance(record, dict) and isinstance(record.get("at"), int | float):
                return float(record["at"])
    return default


def _note(at: float, text: str) -> bytes:
    line = {"at": at, "invocation": "", "attempt": 0, "stream": "faasd", "text": text}
    return encode_json(line).encode() + b"\n"


def _end_torn_line(path: Path, descriptor: int) -> int:
    """Complete a line that a crash has cut, so that the next begins on its own; returns the size."""
    size = os.fstat(descriptor).st_size
    if size:
        with path.open("rb") as file:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                size += os.write(descriptor, b"\n")
    return size
