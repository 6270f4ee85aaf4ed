"""How `faasd top` looks: one frame, as tall as it is allowed to be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from faasd.cli.output import printable, time_text
from faasd.clock import from_iso
from faasd.model.units import format_duration, format_size

__all__ = ["frame_of", "print_frame", "trouble_of"]

Row = Mapping[str, Any]

#: The lines at the top: the daemon, the counts, and the one below them.
_HEAD_LINES = 3
#: From here on there is room for rules, and for lines between the tables.
_TALL = 40
#: Columns that are cut where the terminal is narrow.
_GIVE_WAY = ("FUNCTION", "PROGRESS", "TRIGGER", "INVOCATION", "QUEUE", "SCHEDULE", "ERROR")
_ROWS_WITHOUT_END = 50
_PIPE_WIDTH = 140
_PROGRESS_WIDTH = 24


def print_frame(seen: Row) -> None:
    """Print one frame, to a pipe without colours and never cut."""
    console = Console()
    if console.is_terminal:
        console.print(frame_of(seen, None))
        return
    console = Console(width=max(console.width, _PIPE_WIDTH))
    with console.capture() as capture:
        console.print(frame_of(seen, None))
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def frame_of(seen: Row, height: int | None) -> RenderableType:
    """Return one frame that fits into `height` lines; None is as tall as it takes."""
    tables = [
        _attempts(seen["attempts"]),
        _functions(seen["functions"]),
        _queues(seen["queues"]),
        _schedules(seen["schedules"], seen["status"]),
        _failures(seen["failures"]),
    ]
    wanted = [len(table.rows) for table in tables]
    problems = seen["status"]["problems"]
    if height is None:
        shown = _shares(wanted, _ROWS_WITHOUT_END * len(tables))
        return Group(_head(seen["status"], problems), *map(_Table.draw, tables, shown))
    # On a low terminal what is wrong must not hide what runs; `faasd status` has all of it.
    problems = _cut(problems, max(1, height // 8))
    taken = _HEAD_LINES + len(problems)
    is_dense = height < _TALL
    shown = _shares(wanted, height - taken - sum(one.lines_beside(is_dense) for one in tables))
    parts = [one.draw(rows, is_dense, True) for one, rows in zip(tables, shown, strict=True)]
    return Group(_head(seen["status"], problems, is_cut=True), *parts)


def trouble_of(error: Exception) -> RenderableType:
    """Return what is shown while nobody answers."""
    return Text(f"\n  {printable(str(error))}\n\n  trying again; Ctrl-C ends this", style="red")


class _Table:
    """A table before it is known how many of its rows there is room for."""

    def __init__(self, title: str, *heads: str, nothing: str = "none") -> None:
        self.title = title
        self.heads = heads
        self.nothing = nothing
        self.rows: list[list[Text]] = []

    def add(self, *cells: object, style: str = "") -> None:
        texts = [cell if isinstance(cell, Text) else Text(printable(str(cell))) for cell in cells]
        for text in texts:
            text.stylize_before(style)
        self.rows.append(texts)

    def lines_beside(self, is_dense: bool) -> int:
        """Return how many lines it takes besides its rows: title, heads, rule, and the one below."""
        if not self.rows:
            return 1 if is_dense else 2
        return 2 if is_dense else 4

    def draw(self, rows_max: int, is_dense: bool = False, is_cut: bool = False) -> RenderableType:
        """Draw it, with so many rows. A dense one has no rule and no line below; a cut one has no row of several lines."""
        shown = self.rows[:rows_max]
        more = len(self.rows) - len(shown)
        title = f"{self.title} ({len(self.rows)})" + (f", {more} not shown" if more else "")
        end = "" if is_dense else "\n"
        if not self.rows:
            return Text.assemble((self.title, "bold"), (f": {self.nothing}{end}", "dim"))
        table = Table(
            box=None if is_dense else box.SIMPLE_HEAD,
            title=title,
            title_style="bold",
            title_justify="left",
            pad_edge=False,
            show_edge=False,
            show_header=bool(shown),
        )
        for head in self.heads:  # Numbers and times keep their width, and names give way.
            table.add_column(head, no_wrap=is_cut and head not in _GIVE_WAY)
        for row in shown:
            for cell in row if is_cut else ():
                cell.no_wrap, cell.overflow = True, "ellipsis"
            table.add_row(*row)
        return table if is_dense else Group(table, Text())


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Share rows out: each gets what it wants while there is room, the greedy ones the least."""
    shares = [0] * len(wanted)
    while room > 0 and any(share < want for share, want in zip(shares, wanted, strict=True)):
        for index, want in enumerate(wanted):
            if shares[index] < want and room > 0:
                shares[index] += 1
                room -= 1
    return shares


def _cut(problems: Sequence[str], lines: int) -> list[str]:
    """Return so many problems at most, the last of them saying how many more there are."""
    if len(problems) <= lines:
        return list(problems)
    rest = len(problems) - lines + 1
    return [*problems[: lines - 1], f"{rest} more, see `faasd status`"]


def _head(status: Row, problems: Sequence[str], is_cut: bool = False) -> RenderableType:
    counts = "   ".join(
        f"{word.replace('_', ' ')} {status.get(key, 0)}"
        for word, key in (
            ("running", "running"),
            ("waiting", "waiting"),
            ("delayed", "delayed"),
            ("dead letters", "dead"),
        )
    )
    line = (
        f"faasd {status['version']}   {status['state']}   up {format_duration(status['uptime_s'])}"
        f"   {datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z\n{counts}   slots {status.get('slots', '-')}"
    )
    told = [Text(f"problem: {printable(one)}", style="red") for one in problems]
    for one in told:
        one.no_wrap, one.overflow = (True, "ellipsis") if is_cut else (None, None)
    return Group(Text(line, style="bold"), *told, Text())


