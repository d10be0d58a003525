"""Lots within rules files: a licensed batch of chips, its tranches, and what it obliges to."""

from scheduler.config.cluster import known_accelerator
from scheduler.config.cursor import Cursor
from scheduler.config.limits import MAX_COUNT, MAX_LIST
from scheduler.config.values import date, fen, labels, name, names
from scheduler.model.accelerators import Catalog
from scheduler.model.rules import DomesticMatch, Licence, Lot, Measure, Tranche, TrancheState, Use

__all__ = ["lot"]


def lot(cursor: Cursor, catalog: Catalog | None) -> Lot:
    fields = cursor.fields(
        "id", "accelerator", "entity", "licence", "tranches", "unit_cost_cny", "surcharge", "domestic_match",
        "procurement", "use",
    )  # fmt: skip
    entity, licence, tranches = fields.get("entity"), fields.get("licence"), fields.get("tranches")
    cost, surcharge, match = fields.get("unit_cost_cny"), fields.get("surcharge"), fields.get("domestic_match")
    procurement, use = fields.get("procurement"), fields.get("use")
    return Lot(
        id=name(fields["id"], "id"),
        accelerator=known_accelerator(fields["accelerator"], catalog),
        entity=name(entity, "entity") if entity else "",
        licence=_licence(licence) if licence else None,
        tranches=tuple(_tranche(item) for item in tranches.items(MAX_LIST)) if tranches else (),
        unit_cost_fen=fen(cost) if cost else 0,
        surcharge=surcharge.number(0, 10) if surcharge else 0.0,
        domestic_match=_match(match) if match else None,
        procurement=procurement.choice("open", "closed") if procurement else "open",
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


def _match(cursor: Cursor) -> DomesticMatch:
    fields = cursor.fields("measure", "ratio", "due")
    return DomesticMatch(
        measure=fields["measure"].enum(Measure), ratio=fields["ratio"].number(0, 100), due_us=date(fields["due"])
    )
