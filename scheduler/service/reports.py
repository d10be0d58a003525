"""Options of a job with their reasons, and a whole plan, as plain values."""

from collections.abc import Sequence
from typing import Any

from scheduler.engine.explain import Delivery, OptionReport
from scheduler.model.allocations import Chosen
from scheduler.service.feed import iso
from scheduler.service.views import View, reason_view

__all__ = ["delivery_view", "option_name", "options_view"]


def option_name(chosen: Sequence[Chosen]) -> str:
    """`h200:8`, roles joined by ` + `."""
    return " + ".join(f"{part.accelerator}:{part.count}" for part in chosen)


def options_view(reports: Sequence[OptionReport], chosen: Sequence[Chosen] = ()) -> list[View]:
    """Each option with its rate, its charge, what blocks it, and whether it was the choice."""
    return [_option_view(report, tuple(chosen)) for report in reports]


def _option_view(report: OptionReport, chosen: tuple[Chosen, ...]) -> dict[str, Any]:
    rate = report.rate
    return {
        "option": option_name(report.chosen),
        "parts": [{"accelerator": part.accelerator, "count": part.count} for part in report.chosen],
        "rate": None if rate is None else rate.value,
        "rate_low": None if rate is None else rate.low,
        "rate_high": None if rate is None else rate.high,
        "provenance": None if rate is None else str(rate.provenance),
        "absolute": rate is not None and rate.absolute,
        "compute_units": report.charge / 1_000,
        "reasons": [reason_view(reason) for reason in report.reasons],
        "for_ever": report.never and report.delivery is None,
        "delivery": None if report.delivery is None else delivery_view(report.delivery),
        "chosen": bool(chosen) and report.chosen == chosen,
    }


def delivery_view(delivery: Delivery | None) -> View | None:
    if delivery is None:
        return None
    return {
        "lot": delivery.lot,
        "count": delivery.count,
        "expected": iso(delivery.expected_us),
        "p90": iso(delivery.p90_us),
    }
