"""Every rule with how it stands: shares and their margin, lots and their alarms, who is where, prices in force."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from scheduler.engine.state import State
from scheduler.engine.used_shares import UsedShare
from scheduler.model.cluster import NodeState
from scheduler.model.rules import ShareBasis
from scheduler.model.units import to_s
from scheduler.quota.domestic_share import ShareStanding
from scheduler.quota.eligibility import violated
from scheduler.quota.installed import deliveries, installed_share
from scheduler.quota.lots import standings
from scheduler.service.feed import iso
from scheduler.service.fleet_views import domestic_share
from scheduler.service.rule_metrics import RuleGauges

__all__ = ["rule_gauges", "rules_on", "rules_view"]

View = dict[str, Any]


def rules_view(state: State, now_us: int) -> View:
    """The rules as they were read, each with its `standing`, and all alarms.

    Shares and margins are parts of one; hours are device- or compute-unit-hours, as the rule measures.
    """
    rules: View = msgspec.to_builtins(state.config.rules)
    lots = _lots(state, now_us)
    shares = {**_used(state, now_us), **_installed(state)}
    broken = _violations(state)
    for lot in rules["lots"]:
        lot["standing"] = lots[lot["id"]]
    for share in rules["domestic_shares"]:
        share["standing"] = shares[share["id"]]
    for rule in rules["eligibility"]:
        rule["standing"] = {"jobs_against": broken.get(rule["id"], 0)}
    for price in rules["prices"]:
        price["in_force"] = _in_force(state, price, now_us)
    alarms = [
        {"rule": name, "alarm": alarm}
        for group in (lots, shares)
        for name, standing in group.items()
        for alarm in standing["alarms"]
    ]
    measured = {"domestic_installed_devices": round(domestic_share(state), 6)}
    return {**rules, "alarms": alarms + _unknown_lots(state), "measured": measured}


def rules_on(state: State, tenant: str, prices: Mapping[str, float], now_us: int) -> list[View]:
    """The rules whose price makes imported options count for less to jobs of the tenant, with where the shares stand.

    `prices` are those of a plan, with a rule's under `rule:<id>`.
    """
    found = []
    for share in state.book.shares:
        price = prices.get(f"rule:{share.rule.id}", 0.0)
        if price > 0 and share.counts(tenant):
            standing = share.standing(now_us)
            told = {"target": share.rule.target, "share": standing.share, "forecast": standing.forecast}
            found.append({"rule": share.rule.id, "price": price, **told})
    return found


def _in_force(state: State, price: Mapping[str, Any], now_us: int) -> bool:
    later = [p.from_us for p in state.config.rules.prices if p.of == price["of"] and p.from_us <= now_us]
    return bool(later) and max(later) == price["from_us"]


def _lots(state: State, now_us: int) -> dict[str, View]:
    down: dict[int, int] = {}
    for node in (state.room.state != 0).nonzero()[0].tolist():
        if state.room.state_of(node) is NodeState.DOWN:
            group = int(state.fleet.group[node])
            down[group] = down.get(group, 0) + 1
    found = standings(state.config.rules, state.book.groups, down, state.config.catalog, now_us)
    return {
        lot.id: {
            "in_service": lot.in_service,
            "down": lot.down,
            "cleared": lot.cleared,
            "coming": [
                {"count": count, "expected": iso(expected), "p90": iso(p90) if p90 else None}
                for expected, p90, count in lot.coming
            ],
            "licensed": lot.licensed,
            "match_need": lot.match_need,
            "match_have": lot.match_have,
            "match_due": iso(lot.match_due_us) if lot.match_due_us else None,
            "alarms": list(lot.alarms),
        }
        for lot in found
    }


def _unknown_lots(state: State) -> list[View]:
    known = {lot.id for lot in state.config.rules.lots}
    named = {group.pool.lot for group in state.book.groups if group.pool.lot}
    return [{"rule": name, "alarm": "unknown_lot"} for name in sorted(named - known)] if known else []


def _installed(state: State) -> dict[str, View]:
    rules = state.config.rules
    found = {}
    for rule in rules.domestic_shares:
        if rule.basis is ShareBasis.INSTALLED:
            standing = installed_share(rule, rules, state.book.groups, state.config.catalog)
            found[rule.id] = {
                "share": _rounded(standing.share),
                "forecast": _rounded(standing.share),
                "margin": _rounded(standing.margin),
                "judged": standing.judged,
                "imported": standing.imported,
                "domestic": standing.domestic,
                "room": standing.room,
                "deliveries": [
                    {"lot": d.lot, "expected": iso(d.expected_us), "count": d.count, "share": _rounded(d.share)}
                    for d in deliveries(rule, rules, state.book.groups, state.config.catalog)
                ],
                "alarms": list(standing.alarms),
            }
    return found


def _used(state: State, now_us: int) -> dict[str, View]:
    prices = dict(state.prices)
    found = {}
    for share in state.book.shares:
        standing = share.standing(now_us)
        units, h20 = share.withheld(now_us)
        found[share.rule.id] = {
            "share": _rounded(standing.share),
            "forecast": _rounded(standing.forecast),
            "margin": _rounded(standing.margin),
            "judged": standing.judged,
            "imported_hours": round(standing.imported_hours, 6),
            "domestic_hours": round(standing.domestic_hours, 6),
            "running_imported": standing.running_imported,
            "running_domestic": standing.running_domestic,
            "price": prices.get(f"rule:{share.rule.id}", 0.0),
            "held_jobs": len(share.held),
            "withheld_compute_unit_hours": round(units, 6),
            "withheld_h20_equivalent_hours": round(h20, 6),
            "alarms": _alarms(share, standing),
        }
    return found


def _alarms(share: UsedShare, standing: ShareStanding) -> list[str]:
    if not standing.judged or standing.forecast is None:
        return []
    if standing.forecast < share.rule.target:
        return ["below_target"]
    warn = share.rule.warn_below
    return ["below_warning"] if warn is not None and standing.forecast < warn else []


def _devices_of_lots(lots: Sequence[View]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for lot in lots:
        standing = lot["standing"]
        found[lot["id"], "in_service"] = standing["in_service"]
        found[lot["id"], "cleared"] = standing["cleared"]
        found[lot["id"], "coming"] = sum(tranche["count"] for tranche in standing["coming"])
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _violations(state: State) -> dict[str, int]:
    """Jobs that hold devices on which a rule on eligibility does not want them, by rule."""
    rules = state.config.rules.eligibility
    groups = {group.number: group for group in state.book.groups}
    found: dict[str, int] = {}
    for job in state.holding() if rules else ():
        if job.attempt is not None:
            numbers = {int(state.fleet.group[grant.node]) for grant in job.attempt.allocation.grants}
            here = [groups[number] for number in sorted(numbers)]
            for rule in violated(rules, here, job.spec.labels, job.spec.tenant):
                found[rule] = found.get(rule, 0) + 1
    return found


def rule_gauges(state: State, now_us: int) -> RuleGauges:
    """What a scrape shows of the rules; the ids of rules are the operator's words."""
    view = rules_view(state, now_us)
    shares: dict[tuple[str, str], float] = {}
    withheld: dict[tuple[str, str], float] = {}
    prices: dict[str, float] = {}
    held: dict[str, int] = {}
    for rule in view["domestic_shares"]:
        name, standing = rule["id"], rule["standing"]
        shares[name, "target"] = rule["target"]
        for kind in ("share", "forecast"):
            if standing[kind] is not None:
                shares[name, kind] = standing[kind]
        if "price" in standing:
            prices[name] = standing["price"]
            held[name] = standing["held_jobs"]
            withheld[name, "compute_unit"] = standing["withheld_compute_unit_hours"]
            withheld[name, "h20_equivalent"] = standing["withheld_h20_equivalent_hours"]
    ends = {lot.id: lot.licence.valid_until_us for lot in state.config.rules.lots if lot.licence is not None}
    return RuleGauges(
        lots=_devices_of_lots(view["lots"]),
        licences={lot: max(0.0, to_s(end - now_us)) for lot, end in ends.items() if end is not None},
        shares=shares,
        prices=prices,
        held=held,
        withheld=withheld,
        alarms={(found["rule"], found["alarm"]): 1 for found in view["alarms"]},
    )
