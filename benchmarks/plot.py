"""A line plot as SVG, written by hand: a few points each, so nothing bigger is needed. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "plot"]

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df")


@dataclass(frozen=True)
class Line:
    """One named curve; a gap in the measurements is a point that is not there."""

    name: str
    points: Sequence[tuple[float, float]]


def plot(
    title: str, x_name: str, y_name: str, lines: Sequence[Line], x_labels: Sequence[str]
) -> str:
    """Return an SVG: measured values at equal distances, with their labels; the y axis begins at zero.

    The x of a point is the place of its label. Raises ValueError when there is nothing to plot.
    """
    values = [y for line in lines for _, y in line.points]
    if not values:
        raise ValueError(f"there is nothing to plot for {title!r}")
    top = _round_up(max(values))
    parts = [_frame(title, x_name, y_name), *_y_axis(top), *_x_axis(x_labels)]
    for number, line in enumerate(lines):
        parts += _curve(line, number, top, len(x_labels))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="{escape(title)}">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _frame(title: str, x_name: str, y_name: str) -> str:
    middle = TOP + (HEIGHT - TOP - BOTTOM) / 2
    return (
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>\n'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{escape(x_name)}</text>\n'
        f'<text transform="translate(14 {middle:g}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_name)}</text>"
    )


def _y_axis(top: float) -> list[str]:
    parts = []
    for quarter in range(5):
        value = top * quarter / 4
        y = _y(value, top)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d0d7de"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    return parts


def _x_axis(labels: Sequence[str]) -> list[str]:
    return [
        f'<text x="{_x(place, len(labels)):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
        f"{escape(label)}</text>"
        for place, label in enumerate(labels)
    ]


def _curve(line: Line, number: int, top: float, places: int) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    at = [(_x(x, places), _y(y, top)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in at)
    name = (
        f'<text x="{WIDTH - RIGHT}" y="{TOP - 8 + 14 * number}" text-anchor="end" fill="{colour}">'
        f"{escape(line.name)}</text>"
    )
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}{name}'
    ]


def _x(place: float, places: int) -> float:
    room = WIDTH - LEFT - RIGHT
    return LEFT + room * (place + 0.5) / places


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top


def _round_up(value: float) -> float:
    """Return the next value of 1, 2, 4 or 8 times a power of ten, which four lines divide evenly enough."""
    if value <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(value))
    return float(next(step * power for step in (1, 2, 4, 8, 10) if value <= step * power))
