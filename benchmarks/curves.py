"""Curves over time as SVG, one small panel below the other, written by hand. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Panel", "panels"]

WIDTH, PANEL_HEIGHT = 640, 96
LEFT, RIGHT, TOP, GAP = 60, 20, 34, 26


@dataclass(frozen=True)
class Panel:
    """One measure over time; `values` has one for each of the plot's times."""

    title: str
    unit: str
    values: Sequence[float]


def panels(title: str, shown: Sequence[Panel], seconds: Sequence[float]) -> str:
    """Return an SVG in which every panel shares the x axis and has a y axis from zero.

    Raises ValueError when there is nothing to plot.
    """
    if len(seconds) < 2 or not shown:
        raise ValueError(f"there is nothing to plot for {title!r}")
    height = TOP + len(shown) * (PANEL_HEIGHT + GAP) + 14
    body = "\n".join(_panel(one, seconds, number) for number, one in enumerate(shown))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="11" role="img" aria-label="{escape(title)}">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        f'<text x="{LEFT}" y="18" font-size="14" font-weight="bold">{escape(title)}</text>\n'
        f"{body}\n"
        f'<text x="{LEFT}" y="{height - 4}">0 min</text>'
        f'<text x="{WIDTH - RIGHT}" y="{height - 4}" text-anchor="end">'
        f"{seconds[-1] / 60:.0f} min</text>\n</svg>\n"
    )


def _panel(panel: Panel, seconds: Sequence[float], number: int) -> str:
    top = TOP + number * (PANEL_HEIGHT + GAP) + 12
    bottom = top + PANEL_HEIGHT
    most = max(panel.values) * 1.1 or 1.0
    span = seconds[-1] - seconds[0]
    points = " ".join(
        f"{LEFT + (WIDTH - LEFT - RIGHT) * (at - seconds[0]) / span:.1f},"
        f"{bottom - PANEL_HEIGHT * value / most:.1f}"
        for at, value in zip(seconds, panel.values, strict=True)
    )
    name = f"{panel.title}, {panel.unit}" if panel.unit else panel.title
    lines = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#d0d7de"/>'
        f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:.3g}</text>'
        for y, value in ((bottom, 0.0), (top, most))
    )
    return (
        f'{lines}<text x="{LEFT}" y="{top - 4}">{escape(name)}</text>'
        f'<polyline points="{points}" fill="none" stroke="#1f6feb" stroke-width="1.2"/>'
    )
