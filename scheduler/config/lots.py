"""Lots within rules files: a licensed batch of chips, its tranches, and what it obliges to."""

from typing import Final

from scheduler.config.cluster import known_accelerator
from scheduler.config.cursor import Cursor
from scheduler.config.limits import MAX_COUNT, MAX_LIST
from scheduler.config.values import date, fen, labels, name, names
from scheduler.model.accelerators import Catalog
from scheduler.model.rules import DomesticMatch, Licence, Lot, Measure, Tranche, TrancheState, Use
from scheduler.model.units import US_PER_S

__all__ = ["lot"]


def lot(cursor: Cursor, catalog: Catalog | None) -> Lot:
    fields = cursor.fields(
        "id", "accelerator", "entity", "licence", "tranches", "unit_cost_cny", "surcharge", "domestic_match",
        "procurement", "use",
    )  # fmt: skip
    entity, licence, tranches = fields.get("entity"), fields.get("licence"), fields.get("tranches")
    cost, surcharge, match = fields.get("unit_cost_cny"), fields.get("surcharge"), fields.get("domestic_match")
    procurement, use = fields.get("procurement"), fields.get("use")
    made = tuple(_tranche(item) for item in tranches.items(MAX_LIST)) if tranches else ()
    closed = procurement.choice("open", "closed") == "closed" if procurement else False
    if procurement and closed and any(part.state is TrancheState.ORDERED for part in made):
        raise procurement.wrong("closed to buying, and a tranche is still `ordered`", "remove the tranche, or open it")
    return Lot(
        id=name(fields["id"], "id"),
        accelerator=known_accelerator(fields["accelerator"], catalog),
        entity=name(entity, "entity") if entity else "",
        licence=_licence(licence) if licence else None,
        tranches=made,
        unit_cost_fen=fen(cost) if cost else 0,
        surcharge=surcharge.number(0, 10) if surcharge else 0.0,
        domestic_match=_match(match, made) if match else None,
        procurement="closed" if closed else "open",
        use=use.enum(Use) if use else Use.ALLOWED,
    )


def _licence(cursor: Cursor) -> Licence:
    fields = cursor.fields("ref", "valid_until", "sites", "excluded_labels")
    until, sites, excluded = fields.get("valid_until"), fields.get("sites"), fields.get("excluded_labels")
    return Licence(
        ref=fields["ref"].line_of_text(256),
        valid_until_us=date(until) if until else None,
        sites=names(sites, "site") if sites else (),
        excluded_labels=labels(excluded) if excluded else {},
    )


def _tranche(cursor: Cursor) -> Tranche:
    fields = cursor.fields("count", "expected", "p90", "state")
    late, state = fields.get("p90"), fields.get("state")
    made = Tranche(
        count=fields["count"].integer(1, MAX_COUNT),
        expected_us=date(fields["expected"]),
        p90_us=date(late) if late else None,
        state=state.enum(TrancheState) if state else TrancheState.ORDERED,
    )
    if late and made.p90_us is not None and made.p90_us < made.expected_us:
        raise late.wrong("the late date lies before the expected one")
    return made


INSTALLED: Final = (Measure.DEVICES, Measure.PURCHASE_CNY, Measure.PEAK_TFLOPS)
MAX_DAYS: Final = 36_500
DAY_US: Final = 86_400 * US_PER_S


def _match(cursor: Cursor, tranches: tuple[Tranche, ...]) -> DomesticMatch:
    """`due` is a date, `due_days` counts from the day on which the first tranche is expected."""
    fields = cursor.fields("measure", "ratio", "due", "due_days")
    measure, due, days = fields["measure"].enum(Measure), fields.get("due"), fields.get("due_days")
    if measure not in INSTALLED:
        raise fields["measure"].wrong(f"what is bought is not measured in {measure}", f"one of {', '.join(INSTALLED)}")
    if (due is None) == (days is None):
        raise cursor.wrong("needs one of `due` and `due_days`")
    if days and not tranches:
        raise days.wrong("counts from the first tranche, and there is none", "give `due`, or the tranches")
    first_us = min((tranche.expected_us for tranche in tranches), default=0)
    due_us = date(due) if due else first_us + days.integer(0, MAX_DAYS) * DAY_US if days else 0
    if due and due_us < first_us:
        raise due.wrong("is due before the first tranche is expected")
    return DomesticMatch(measure=measure, ratio=fields["ratio"].number(0, 100), due_us=due_us)
