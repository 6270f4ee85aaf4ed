"""The log files of one function: writing, rotating, and staying within the budget."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from faasd.model.event import encode_json

__all__ = ["CURRENT", "FunctionLog", "directory_name", "functions_logged", "rotated_files"]

CURRENT = "current.jsonl"
_NAME_FILE = "function"  # In directories whose name is too short to hold the function's.
_NAME_BYTES_MAX = 200


#: Of a batch: each invocation's id with the number of the attempt.
Members = Sequence[tuple[str, int]]


class FunctionLog:
    """Appends to the current file of one function."""

    def __init__(self, directory: Path, function: str, file_bytes: int, budget_bytes: int) -> None:
        self._directory = directory
        self._function = function
        self._file_bytes = file_bytes
        self._budget_bytes = budget_bytes
        self._descriptor: int | None = None
        self._size = 0
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

    def _write(
        self, lines: Sequence[bytes], at: float, batch: str | None, members: Members
    ) -> None:
        descriptor = self._open()
        if self._size >= self._file_bytes:
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
            self._batches.clear()
        return self._descriptor

    def _rotate(self) -> None:
        """Give the current file the next number, then remove the oldest beyond the budget."""
        numbered = rotated_files(self._directory)
        number = int(numbered[-1].stem) + 1 if numbered else 1
        full = self._directory / f"{number:04d}.jsonl"
        (self._directory / CURRENT).rename(full)
        self.close()
        kept_bytes = self._file_bytes  # What the new current file may come to.
        for path in reversed([*numbered, full]):
            kept_bytes += path.stat().st_size
            if kept_bytes > self._budget_bytes:
                path.unlink()


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
