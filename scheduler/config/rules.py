"""Rules files: lots with their licences and deliveries, domestic shares, eligibility, prices."""

from pathlib import Path
from typing import Final, TypeVar

from scheduler.config.contradictions import refuse_contradictions
from scheduler.config.cursor import Cursor, nearest
from scheduler.config.document import from_values, open_one
from scheduler.config.limits import MAX_COUNT
from scheduler.config.lots import lot
from scheduler.config.values import date, duration, fen, labels, name, names, tenant_path
from scheduler.model.accelerators import Catalog
from scheduler.model.cluster import Cluster
from scheduler.model.rules import DomesticShare, Eligibility, Lot, Measure, Mode, Price, Rules, ShareBasis, Window
from scheduler.model.units import US_PER_S

__all__ = ["decode_rules", "load_rules", "rules_of"]

T = TypeVar("T", Lot, DomesticShare, Eligibility)

MAX_RULES: Final = 10_000
INSTALLED: Final = (Measure.DEVICES, Measure.PURCHASE_CNY, Measure.PEAK_TFLOPS)
USED: Final = (Measure.DEVICE_HOURS, Measure.COMPUTE_UNIT_HOURS)
SHORTEST_WINDOW_US: Final = 60 * US_PER_S
LONGEST_WINDOW_US: Final = 731 * 86_400 * US_PER_S
LONGEST_QUARTER_US: Final = 92 * 86_400 * US_PER_S
KINDS_OF_NAMES: Final = {
    "sites": "site", "jurisdictions": "jurisdiction", "entities": "entity", "data_classes": "data class",
}  # fmt: skip


def load_rules(path: str | Path, catalog: Catalog | None = None, cluster: Cluster | None = None) -> Rules:
    """With a catalog, lots and prices of unknown accelerators are refused; with a cluster, rules that its nodes cannot
    satisfy, and nodes that name no lot of the rules."""
    return rules_of(open_one(path, "rules"), catalog, cluster)


def decode_rules(values: object, source: str, catalog: Catalog | None = None, cluster: Cluster | None = None) -> Rules:
    return rules_of(from_values(values, source, "rules"), catalog, cluster)


def rules_of(cursor: Cursor, catalog: Catalog | None, cluster: Cluster | None = None) -> Rules:
    """Raises ConfigError for a rule that is wrong, or that another one excludes."""
    fields = cursor.fields("schema", "kind", "lots", "domestic_shares", "eligibility", "prices")
    lots, shares, who, prices = (
        _entries(fields.get(key)) for key in ("lots", "domestic_shares", "eligibility", "prices")
    )
    made = _different(lots, [lot(item, catalog) for item in lots])
    rules = Rules(
        lots=made,
        domestic_shares=_different(shares, [_share(item) for item in shares]),
        eligibility=_different(who, [_eligibility(item) for item in who]),
        prices=_dated(prices, [_price(item, catalog, made) for item in prices]),
    )
    refuse_contradictions(rules, lots, shares, who, catalog, cluster)
    return rules


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


def _dated(places: list[Cursor], made: list[Price]) -> tuple[Price, ...]:
    """Prices, of which no two may begin to hold at once."""
    seen: set[tuple[str, int]] = set()
    for place, price in zip(places, made, strict=True):
        if (price.of, price.from_us) in seen:
            raise place.wrong(f"`{price.of}` has another price from the same date on", "give it a later `from`")
        seen.add((price.of, price.from_us))
    return tuple(made)


def _share(cursor: Cursor) -> DomesticShare:
    fields = cursor.fields(
        "id", "basis", "measure", "target", "window", "scope", "warn_below", "min_volume", "exempt", "mode"
    )
    scope, warn, volume = fields.get("scope"), fields.get("warn_below"), fields.get("min_volume")
    exempt, chosen = fields.get("exempt"), fields.get("mode")
    basis, measure = fields["basis"].enum(ShareBasis), fields["measure"].enum(Measure)
    allowed = INSTALLED if basis is ShareBasis.INSTALLED else USED
    if measure not in allowed:
        raise fields["measure"].wrong(f"what is {basis} is not measured in {measure}", f"one of {', '.join(allowed)}")
    target = fields["target"].number(0, 1)
    if warn and warn.number(0, 1) < target:
        raise warn.wrong("warns only below the target, when it is too late", f"at least {target:g}")
    mode = chosen.enum(Mode) if chosen else Mode.OBSERVE
    if chosen and mode is Mode.PRICE and basis is ShareBasis.INSTALLED:
        raise chosen.wrong("no price makes installed devices domestic", "`hold` refuses what would enter service")
    if scope and basis is ShareBasis.INSTALLED:
        raise scope.wrong("what is installed belongs to no tenant", "leave `scope` out")
    window, window_us = _window(fields["window"])
    return DomesticShare(
        id=name(fields["id"], "id"),
        basis=basis,
        measure=measure,
        target=target,
        window_us=window_us,
        window=window,
        scope=tenant_path(scope) if scope else "",
        warn_below=warn.number(0, 1) if warn else None,
        min_volume=volume.number() if volume else 0.0,
        exempt=tuple(tenant_path(item) for item in exempt.items()) if exempt else (),
        mode=mode,
    )


def _window(cursor: Cursor) -> tuple[Window, int]:
    if cursor.node.value == Window.QUARTER:
        return Window.QUARTER, LONGEST_QUARTER_US
    length = duration(cursor)
    if not SHORTEST_WINDOW_US <= length <= LONGEST_WINDOW_US:
        raise cursor.wrong("is no window that a share can be kept over", "write `quarter`, or one minute to two years")
    return Window.ROLLING, length


def _eligibility(cursor: Cursor) -> Eligibility:
    fields = cursor.fields(
        "id", "jobs", "data_classes", "tenants", "nodes", "sites", "jurisdictions", "entities", "mode"
    )
    jobs, tenants, nodes = fields.get("jobs"), fields.get("tenants"), fields.get("nodes")
    listed = {key: fields.get(key) for key in ("sites", "jurisdictions", "entities", "data_classes")}
    if not (nodes or listed["sites"] or listed["jurisdictions"] or listed["entities"]):
        raise cursor.wrong(
            "limits jobs to nothing in particular", "give `nodes`, `sites`, `jurisdictions` or `entities`"
        )
    mode = fields.get("mode")
    if mode and mode.enum(Mode) is Mode.PRICE:
        raise mode.wrong("a job is eligible or it is not: this has no price", "one of observe, hold")
    return Eligibility(
        id=name(fields["id"], "id"),
        jobs=labels(jobs) if jobs else {},
        tenants=tuple(tenant_path(item) for item in tenants.items()) if tenants else (),
        nodes=labels(nodes) if nodes else {},
        mode=mode.enum(Mode) if mode else Mode.OBSERVE,
        **{key: names(item, KINDS_OF_NAMES[key]) if item else () for key, item in listed.items()},
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
