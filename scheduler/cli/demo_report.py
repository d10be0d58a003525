"""The demo's report: one HTML page that needs no network, the picture beside it, and the figures as JSON."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec

from scheduler.cli.demo_picture import colours, timeline_svg
from scheduler.cli.demo_record import DemoRecord, moves

__all__ = ["facts", "interactive", "job_cells", "page", "tenant_cells", "write_report"]

JOB_TITLES = (
    "job",
    "tenant",
    "state",
    "device",
    "wait s",
    "run s",
    "attempts",
    "loss before",
    "after",
    "end forecast s",
    "actual s",
)
TENANT_TITLES = ("tenant", "device-seconds", "share", "nominal quota")
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1f2937}"
    "table{border-collapse:collapse;width:100%;margin:1rem 0;font-size:13px}th,td{padding:.25rem .6rem;text-align:left;"
    "border-bottom:1px solid #e5e7eb}th{color:#6b7280;font-weight:600}td.bad{color:#b91c1c;font-weight:600}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem}dt{color:#6b7280}dd{margin:0}"
    "svg{width:100%}"
)


def write_report(record: DemoRecord, folder: Path) -> Path:
    """Write report.html, timeline.svg and report.json into `folder`; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "timeline.svg").write_text(timeline_svg(record))
    figures = msgspec.to_builtins(record) | {"forecast_error": record.forecast_error, "problems": record.problems()}
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
    path = folder / "report.html"
    path.write_text(page(record, interactive(record)))
    return path


def job_cells(record: DemoRecord) -> list[tuple[str, ...]]:
    """A row per job, as text, in the order of JOB_TITLES."""

    def number(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return [
        (
            job.name,
            job.tenant,
            job.state,
            job.device or "-",
            number(job.wait_s, 1),
            number(job.run_s, 1),
            str(job.attempts),
            number(job.first_loss, 3),
            number(job.loss, 3),
            number(job.forecast_s, 1),
            number(job.finished_s, 1),
        )
        for job in record.jobs
    ]


def tenant_cells(record: DemoRecord) -> list[tuple[str, ...]]:
    return [
        (
            tenant.name,
            f"{tenant.device_s:.0f}",
            f"{100 * tenant.share:.0f} %",
            ", ".join(f"{resource} {amount}" for resource, amount in tenant.nominal.items()) or "-",
        )
        for tenant in record.tenants
    ]


def facts(record: DemoRecord) -> list[tuple[str, str]]:
    """The figures that stand above the tables."""
    requests = record.requests
    emulated = sorted({node.accelerator for node in record.nodes if node.emulated})
    return [
        ("makespan", f"{record.makespan_s:.1f} s"),
        ("forecast at the start", f"{record.forecast_makespan_s:.1f} s, off by {100 * record.forecast_error:+.1f} %"),
        ("processes", f"{record.rank_starts} started, at most {record.ranks_at_once} at once"),
        ("requests", f"{requests.answered} of {requests.sent} answered, p50 {requests.p50_ms:.0f} ms"),
        ("moved or resized", "; ".join(moves(record.spans)) or "none"),
        ("emulated devices", ", ".join(emulated) or "none"),
        ("order and lengths", record.order),
        ("machine", record.machine),
        ("versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
        ("variant", f"{record.variant}, executor {record.executor}, {record.wall_s:.0f} s in all"),
    ]


def interactive(record: DemoRecord) -> str:
    """The timeline with names under the pointer, Plotly's script included."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    for tenant, colour in colours([tenant.name for tenant in record.tenants]).items():
        spans = [span for span in record.spans if span.tenant == tenant]
        figure.add_bar(
            name=tenant,
            orientation="h",
            y=[f"{span.node} · {span.job}" for span in spans],
            base=[span.start_s for span in spans],
            x=[span.end_s - span.start_s for span in spans],
            marker_color=colour,
            text=[f"{span.accelerator} x{len(span.devices)}" for span in spans],
            hovertext=[f"{span.job}, attempt {span.attempt}, {span.ended}" for span in spans],
        )
    rows = len({(span.node, span.job) for span in record.spans})
    figure.update_layout(
        barmode="overlay",
        height=140 + 24 * rows,
        margin={"l": 10, "r": 10, "t": 30, "b": 40},
        xaxis_title="seconds since the first arrival",
        yaxis={"autorange": "reversed", "automargin": True},
        template="plotly_white",
    )
    return str(figure.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False}))


def page(record: DemoRecord, chart: str) -> str:
    problems = record.problems()
    verdict = "Every job ended as it should." if not problems else "Not as it should: " + "; ".join(problems)
    listed = "".join(f"<dt>{escape(title)}</dt><dd>{escape(text)}</dd>" for title, text in facts(record))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>dualtrack demo</title>'
        f"<style>{STYLE}</style></head><body><h1>dualtrack demo</h1><p>{escape(verdict)}</p><dl>{listed}</dl>"
        f"<h2>Nodes</h2>{timeline_svg(record)}<h2>Jobs</h2>{_table(JOB_TITLES, job_cells(record))}"
        f"<h2>Tenants</h2>{_table(TENANT_TITLES, tenant_cells(record))}<h2>Attempts</h2>{chart}</body></html>\n"
    )


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join("<tr>" + "".join(f"<td{_mark(cell)}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _mark(cell: str) -> str:
    return ' class="bad"' if cell == "failed" else ""
