"""What an attempt prints, cut into lines and kept within its limits.

A line longer than `line_limit` is cut, with a mark that says by how much. When the attempt's total
(standard output, standard error and log records together) passes `output_limit`, one line of stream `faasd` says so
and the rest is read and dropped: a chatty but finite attempt survives, marked `output_truncated`. One
that goes on to FAR_OVER times the limit is ended, with outcome `output-limit`. Lines are limited as well,
to one for each LINE_BYTES of the limit: an empty one takes a byte to print, and a record to keep.

Secrets are masked in whole lines, before these are cut: however they arrive, none is seen in halves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from faasd.clock import Clock
from faasd.model.attempt import OutputLine
from faasd.model.limits import Limits
from faasd.model.units import format_size
from faasd.sandbox.masking import Masker

__all__ = ["FAR_OVER", "LINES_LEAST", "LINE_BYTES", "LineCutter", "Output"]

FAR_OVER = 8
LINE_BYTES = 32
#: However small the limit is.
LINES_LEAST = 1000


class LineCutter:
    """Cuts one stream of bytes into lines of text; what is not UTF-8 shows as backslash escapes."""

    def __init__(self, bytes_max: int, masker: Masker | None = None) -> None:
        self._bytes_max = bytes_max
        self._masker = masker
        # A secret that begins before the cut is kept whole until it is masked.
        self._kept_max = bytes_max + (masker.bytes_max if masker is not None else 0)
        self._partial = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> list[str]:
        """Take bytes; return the lines that they complete."""
        lines = []
        *complete, rest = data.split(b"\n")
        for piece in complete:
            self._add(piece)
            lines.append(self._take())
        self._add(rest)
        return lines

    def finish(self) -> list[str]:
        """Return the last line, when it did not end with a newline."""
        return [self._take(is_cut=True)] if self._partial else []

    def _add(self, piece: bytes) -> None:
        room = self._kept_max - len(self._partial)
        self._partial += piece[:room]
        self._dropped += max(0, len(piece) - room)

    def _take(self, *, is_cut: bool = False) -> str:
        data = bytes(self._partial)
        dropped = self._dropped
        self._partial.clear()
        self._dropped = 0
        if self._masker is not None:
            data = self._masker.mask(data, is_cut=is_cut or dropped > 0)
            dropped += max(0, len(data) - self._bytes_max)
            data = data[: self._bytes_max]
        mark = f"…[truncated {dropped} bytes]" if dropped else ""
        return data.removesuffix(b"\r").decode("utf-8", "backslashreplace") + mark


class Output:
    """All that one attempt prints, handed on as lines."""

    def __init__(
        self,
        limits: Limits,
        clock: Clock,
        sink: Callable[[Sequence[OutputLine]], None],
        masker: Masker | None = None,
    ) -> None:
        self._limits = limits
        self._masker = masker
        self._clock = clock
        self._sink = sink
        self._cutters: dict[str, LineCutter] = {}  # By stream, once something is printed there.
        self._bytes = 0
        self._lines = 0
        self._lines_max = max(LINES_LEAST, limits.output_limit_bytes // LINE_BYTES)

    @property
    def is_truncated(self) -> bool:
        """Whether something was dropped."""
        return self._bytes > self._limits.output_limit_bytes or self._lines > self._lines_max

    @property
    def is_far_over(self) -> bool:
        """Whether it has printed so much that nobody can have meant it."""
        bytes_max = self._limits.output_limit_bytes * FAR_OVER
        return self._bytes > bytes_max or self._lines > self._lines_max * FAR_OVER

    def feed(self, stream: str, data: bytes) -> None:
        """Take bytes from a pipe."""
        kept = self._admit(data)
        if kept:
            now = self._clock.now()
            cutter = self._cutters.get(stream)
            if cutter is None:
                cutter = LineCutter(self._limits.line_limit_bytes, self._masker)
                self._cutters[stream] = cutter
            self._hand_on([OutputLine(now, stream, text) for text in cutter.feed(kept)])
        self._count(len(data), data.count(b"\n"))

    def record(self, at: float, level: str, text: str) -> None:
        """Take a log record; its lines share time and level."""
        data = text.encode("utf-8", "backslashreplace")
        kept = self._admit(data)
        if kept:
            cutter = LineCutter(self._limits.line_limit_bytes, self._masker)
            lines = [*cutter.feed(kept), *cutter.finish()]
            self._hand_on([OutputLine(at, "log", line, level) for line in lines])
        self._count(len(data), data.count(b"\n") + 1)

    def say(self, text: str) -> None:
        """Add a line of faasd's own."""
        self._sink([OutputLine(self._clock.now(), "faasd", text)])

    def finish(self) -> None:
        """Hand on last lines that did not end with a newline."""
        for stream, cutter in self._cutters.items():
            now = self._clock.now()
            self._hand_on([OutputLine(now, stream, text) for text in cutter.finish()])

    def close(self) -> None:
        """Hand on nothing any more."""
        self._sink = _nowhere

    def _admit(self, data: bytes) -> bytes:
        data = data[: max(0, self._limits.output_limit_bytes - self._bytes)]
        lines_left = max(0, self._lines_max - self._lines)
        if data.count(b"\n") <= lines_left:
            return data
        return b"\n".join(data.split(b"\n", lines_left)[:lines_left])

    def _count(self, size: int, lines: int) -> None:
        was_over = self.is_truncated
        self._bytes += size
        self._lines += lines
        if self.is_truncated and not was_over:
            limit = format_size(self._limits.output_limit_bytes)
            of_lines = f" ({self._lines_max} lines)" if self._lines > self._lines_max else ""
            self.finish()
            self.say(
                f"output_limit of {limit}{of_lines} reached; what is printed from here on is dropped"
            )

    def _hand_on(self, lines: list[OutputLine]) -> None:
        if lines:
            self._sink(lines)


def _nowhere(_: Sequence[OutputLine]) -> None: ...
