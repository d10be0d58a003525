"""The timeline of nodes as an SVG, drawn without a browser: a lane per device, a bar per attempt."""

from collections.abc import Sequence
from itertools import groupby
from xml.sax.saxutils import escape

from scheduler.cli.demo_record import DemoRecord, NodeLine, Span

__all__ = ["TENANT_COLOURS", "colours", "runs_of", "timeline_svg"]

TENANT_COLOURS = ("#3b6ea8", "#c8742b", "#4f8f5b", "#8a5fa3", "#a84848", "#6b7280")
LEFT, TOP, WIDTH, LANE, GAP = 190, 62, 900, 9, 16


def colours(tenants: Sequence[str]) -> dict[str, str]:
    return {name: TENANT_COLOURS[i % len(TENANT_COLOURS)] for i, name in enumerate(tenants)}


def runs_of(devices: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(first, count) of each unbroken run of device indices."""
    groups = groupby(enumerate(sorted(devices)), key=lambda pair: pair[1] - pair[0])
    runs = [[device for _, device in members] for _, members in groups]
    return tuple((run[0], len(run)) for run in runs)


def timeline_svg(record: DemoRecord) -> str:
    """A picture of its own, light background included, 1,110 units wide."""
    longest = max([record.makespan_s, *(span.end_s for span in record.spans), 1.0])
    scale = WIDTH / longest
    colour = colours([tenant.name for tenant in record.tenants])
    tops: dict[str, int] = {}
    y = TOP
    for node in record.nodes:
        tops[node.name] = y
        y += node.devices * LANE + GAP
    parts = [_head(record, y + 44), *(_node(node, tops[node.name]) for node in record.nodes), _axis(longest, scale, y)]
    for span in record.spans:
        if span.node in tops:
            parts += _bars(span, tops[span.node], scale, colour.get(span.tenant, "#6b7280"))
    parts += [_legend(colour, y + 34), "</svg>\n"]
    return "\n".join(parts)


def _text(x: float, y: float, text: str, size: int = 11, colour: str = "#333", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _head(record: DemoRecord, height: int) -> str:
    emulated = " on emulated devices" if any(node.emulated for node in record.nodes) else ""
    title = f"{len(record.jobs)} jobs of {len(record.tenants)} tenants{emulated}"
    figures = (
        f"makespan {record.makespan_s:.0f} s, forecast {record.forecast_makespan_s:.0f} s "
        f"({100 * record.forecast_error:+.1f} %) · {record.rank_starts} processes started, "
        f"at most {record.ranks_at_once} at once · executor {record.executor}"
    )
    width = LEFT + WIDTH + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'role="img" aria-label="Timeline of nodes">\n<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        + _text(14, 24, title, 16, "#111")
        + "\n"
        + _text(14, 44, figures, 12, "#555")
    )


def _node(node: NodeLine, y: int) -> str:
    height = node.devices * LANE
    kind = f"{node.accelerator} x{node.devices}" + (", emulated" if node.emulated else "")
    return "\n".join(
        (
            f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{height}" fill="#f3f4f6"/>',
            _text(14, y + height / 2 - 3, node.name, 12, "#111"),
            _text(14, y + height / 2 + 11, f"{kind} ({node.executor})", 10, "#777"),
        )
    )


def _bars(span: Span, top: int, scale: float, colour: str) -> list[str]:
    """One rectangle for each unbroken run of devices; paler until all ranks were up."""
    parts = []
    x, end = LEFT + span.start_s * scale, LEFT + span.end_s * scale
    up = LEFT + (span.end_s if span.up_s is None else span.up_s) * scale
    tip = f"{span.job}, attempt {span.attempt}: {span.start_s:.1f} to {span.end_s:.1f} s {span.ended}".strip()
    for first, count in runs_of(span.devices):
        y, height = top + first * LANE, count * LANE - 1
        parts.append(f"<g><title>{escape(tip)}</title>")
        for left, right, opacity in ((x, up, 0.4), (up, end, 0.9)):
            if right > left:
                parts.append(
                    f'<rect x="{left:.1f}" y="{y}" width="{max(0.5, right - left - 0.6):.1f}" height="{height}" '
                    f'fill="{colour}" fill-opacity="{opacity}"/>'
                )
        room = int((end - x - 4) / 5)
        if height >= LANE - 1 and room >= 3:
            parts.append(_text(x + 3, y + height / 2 + 3, span.job[:room], 8, "#fff"))
        parts.append("</g>")
    return parts


def _axis(longest: float, scale: float, y: int) -> str:
    step = next((s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if longest / s <= 12), 3600)
    marks = []
    for second in range(0, int(longest) + 1, step):
        x = LEFT + second * scale
        marks.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{y - GAP + 4}" stroke="#d1d5db" stroke-width="0.6"/>'
        )
        marks.append(_text(x, y + 2, f"{second} s", 10, "#555", "middle"))
    return "\n".join(marks)


def _legend(colour: dict[str, str], y: int) -> str:
    parts, x = [], float(LEFT)
    for name, shade in colour.items():
        parts += [f'<rect x="{x:.1f}" y="{y - 9}" width="11" height="11" fill="{shade}"/>', _text(x + 16, y, name)]
        x += 34 + 6.2 * len(name)
    parts.append(_text(x, y, "paler: starting", 11, "#777"))
    return "\n".join(parts)
