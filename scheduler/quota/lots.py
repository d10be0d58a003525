"""Lots: which nodes their licences and their `use` close, and whether more serves than was cleared or matched."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from scheduler.model.accelerators import Catalog, Track
from scheduler.model.cluster import NodeGroup
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.rules import Lot, Measure, Rules, TrancheState, Use
from scheduler.quota.installed import worth

__all__ = ["LotStanding", "closed_groups", "excluded_groups", "standings"]


class LotStanding(Struct, frozen=True, kw_only=True):
    """`in_service`: devices of healthy nodes that name the lot; `nodes_down`: devices of those that are down.

    `coming` are tranches not cleared yet: (expected_us, p90_us or 0, count). `match_need` and `match_have` in the unit
    of the match's measure (devices, fen, TFLOP/s), over all lots due by the same date; None without a match.
    """

    id: str
    in_service: int
    down: int
    cleared: int
    coming: tuple[tuple[int, int, int], ...]
    licensed: bool  # the licence runs, or there is none
    match_need: float | None
    match_have: float | None
    match_due_us: int
    alarms: tuple[str, ...]


def closed_groups(lots: Sequence[Lot], groups: Sequence[NodeGroup], now_us: int | None) -> dict[int, Reason]:
    """Groups whose nodes take nothing new from anybody, by number, with the reason.

    `now_us` None: only what no date changes; then no licence counts as ended.
    """
    by_id = {lot.id: lot for lot in lots}
    found: dict[int, Reason] = {}
    for group in groups:
        lot = by_id.get(group.pool.lot)
        code = _closure(lot, group, now_us) if lot is not None else None
        if lot is not None and code is not None:
            found[group.number] = Reason(code=code, accelerator=group.pool.accelerator, who=lot.id)
    return found


def _closure(lot: Lot, group: NodeGroup, now_us: int | None) -> ReasonCode | None:
    if lot.use is not Use.ALLOWED:
        return ReasonCode.LOT_FORBIDDEN
    licence = lot.licence
    if licence is None:
        return None
    if licence.sites and group.site not in licence.sites:
        return ReasonCode.LICENCE
    ended = now_us is not None and licence.valid_until_us is not None and now_us >= licence.valid_until_us
    return ReasonCode.LICENCE if ended else None


def excluded_groups(lots: Sequence[Lot], groups: Sequence[NodeGroup], labels: Mapping[str, str]) -> dict[int, Reason]:
    """Groups that a job with these labels may not use because a licence excludes one of them."""
    barred = {
        lot.id
        for lot in lots
        if lot.licence is not None and any(labels.get(k) == v for k, v in lot.licence.excluded_labels.items())
    }
    return {
        group.number: Reason(code=ReasonCode.LABELS_EXCLUDE, accelerator=group.pool.accelerator, who=group.pool.lot)
        for group in groups
        if group.pool.lot in barred
    }


def standings(
    rules: Rules, groups: Sequence[NodeGroup], down: Mapping[int, int], catalog: Catalog, now_us: int
) -> tuple[LotStanding, ...]:
    """One for each lot. `down` counts a group's nodes that are down: live capacity comes from healthy nodes only."""
    return tuple(_standing(rules, lot, groups, down, catalog, now_us) for lot in rules.lots)


def _standing(
    rules: Rules, lot: Lot, groups: Sequence[NodeGroup], down: Mapping[int, int], catalog: Catalog, now_us: int
) -> LotStanding:
    own = [group for group in groups if group.pool.lot == lot.id]
    gone = sum(down.get(g.number, 0) * g.pool.devices_per_node for g in own)
    live = sum(g.nodes * g.pool.devices_per_node for g in own) - gone
    done = (TrancheState.CLEARED, TrancheState.IN_SERVICE)
    cleared = sum(tranche.count for tranche in lot.tranches if tranche.state in done)
    until_us = lot.licence.valid_until_us if lot.licence else None
    licensed = until_us is None or now_us < until_us
    need = have = None
    due_us = 0
    if lot.domestic_match is not None:
        due_us = lot.domestic_match.due_us
        need, have = _match(rules, lot.domestic_match.measure, due_us, groups, catalog)
    alarms = []
    if lot.tranches and live > cleared:
        alarms.append("more_in_service_than_cleared")
    if not licensed and live:
        alarms.append("licence_ended")
    if any(group.number in closed_groups((lot,), own, None) for group in own) and lot.use is Use.ALLOWED:
        alarms.append("outside_licensed_sites")
    if need is not None and have is not None and have < need and now_us >= due_us:
        alarms.append("domestic_match_overdue")
    return LotStanding(
        id=lot.id,
        in_service=live,
        down=gone,
        cleared=cleared,
        coming=tuple((t.expected_us, t.p90_us or 0, t.count) for t in lot.tranches if t.state not in done),
        licensed=licensed,
        match_need=need,
        match_have=have,
        match_due_us=due_us,
        alarms=tuple(alarms),
    )


def _match(
    rules: Rules, measure: Measure, due_us: int, groups: Sequence[NodeGroup], catalog: Catalog
) -> tuple[float, float]:
    """What all lots that are due by then ask for in this measure, and the domestic devices that stand against it."""
    lots = {lot.id: lot for lot in rules.lots}
    need = have = 0.0
    for group in groups:
        value = worth(group, measure, lots, catalog)
        chip = catalog.get(group.pool.accelerator)
        track = group.pool.track or (chip.track if chip else None)
        lot = lots.get(group.pool.lot)
        if track is Track.DOMESTIC:
            have += value if lot is None or lot.use is not Use.FORBIDDEN else 0.0
        elif lot is not None and lot.domestic_match is not None and lot.domestic_match.measure is measure:
            need += value * lot.domestic_match.ratio if lot.domestic_match.due_us <= due_us else 0.0
    return need, have
