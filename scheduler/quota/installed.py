"""The domestic share of what is installed: judged when devices enter service and in plans, never when a job starts."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from scheduler.model.accelerators import Catalog, Track
from scheduler.model.cluster import Cluster, NodeGroup
from scheduler.model.rules import DomesticShare, Lot, Measure, Mode, Rules, ShareBasis, TrancheState, Use

__all__ = ["Delivered", "InstalledStanding", "deliveries", "entering_refused", "installed_share", "worth"]


class InstalledStanding(Struct, frozen=True, kw_only=True):
    """`imported` and `domestic` in the measure's unit: devices, fen, dense BF16 TFLOP/s.

    `room` is how much more imported may enter service before the share falls below its target; negative: so much is
    too much. None where the target is 0.
    """

    id: str
    imported: float
    domestic: float
    share: float | None
    margin: float | None
    room: float | None
    judged: bool
    alarms: tuple[str, ...]


class Delivered(Struct, frozen=True):
    """A delivery that is to come, and the share once it and all before it serve."""

    lot: str
    expected_us: int
    p90_us: int  # 0: not stated
    count: int
    share: float


def worth(group: NodeGroup, measure: Measure, lots: Mapping[str, Lot], catalog: Catalog) -> float:
    """What the devices of a group count for: devices, fen paid (the lot's price with its surcharge, else the
    catalog's), or dense BF16 TFLOP/s by the catalog."""
    count = group.nodes * group.pool.devices_per_node
    return count * _worth_of_one(group.pool.accelerator, lots.get(group.pool.lot), measure, catalog)


def _worth_of_one(accelerator: str, lot: Lot | None, measure: Measure, catalog: Catalog) -> float:
    if measure is Measure.DEVICES:
        return 1.0
    chip = catalog.get(accelerator)
    if measure is Measure.PEAK_TFLOPS:
        return chip.bf16_tflops.value if chip and chip.bf16_tflops else 0.0
    if lot is not None and lot.unit_cost_fen:
        return lot.unit_cost_fen * (1 + lot.surcharge)
    return 100 * (chip.price_cny.value if chip and chip.price_cny else 0.0)


def installed_share(
    rule: DomesticShare, rules: Rules, groups: Sequence[NodeGroup], catalog: Catalog
) -> InstalledStanding:
    """How the fleet stands against one rule on what is installed. Lots that may never be used count on neither side."""
    lots = {lot.id: lot for lot in rules.lots}
    imported = domestic = 0.0
    for group in groups:
        lot = lots.get(group.pool.lot)
        if lot is not None and lot.use is Use.FORBIDDEN:
            continue
        chip = catalog.get(group.pool.accelerator)
        track = group.pool.track or (chip.track if chip else Track.IMPORTED)
        value = worth(group, rule.measure, lots, catalog)
        if track is Track.DOMESTIC:
            domestic += value
        else:
            imported += value
    total = imported + domestic
    share = domestic / total if total > 0 else None
    judged = total > 0 and total >= rule.min_volume
    alarms = []
    if share is not None and judged and share < rule.target:
        alarms.append("below_target")
    elif share is not None and judged and rule.warn_below is not None and share < rule.warn_below:
        alarms.append("below_warning")
    return InstalledStanding(
        id=rule.id,
        imported=imported,
        domestic=domestic,
        share=share,
        margin=None if share is None else share - rule.target,
        room=domestic * (1 - rule.target) / rule.target - imported if rule.target > 0 else None,
        judged=judged,
        alarms=tuple(alarms),
    )


def deliveries(
    rule: DomesticShare, rules: Rules, groups: Sequence[NodeGroup], catalog: Catalog
) -> tuple[Delivered, ...]:
    """The share after each tranche that does not serve yet, by expected date, as if all that comes enters service.

    What is cleared and stands on nodes already is not counted twice: of a lot only what its tranches have beyond its
    nodes is to come, the tranches that are due first having come first.
    """
    now = installed_share(rule, rules, groups, catalog)
    imported, domestic = now.imported, now.domestic
    coming = []
    for lot in rules.lots:
        if lot.use is Use.FORBIDDEN:
            continue
        there = sum(g.nodes * g.pool.devices_per_node for g in groups if g.pool.lot == lot.id)
        for tranche in sorted(lot.tranches, key=lambda t: (t.state is not TrancheState.IN_SERVICE, t.expected_us)):
            count = max(0, tranche.count - there)
            there = max(0, there - tranche.count)
            if count and tranche.state is not TrancheState.IN_SERVICE:
                coming.append((tranche.expected_us, lot.id, tranche.p90_us or 0, count, lot))
    found = []
    for expected_us, lot_id, p90_us, count, lot in sorted(coming, key=lambda entry: entry[:4]):
        value = count * _worth_of_one(lot.accelerator, lot, rule.measure, catalog)
        chip = catalog.get(lot.accelerator)
        if chip is not None and chip.track is Track.DOMESTIC:
            domestic += value
        else:
            imported += value
        total = imported + domestic
        found.append(Delivered(lot_id, expected_us, p90_us, count, domestic / total if total > 0 else 0.0))
    return tuple(found)


def entering_refused(old: Cluster, new: Cluster, rules: Rules, catalog: Catalog) -> str:
    """Why the change from `old` to `new` may not be made, or an empty text.

    A rule that holds refuses a change by which more imported devices enter service and the share lies below its target
    afterwards. What leaves service, and what is domestic, is never refused.
    """
    for rule in rules.domestic_shares:
        if rule.basis is not ShareBasis.INSTALLED or rule.mode is not Mode.HOLD:
            continue
        before = installed_share(rule, rules, old.groups(), catalog)
        after = installed_share(rule, rules, new.groups(), catalog)
        if after.imported > before.imported and after.judged and after.share is not None and after.share < rule.target:
            return (
                f"`{rule.id}` keeps {rule.target:.1%} of the installed {rule.measure} domestic, and the change "
                f"would leave {after.share:.1%}"
            )
    return ""
