"""Rules files: lots with their licences and deliveries, domestic shares, eligibility, prices."""

from pathlib import Path
from typing import Final, TypeVar

from scheduler.config.cursor import Cursor, nearest
from scheduler.config.document import from_values, open_one
from scheduler.config.limits import MAX_COUNT
from scheduler.config.lots import lot
from scheduler.config.values import date, duration, fen, labels, name, names, tenant_path
from scheduler.model.accelerators import Catalog
from scheduler.model.rules import DomesticShare, Eligibility, Lot, Measure, Mode, Price, Rules, ShareBasis

__all__ = ["decode_rules", "load_rules", "rules_of"]

T = TypeVar("T", Lot, DomesticShare, Eligibility)

MAX_RULES: Final = 10_000
INSTALLED: Final = (Measure.DEVICES, Measure.PURCHASE_CNY, Measure.PEAK_TFLOPS)
USED: Final = (Measure.DEVICE_HOURS, Measure.COMPUTE_UNIT_HOURS)


def load_rules(path: str | Path, catalog: Catalog | None = None) -> Rules:
    """With a catalog, lots and prices of unknown accelerators are refused."""
    return rules_of(open_one(path, "rules"), catalog)


def decode_rules(values: object, source: str, catalog: Catalog | None = None) -> Rules:
    return rules_of(from_values(values, source, "rules"), catalog)


def rules_of(cursor: Cursor, catalog: Catalog | None) -> Rules:
    fields = cursor.fields("schema", "kind", "lots", "domestic_shares", "eligibility", "prices")
    lots = tuple(_different(_entries(fields.get("lots")), [lot(c, catalog) for c in _entries(fields.get("lots"))]))
    shares, who, prices = (_entries(fields.get(key)) for key in ("domestic_shares", "eligibility", "prices"))
    return Rules(
        lots=lots,
        domestic_shares=_different(shares, [_share(item) for item in shares]),
        eligibility=_different(who, [_eligibility(item) for item in who]),
        prices=tuple(_price(item, catalog, lots) for item in prices),
    )


def _entries(cursor: Cursor | None) -> list[Cursor]:
    return cursor.items(MAX_RULES) if cursor else []


def _different(places: list[Cursor], made: list[T]) -> tuple[T, ...]:
    """Rules of one list, whose ids must differ."""
    seen: set[str] = set()
    for place, rule in zip(places, made, strict=True):
        if rule.id in seen:
            raise place.wrong(f"the id `{rule.id}` is given twice", "rename one")
        seen.add(rule.id)
    return tuple(made)


def _share(cursor: Cursor) -> DomesticShare:
    fields = cursor.fields(
        "id", "basis", "measure", "target", "window", "scope", "warn_below", "min_volume", "exempt", "mode"
    )
    scope, warn, volume = fields.get("scope"), fields.get("warn_below"), fields.get("min_volume")
    exempt, mode = fields.get("exempt"), fields.get("mode")
    basis, measure = fields["basis"].enum(ShareBasis), fields["measure"].enum(Measure)
    allowed = INSTALLED if basis is ShareBasis.INSTALLED else USED
    if measure not in allowed:
        raise fields["measure"].wrong(f"what is {basis} is not measured in {measure}", f"one of {', '.join(allowed)}")
    target = fields["target"].number(0, 1)
    if warn and warn.number(0, 1) < target:
        raise warn.wrong("warns only below the target, when it is too late", f"at least {target:g}")
    return DomesticShare(
        id=name(fields["id"], "id"),
        basis=basis,
        measure=measure,
        target=target,
        window_us=duration(fields["window"]),
        scope=tenant_path(scope) if scope else "",
        warn_below=warn.number(0, 1) if warn else None,
        min_volume=volume.number() if volume else 0.0,
        exempt=tuple(tenant_path(item) for item in exempt.items()) if exempt else (),
        mode=mode.enum(Mode) if mode else Mode.OBSERVE,
    )


def _eligibility(cursor: Cursor) -> Eligibility:
    fields = cursor.fields("id", "jobs", "nodes", "sites", "entities", "mode")
    jobs, nodes, sites = fields.get("jobs"), fields.get("nodes"), fields.get("sites")
    entities, mode = fields.get("entities"), fields.get("mode")
    if not (nodes or sites or entities):
        raise cursor.wrong("limits jobs to nothing in particular", "give `nodes`, `sites` or `entities`")
    return Eligibility(
        id=name(fields["id"], "id"),
        jobs=labels(jobs) if jobs else {},
        nodes=labels(nodes) if nodes else {},
        sites=names(sites, "site") if sites else (),
        entities=names(entities, "entity") if entities else (),
        mode=mode.enum(Mode) if mode else Mode.OBSERVE,
    )


def _price(cursor: Cursor, catalog: Catalog | None, lots: tuple[Lot, ...]) -> Price:
    fields = cursor.fields("of", "cny_per_device_hour", "from")
    start = fields.get("from")
    of = name(fields["of"], "accelerator or lot")
    known = (*(catalog.names if catalog else (of,)), *(entry.id for entry in lots))
    if of not in known:
        raise fields["of"].wrong(f"`{of}` is neither an accelerator nor a lot", nearest(of, known))
    amount = fields["cny_per_device_hour"]
    amount.number(0, MAX_COUNT)
    return Price(of=of, fen_per_device_hour=fen(amount), from_us=date(start) if start else 0)
