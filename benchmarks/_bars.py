"""Horizontal bars as SVG: one group per line of a figure, ours first and baselines below it."""

from collections.abc import Mapping, Sequence
from html import escape

from msgspec import Struct

__all__ = ["Bar", "bars"]

WIDTH, LABEL, ROW, GAP, TOP = 860, 300, 15, 9, 46
CUT = 100.0
"""Per cent at which bars end; what is longer says its figure."""

OURS, OTHERS = "#1f6f8b", ("#c9c9c9", "#e0d3b8", "#e8e8e8")


class Bar(Struct, frozen=True):
    """`value` and `beside` in per cent, by name."""

    label: str
    value: float
    beside: Mapping[str, float]


def bars(title: str, groups: Sequence[Bar]) -> str:
    lines: list[str] = []
    y = TOP
    scale = (WIDTH - LABEL - 90) / CUT
    for group in groups:
        lines.append(_text(LABEL - 8, y + ROW - 4, group.label, anchor="end"))
        parts = [("dualtrack", group.value, OURS)]
        parts += [(name, value, OTHERS[i % len(OTHERS)]) for i, (name, value) in enumerate(group.beside.items())]
        for name, value, colour in parts:
            width = scale * min(value, CUT)
            lines.append(f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="{ROW - 3}" fill="{colour}"/>')
            lines.append(_text(LABEL + width + 5, y + ROW - 5, f"{value:.1f} % {name}", size=10))
            y += ROW
        y += GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 8}" font-family="sans-serif">'
    ground = f'<rect width="{WIDTH}" height="{y + 8}" fill="white"/>'
    return "\n".join([head, ground, _text(12, 26, title, size=15), *lines, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
