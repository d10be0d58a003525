"""Rules that exclude each other, or that no node of a cluster can satisfy: refused with the place of the later one."""

from collections.abc import Sequence

from scheduler.config.cursor import Cursor, nearest
from scheduler.model.accelerators import Accelerator, Catalog, Track
from scheduler.model.cluster import Cluster, NodeGroup
from scheduler.model.rules import Eligibility, Lot, Mode, Rules, TrancheState, Use, within

__all__ = ["refuse_contradictions"]


def refuse_contradictions(
    rules: Rules,
    lots: Sequence[Cursor],
    shares: Sequence[Cursor],
    eligibility: Sequence[Cursor],
    catalog: Catalog | None,
    cluster: Cluster | None,
) -> None:
    """Raises ConfigError. The places are those of the rules, in their order."""
    known = {a.name: a for a in catalog or ()}
    for place, lot in zip(lots, rules.lots, strict=True):
        _check_lot(place, lot, known)
    for number, (place, rule) in enumerate(zip(eligibility, rules.eligibility, strict=True)):
        for other in rules.eligibility[:number]:
            _check_pair(place, rule, other)
    groups = cluster.groups() if cluster else ()
    if cluster is not None:
        _check_names(rules, lots, groups)
        for place, lot in zip(lots, rules.lots, strict=True):
            _check_against(place, lot, cluster)
        for place, rule in zip(eligibility, rules.eligibility, strict=True):
            if rule.mode is Mode.HOLD and not any(rule.accepts(group) for group in groups):
                raise place.wrong(f"no node of cluster `{cluster.name}` satisfies it", "correct what it asks of nodes")
    hopeless = _domestic_is_impossible(rules, groups, known) if known else ""
    for place, share in zip(shares, rules.domestic_shares, strict=True):
        if hopeless and share.target > 0 and share.mode is not Mode.OBSERVE:
            raise place.wrong(
                f"asks for a share of {share.target:g}, and {hopeless}", "allow domestic lots, or observe"
            )


def _check_lot(place: Cursor, lot: Lot, known: dict[str, Accelerator]) -> None:
    fields = dict(place.pairs())
    if lot.use is Use.FORBIDDEN and lot.domestic_match is not None:
        raise fields["use"].wrong(
            "the lot may not be used, and yet `domestic_match` asks for as much beside it", "remove one of the two"
        )
    chip = known.get(lot.accelerator)
    if chip is not None and chip.track is Track.DOMESTIC and lot.domestic_match is not None:
        raise fields["domestic_match"].wrong(f"`{lot.accelerator}` is domestic itself", "remove it")
    until_us = lot.licence.valid_until_us if lot.licence else None
    first_us = min((tranche.expected_us for tranche in lot.tranches), default=None)
    if until_us is not None and first_us is not None and until_us <= first_us:
        until = dict(fields["licence"].pairs())["valid_until"]
        raise until.wrong("the licence ends before the first tranche is expected")


def _check_pair(place: Cursor, rule: Eligibility, other: Eligibility) -> None:
    """Refuses two held rules where every job of one falls under both, and no node can satisfy both."""
    if Mode.OBSERVE in (rule.mode, other.mode) or not (_covers(rule, other) or _covers(other, rule)):
        return
    apart = [
        what
        for what, mine, theirs in (
            ("sites", rule.sites, other.sites),
            ("jurisdictions", rule.jurisdictions, other.jurisdictions),
            ("entities", rule.entities, other.entities),
        )
        if mine and theirs and not set(mine) & set(theirs)
    ]
    apart += [f"the label `{key}`" for key, value in rule.nodes.items() if other.nodes.get(key, value) != value]
    if apart:
        problem = f"excludes `{other.id}` for the same jobs: nothing agrees in {apart[0]}"
        raise place.wrong(problem, "narrow one of the two, or let it observe")


def _covers(wide: Eligibility, narrow: Eligibility) -> bool:
    """Whether every job that `narrow` is about is one of `wide`."""
    classes = not wide.data_classes or (narrow.data_classes and set(narrow.data_classes) <= set(wide.data_classes))
    tenants = not wide.tenants or (
        narrow.tenants and all(any(within(t, above) for above in wide.tenants) for t in narrow.tenants)
    )
    return bool(classes and tenants and wide.jobs.items() <= narrow.jobs.items())


def _check_names(rules: Rules, lots: Sequence[Cursor], groups: Sequence[NodeGroup]) -> None:
    places = {lot.id: (lot, place) for lot, place in zip(rules.lots, lots, strict=True)}
    for pool in (group.pool for group in groups if group.pool.lot and places):
        if pool.lot not in places:
            last = lots[-1]
            raise last.wrong(f"pool `{pool.name}` names the lot `{pool.lot}`", nearest(pool.lot, places))
        lot, place = places[pool.lot]
        if pool.accelerator != lot.accelerator:
            problem = f"pool `{pool.name}` of this lot holds `{pool.accelerator}`, the lot `{lot.accelerator}`"
            raise dict(place.pairs())["accelerator"].wrong(problem)


def _check_against(place: Cursor, lot: Lot, cluster: Cluster) -> None:
    """What serves stands on nodes, and a licence whose lot they name covers sites that there are: a name that was
    mistyped in either would close nodes, or count for nothing, without a word."""
    serving = sum(tranche.count for tranche in lot.tranches if tranche.state is TrancheState.IN_SERVICE)
    if not any(pool.lot == lot.id for pool in cluster.pools):
        if serving and lot.use is not Use.FORBIDDEN:
            problem = f"{serving} of it serve, and no pool of cluster `{cluster.name}` names the lot `{lot.id}`"
            raise place.wrong(problem, f"give the pool of these nodes `lot: {lot.id}`")
        return
    sites = [cell.site for cell in cluster.cells]
    unknown = [site for site in lot.licence.sites if site not in sites] if lot.licence else []
    if unknown:
        listed = dict(dict(place.pairs())["licence"].pairs())["sites"]
        raise listed.wrong(
            f"no cell of cluster `{cluster.name}` is at the site `{unknown[0]}`", nearest(unknown[0], sites)
        )


def _domestic_is_impossible(rules: Rules, groups: Sequence[NodeGroup], known: dict[str, Accelerator]) -> str:
    """Why nothing domestic can be used, or an empty text. Without a cluster, lots are all that is known."""
    barred = {lot.id for lot in rules.lots if lot.use is not Use.ALLOWED}
    if groups:
        tracks = [(group.pool.track or _track(known, group.pool.accelerator), group.pool.lot) for group in groups]
        domestic = [lot for track, lot in tracks if track is Track.DOMESTIC]
        if not domestic:
            return "the cluster has no domestic device"
        return "every domestic device belongs to a lot that may not be used" if set(domestic) <= barred else ""
    listed = [lot for lot in rules.lots if _track(known, lot.accelerator) is Track.DOMESTIC]
    return "every domestic lot is drained or forbidden" if listed and all(lot.id in barred for lot in listed) else ""


def _track(known: dict[str, Accelerator], accelerator: str) -> Track | None:
    chip = known.get(accelerator)
    return chip.track if chip else None
