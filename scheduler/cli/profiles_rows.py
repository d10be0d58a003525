"""What `dualtrack profiles` shows of cells and of what they learnt: rows, and columns of them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scheduler.cli.output import Column

if TYPE_CHECKING:
    from scheduler.model.rates import CellRate, Stack
    from scheduler.profiles.learning import CellScore, Scatter

__all__ = [
    "CELLS",
    "SCORES",
    "band_text",
    "cell_name",
    "cell_row",
    "scatter_text",
    "score_row",
    "total_text",
    "two_digits",
    "value_text",
]


def cell_name(rate: "CellRate") -> str:
    cell = rate.cell
    parts = (cell.family, cell.accelerator, cell.precision or "-", cell.layout or "-", cell.metric.value)
    return "/".join((*parts, _stack_name(cell.stack)))


def _stack_name(stack: "Stack") -> str:
    return "+".join(part.replace(" ", "-") for part in (stack.framework, stack.runtime, stack.driver) if part) or "-"


def cell_row(rate: "CellRate") -> dict[str, Any]:
    cell, stack = rate.cell, rate.cell.stack
    return {
        "name": cell_name(rate), "family": cell.family, "accelerator": cell.accelerator, "precision": cell.precision,
        "layout": cell.layout, "metric": cell.metric.value, "value": rate.value, "low": rate.low, "high": rate.high,
        "runs": rate.runs, "noise": rate.noise, "relative": rate.relative, "from": rate.provenance.value,
        "source": rate.source, "version": rate.version,
        "stack": {part: getattr(stack, part) for part in ("driver", "runtime", "framework", "image")},
    }  # fmt: skip


def two_digits(value: float) -> str:
    """Four digits at most, as no rate is known better."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def value_text(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.3f} x prediction" if row["relative"] else two_digits(row["value"])


def band_text(row: Mapping[str, Any]) -> str:
    low, high = (f"{row[end]:.3f}" if row["relative"] else two_digits(row[end]) for end in ("low", "high"))
    return f"{low} to {high}"


def score_row(score: "CellScore") -> dict[str, Any]:
    cell = score.cell
    return {
        "name": "/".join((cell.family, cell.accelerator, cell.precision or "-", cell.layout or "-", cell.metric.value,
                          _stack_name(cell.stack))),
        "family": cell.family, "accelerator": cell.accelerator, "precision": cell.precision, "layout": cell.layout,
        "metric": cell.metric.value, "framework": cell.stack.framework, "n": score.n,
        "error_before_percent": _rounded(score.error_before, 1), "error_after_percent": _rounded(score.error_after, 1),
        "covered_before": _rounded(score.covered_before, 3), "covered_after": _rounded(score.covered_after, 3),
    }  # fmt: skip


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def scatter_text(one: "Scatter") -> str:
    """In words, shares of a figure for log units."""
    names = ("accelerators", "jobs", "cells")
    between = [
        f"{100 * getattr(one, name):.0f}% between {count} {name}" for name, count in zip(names, one.seen, strict=True)
    ]
    return (
        f"{one.metric.value}: models are off by {', '.join(between)}, {100 * one.within:.0f}% within a cell; on a new "
        f"accelerator by {one.low:.2f} to {one.high:.2f} times"
    )


def total_text(scores: "Sequence[CellScore]") -> str:
    """In words, apart for what models foresee and for what only earlier runs tell."""
    modelled = [score for score in scores if score.foreseen_before]
    others = [score for score in scores if not score.foreseen_before and score.foreseen_after]
    told = [f"{_mean(modelled, 'before')}; {_mean(modelled, 'after')}"] if modelled else []
    told += [f"of jobs that no model knows, {_mean(others, 'after')}"] if others else []
    return "; ".join(told) or "none foreseen yet"


def _mean(scores: "Sequence[CellScore]", when: str) -> str:
    weighed = [
        (getattr(s, f"foreseen_{when}"), getattr(s, f"error_{when}"), getattr(s, f"covered_{when}")) for s in scores
    ]
    n = sum(count for count, _, _ in weighed)
    error, covered = (sum(part[0] * part[at] for part in weighed) / n for at in (1, 2))
    return f"{when} {error:.1f}% off, {100 * covered:.0f}% within their band ({n:,})"


def _percent(key: str, scale: float = 1.0) -> Any:
    return lambda row: "-" if row[key] is None else f"{scale * row[key]:.1f}%"


CELLS = (
    Column("JOB", lambda r: r["family"]),
    Column("ACCELERATOR", lambda r: r["accelerator"]),
    Column("PRECISION", lambda r: r["precision"] or "-"),
    Column("LAYOUT", lambda r: r["layout"] or "-"),
    Column("METRIC", lambda r: r["metric"]),
    Column("VALUE", value_text, right=True),
    Column("BAND (90 %)", band_text, right=True),
    Column("RUNS", lambda r: str(r["runs"]), right=True),
    Column("FROM", lambda r: r["from"]),
    Column("FRAMEWORK", lambda r: r["stack"]["framework"] or "-"),
    Column("RUNTIME", lambda r: r["stack"]["runtime"] or "-", wide=True),
    Column("DRIVER", lambda r: r["stack"]["driver"] or "-", wide=True),
    Column("IMAGE", lambda r: r["stack"]["image"] or "-", wide=True),
    Column("VERSION", lambda r: str(r["version"]), wide=True, right=True),
    Column("SOURCE", lambda r: r["source"][:60] or "-", wide=True),
)

SCORES = (
    Column("JOB", lambda r: r["family"]),
    Column("ACCELERATOR", lambda r: r["accelerator"]),
    Column("PRECISION", lambda r: r["precision"] or "-"),
    Column("LAYOUT", lambda r: r["layout"] or "-"),
    Column("METRIC", lambda r: r["metric"]),
    Column("FRAMEWORK", lambda r: r["framework"] or "-"),
    Column("N", lambda r: str(r["n"]), right=True),
    Column("ERROR BEFORE", _percent("error_before_percent"), right=True),
    Column("AFTER", _percent("error_after_percent"), right=True),
    Column("COVERED BEFORE", _percent("covered_before", 100), right=True),
    Column("AFTER", _percent("covered_after", 100), right=True),
)