def _attempts(attempts: Sequence[Row] | None) -> _Table:
    nothing = "none" if attempts is not None else "for root and the daemon's user only"
    tells = any(one.get("progress") is not None for one in attempts or ())
    table = _Table(
        "RUNNING",
        "FUNCTION",
        "AGE",
        "LIMIT",
        "MEMORY",
        "CAP",
        *(["PROGRESS"] if tells else []),
        "TRIGGER",
        "INVOCATION",
        nothing=nothing,
    )
    for one in attempts or ():
        memory = one["memory_bytes"]
        many = f" +{one['batch_size'] - 1}" if one["batch_size"] > 1 else ""
        table.add(
            one["function"],
            _near(format_duration(one["age_s"]), one["age_s"], one["timeout_s"]),
            format_duration(one["timeout_s"]),
            _near(format_size(memory), memory, one["memory_limit_bytes"]) if memory else "-",
            format_size(one["memory_limit_bytes"]),
            *([_short(one.get("progress"))] if tells else []),
            f"{one['trigger']} {one['source']}",
            one["invocation_id"] + many,
        )
    return table


def _short(progress: Any) -> str:
    """Return what a handler says of its progress in one cell."""
    if progress is None:
        return "-"
    text = printable(
        progress if isinstance(progress, str) else json.dumps(progress, ensure_ascii=False)
    )
    return text if len(text) <= _PROGRESS_WIDTH else text[: _PROGRESS_WIDTH - 1] + "…"


def _functions(functions: Sequence[Row]) -> _Table:
    table = _Table("FUNCTIONS", "FUNCTION", "RUNNING", "OK 24H", "FAILED 24H", "STATE")
    ranked = sorted(
        functions, key=lambda one: (-one["running"], -_failed(one), -_total(one), one["name"])
    )
    for one in ranked:
        failed = _failed(one)
        table.add(
            one["name"],
            one["running"] or "-",
            one["outcomes_24h"].get("ok", 0),
            Text(str(failed), style="red" if failed else ""),
            _state_of(one),
        )
    return table


def _queues(queues: Sequence[Row]) -> _Table:
    table = _Table("QUEUES", "QUEUE", "WAITING", "DELAYED", "IN FLIGHT", "DEAD", "OLDEST WAITS")
    words = ("waiting", "delayed", "in_flight", "dead")
    busy = [one for one in queues if any(one[word] for word in words)]
    table.nothing = f"all {len(queues)} are empty"
    for one in sorted(busy, key=lambda one: (-one["waiting"], -one["dead"], one["queue"])):
        table.add(
            one["queue"],
            one["waiting"],
            one["delayed"],
            one["in_flight"],
            Text(str(one["dead"]), style="red" if one["dead"] else ""),
            _since(one["oldest_waiting_at"]),
        )
    return table


def _schedules(schedules: Sequence[Row], status: Row) -> _Table:
    table = _Table("NEXT", "SCHEDULE", "FUNCTION", "IN", "AT")
    table.nothing = "no schedule fires" if status.get("schedules") else "no schedule"
    coming = [one for one in schedules if one["next_at"]]
    next_at = time_text("next_at")
    for one in sorted(coming, key=lambda one: str(one["next_at"])):
        in_s = from_iso(one["next_at"]) - _now()
        table.add(one["name"], one["function"], format_duration(max(0.0, in_s)), next_at(one))
    return table


def _failures(failures: Sequence[Row] | None) -> _Table:
    nothing = "none in 24 hours" if failures is not None else "for root and the daemon's user only"
    table = _Table("FAILURES", "AGO", "FUNCTION", "OUTCOME", "STATE", "ERROR", nothing=nothing)
    for one in failures or ():
        found = one["error"] or {}
        said = f"{found['type']}: {found['message']}" if found else one["reason"] or ""
        error = Text(printable(said.replace("\n", " "))[:200], no_wrap=True, overflow="ellipsis")
        ended = _since(one["ended_at"] or one["started_at"] or one["created_at"])
        table.add(ended, one["function"], Text(one["outcome"], style="red"), one["state"], error)
    return table


def _state_of(function: Row) -> Text:
    """Say what keeps a function from running, or from running what its files say."""
    breaker = (function.get("breaker") or {}).get("state", "closed")
    states = {
        "refused": bool(function.get("refused")),
        f"breaker {breaker}": breaker != "closed",
        "kept old": bool(function.get("kept_because")),
        "paused": bool(function["paused_since"]),
    }
    said = [word for word, is_so in states.items() if is_so]
    return Text(", ".join(said), style="yellow" if said in ([], ["paused"]) else "red")


def _failed(function: Row) -> int:
    ended: dict[str, int] = function["outcomes_24h"]
    return sum(ended.values()) - sum(ended.get(word, 0) for word in ("ok", "drained", "cancelled"))


def _total(function: Row) -> int:
    return int(sum(function["outcomes_24h"].values()))


def _near(text: str, value: float, limit: float) -> Text:
    """Return a value that turns yellow and red as it comes near its limit."""
    style = "red" if value >= 0.9 * limit else "yellow" if value >= 0.7 * limit else ""
    return Text(text, style=style)


def _since(at: str | None) -> str:
    return "-" if at is None else format_duration(max(0.0, _now() - from_iso(at)))


def _now() -> float:
    return datetime.now(UTC).timestamp()
