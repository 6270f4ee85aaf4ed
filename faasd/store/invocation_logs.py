"""What attempts printed: JSON lines in files of each function, within a budget of bytes, lines and age.

`<logs>/<function>/current.jsonl` grows until it is full and then becomes `0001.jsonl`, `0002.jsonl`
and so on; the oldest are removed when the function is over its budget. Each file can be read by
itself: in each, a batch says once which invocations its lines belong to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from faasd.interfaces import LogLine
from faasd.logs import get_logger
from faasd.model.attempt import Attempt, OutputLine
from faasd.model.event import encode_json
from faasd.store.log_files import (
    FunctionLog,
    LogBudget,
    directory_name,
    functions_logged,
    rotated_files,
)
from faasd.store.log_reading import LogQuery, read_lines

__all__ = ["FileInvocationLogs"]

_log = get_logger("store")
TAIL_BYTES = 4096
OPEN_FILES_MAX = 64


class _Tail:
    """The end of what one attempt printed."""

    def __init__(self) -> None:
        self.lines: deque[bytes] = deque()
        self.bytes = 0

    def add(self, text: str) -> None:
        line = text.encode("utf-8", "backslashreplace") + b"\n"
        self.lines.append(line)
        self.bytes += len(line)
        while self.bytes - len(self.lines[0]) >= TAIL_BYTES:
            self.bytes -= len(self.lines.popleft())


class FileInvocationLogs:
    """See `faasd.interfaces.InvocationLogs` for what each method promises. For one event loop."""

    def __init__(self, directory: Path, budget: LogBudget | None = None) -> None:
        self._directory = directory
        self._budget = budget or LogBudget()
        self._functions: dict[str, FunctionLog] = {}  # Least recently written first.
        self._tails: dict[str, _Tail] = {}
        self._sinks: dict[object, Callable[[LogLine], None]] = {}
        self._dropped_before = 0  # By logs that are closed.

    @property
    def dropped(self) -> int:
        """How many lines could not be written since the start, by all functions."""
        return self._dropped_before + sum(log.dropped for log in self._functions.values())

    def append(self, attempt: Attempt, lines: Sequence[OutputLine]) -> None:
        """Write lines; of a batch, under its first invocation, where its other members find them.

        Never raises for a full disk: what is lost is counted, and said when there is room again.
        """
        if not lines:
            return
        first = attempt.claims[0]
        batch = attempt.id if len(attempt.claims) > 1 else None
        members = [(claim.invocation.id, claim.number) for claim in attempt.claims]
        tail = self._tails.setdefault(attempt.id, _Tail())
        encoded = []
        for line in lines:
            tail.add(line.text)
            encoded.append(_encode(line, first.invocation.id, first.number, batch))
        log = self._function_log(attempt.function.name)
        log.write(encoded, lines[0].at, batch, members)
        for sink in tuple(self._sinks.values()):
            for line in lines:
                sink(_log_line(attempt, line))

    def tail(self, attempt: Attempt, bytes_max: int = TAIL_BYTES) -> str:
        """Return the end of what this attempt printed; at most 4 KiB are kept."""
        tail = self._tails.get(attempt.id)
        if tail is None or bytes_max <= 0:
            return ""
        end = b"".join(tail.lines)[:-1][-bytes_max:]
        while end and end[0] & 0xC0 == 0x80:  # Cut within a character: leave all of it out.
            end = end[1:]
        return end.decode("utf-8", "replace")

    def forget(self, attempt: Attempt) -> None:
        """Let go of what was kept in memory for `tail`."""
        self._tails.pop(attempt.id, None)

    async def read(
        self,
        function: str | None = None,
        invocation_id: str | None = None,
        since: float | None = None,
        limit: int | None = None,
    ) -> list[LogLine]:
        """Return lines in time order; with `limit` the newest ones."""
        query = LogQuery(invocation_id, since, limit)
        return await asyncio.to_thread(self._read, function, query)

    def subscribe(self, sink: Callable[[LogLine], None]) -> Callable[[], None]:
        """Call `sink` for each new line until the returned function is called."""
        key = object()
        self._sinks[key] = sink

        def unsubscribe() -> None:
            self._sinks.pop(key, None)

        return unsubscribe

    def expire(self, now: float) -> None:
        """Remove what is older than the budget allows, also of functions that are gone. Never raises for a disk."""
        if self._budget.kept_s is None:
            return
        try:
            names = functions_logged(self._directory)
        except OSError as error:
            _log.warning("log_expiry_failed", path=str(self._directory), error=str(error))
            return
        for name in names:
            log = self._functions.get(name) or self._new_log(name)
            try:
                log.expire(now - self._budget.kept_s, now)
            except OSError as error:
                _log.warning("log_expiry_failed", function=name, error=str(error))

    def free(self, count_bytes: int) -> int:
        """Remove the oldest numbered files, of whatever function; returns how many bytes that freed.

        The file that a function writes to stays. Never raises for a disk.
        """
        if count_bytes <= 0:
            return 0
        freed = 0
        try:
            oldest = sorted(
                (path.stat().st_mtime, path, name)
                for name in functions_logged(self._directory)
                for path in rotated_files(self._directory / directory_name(name))
            )
            for _, path, name in oldest:
                if freed >= count_bytes:
                    break
                freed += (self._functions.get(name) or self._new_log(name)).remove(path)
        except OSError as error:
            _log.warning("log_expiry_failed", path=str(self._directory), error=str(error))
        return freed

    def close(self) -> None:
        """Close the files."""
        for log in self._functions.values():
            self._dropped_before += log.dropped
            log.close()
        self._functions.clear()

    def _read(self, function: str | None, query: LogQuery) -> list[LogLine]:
        names = functions_logged(self._directory) if function is None else [function]
        found: list[LogLine] = []
        for name in names:
            found += read_lines(self._directory / directory_name(name), name, query)
        found.sort(key=lambda line: line.at)
        return found if query.limit is None else found[max(0, len(found) - query.limit) :]

    def _function_log(self, name: str) -> FunctionLog:
        log = self._functions.pop(name, None)
        if log is None:
            log = self._new_log(name)
            if len(self._functions) >= OPEN_FILES_MAX:
                oldest = self._functions.pop(next(iter(self._functions)))
                self._dropped_before += oldest.dropped
                oldest.close()
        self._functions[name] = log
        return log

    def _new_log(self, name: str) -> FunctionLog:
        return FunctionLog(self._directory / directory_name(name), name, self._budget)


def _encode(line: OutputLine, invocation_id: str, number: int, batch: str | None) -> bytes:
    record: dict[str, object] = {
        "at": line.at,
        "invocation": invocation_id,
        "attempt": number,
        "stream": line.stream,
    }
    if line.level is not None:
        record["level"] = line.level
    if batch is not None:
        record["batch"] = batch
    record["text"] = line.text
    return encode_json(record).encode() + b"\n"


def _log_line(attempt: Attempt, line: OutputLine) -> LogLine:
    first = attempt.claims[0]
    return LogLine(
        at=line.at,
        function=attempt.function.name,
        invocation_id=first.invocation.id,
        attempt=first.number,
        stream=line.stream,
        text=line.text,
        level=line.level,
    )
