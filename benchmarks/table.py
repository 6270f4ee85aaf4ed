"""Results as text: a table for people, one JSON document for programs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.model import Bound, Result, RowResult
from benchmarks.summary import cpu_ratios, ratios, spread, verdict

__all__ = ["as_json", "markdown", "missed"]

_HEAD = (
    "What",
    "faasd",
    "Beside",
    "Peer",
    "Ratio",
    "CPU ratio",
    "Target",
    "",
    "What the peer does not do",
)


def as_json(results: Sequence[RowResult]) -> list[dict[str, Any]]:
    """Return every row with medians, ranges and the rounds behind them."""
    return [
        {
            "name": result.row.name,
            "title": result.row.title,
            "unit": result.row.unit,
            "target": _bound_json(result.row.absolute),
            "verdict": verdict(result.row.absolute, _median(result.ours)),
            "faasd": _side_json(result.ours),
            "peers": [_peer_json(result, peer) for peer in result.peers],
        }
        for result in results
    ]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of what `as_json` gave, a line for each pair."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    for row in rows:
        lines += _lines_of(row)
    return "\n".join(lines) + "\n"


def missed(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Name every target that was missed, or that nothing was measured for."""
    found = []
    for row in rows:
        for verdict_, beside in [(row["verdict"], None)] + [
            (peer["verdict"], peer["name"]) for peer in row["peers"]
        ]:
            if verdict_ in ("missed", "not measured"):
                found.append(f"{row['name']}{f' beside {beside}' if beside else ''}: {verdict_}")
    return found


def _lines_of(row: dict[str, Any]) -> list[str]:
    ours = _cell(row["faasd"], row["unit"])
    lines = []
    if row["target"] or not row["peers"]:
        target, word = row["target"] or "", _strong(row["verdict"])
        lines.append(_line(row["title"], ours, "", "", "", "", target, word, row["faasd"]["lacks"]))
    for peer in row["peers"]:
        theirs = _cell(peer, row["unit"])
        ratio = _spread_text(peer["ratio"]) if peer["ratio"] else ""
        cpu = _spread_text(peer["cpu_ratio"]) if peer["cpu_ratio"] else ""
        cells = (peer["name"], theirs, ratio, cpu, peer["target"] or "", _strong(peer["verdict"]))
        lines.append(
            _line("" if lines else row["title"], "" if lines else ours, *cells, peer["lacks"])
        )
    return lines


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _strong(word: str) -> str:
    return f"**{word}**" if word in ("missed", "not measured") else word


def _cell(side: dict[str, Any], unit: str) -> str:
    if side["reason"] is not None:
        return f"not measured: {side['reason'][:200]}"
    text = f"{_spread_text(side['value'])} {unit}"
    extra = []
    if side["cpu_ms_each"] is not None:
        extra.append(f"{_number(side['cpu_ms_each'])} ms CPU each")
    if side["memory_bytes"] is not None:
        extra.append(f"{side['memory_bytes'] / 2**20:.0f} MiB")
    return text + (f"; {', '.join(extra)}" if extra else "")


def _spread_text(spread_: dict[str, float]) -> str:
    median, least, most = (_number(spread_[key]) for key in ("median", "least", "most"))
    return median if least == most else f"{median} ({least} … {most})"


def _number(value: float) -> str:
    """Write three digits that matter, thousands apart."""
    if abs(value) >= 1000:
        return f"{round(value, -int(len(str(int(abs(value)))) - 3)):,.0f}"
    return f"{value:.3g}"


def _peer_json(result: RowResult, peer: Result) -> dict[str, Any]:
    found = ratios(result.ours.samples, peer.samples)
    ratio = spread(found) if found else None
    return {
        **_side_json(peer),
        "ratio": asdict(ratio) if ratio else None,
        "cpu_ratio": _spread_json(cpu_ratios(result.ours.samples, peer.samples)),
        "target": _bound_json(peer.ratio),
        "verdict": verdict(peer.ratio, ratio.median if ratio else None),
    }


def _side_json(side: Result) -> dict[str, Any]:
    return {
        "name": side.name,
        "lacks": side.lacks,
        "reason": side.reason,
        "value": _spread_json([one.value for one in side.samples]),
        "cpu_ms_each": _middle([one.cpu_ms_each for one in side.samples]),
        "memory_bytes": _middle([one.memory_bytes for one in side.samples]),
        "rounds": [asdict(one) for one in side.samples],
    }


def _spread_json(values: list[float]) -> dict[str, float] | None:
    return asdict(spread(values)) if values else None


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return spread(known).median if known else None


def _median(side: Result) -> float | None:
    return spread([one.value for one in side.samples]).median if side.samples else None


def _bound_json(bound: Bound | None) -> str | None:
    return None if bound is None else str(bound)
