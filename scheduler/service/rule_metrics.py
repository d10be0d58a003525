"""What Prometheus sees of the rules. Labels are ids of rules, which the operator writes and whose number is small."""

from collections.abc import Iterator, Mapping

from msgspec import Struct, field
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["RULE_METRIC_NAMES", "RuleGauges", "rule_families"]

RULE_METRIC_NAMES = (
    "dualtrack_lot_devices",
    "dualtrack_lot_licence_remaining_seconds",
    "dualtrack_rule_alarms",
    "dualtrack_rule_held_jobs",
    "dualtrack_rule_price",
    "dualtrack_rule_share_ratio",
    "dualtrack_rule_withheld_hours_total",
)


class RuleGauges(Struct, frozen=True, kw_only=True):
    """By the values of the labels."""

    shares: Mapping[tuple[str, str], float] = field(default_factory=dict)  # rule, kind: share, forecast or target
    prices: Mapping[str, float] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    withheld: Mapping[tuple[str, str], float] = field(default_factory=dict)  # rule, unit
    alarms: Mapping[tuple[str, str], int] = field(default_factory=dict)  # rule or lot, alarm
    lots: Mapping[tuple[str, str], int] = field(default_factory=dict)  # lot, kind: in_service, cleared or coming
    licences: Mapping[str, float] = field(default_factory=dict)  # seconds until that of the lot ends, 0 once it has


def rule_families(found: RuleGauges) -> Iterator[Metric]:
    """One family for each name, in their order, with no samples where no rule gives one."""
    lots = GaugeMetricFamily(
        "dualtrack_lot_devices", "Devices of a lot: in_service, cleared, coming", labels=("lot", "kind")
    )
    licence = GaugeMetricFamily(
        "dualtrack_lot_licence_remaining_seconds", "Until the licence of a lot ends", labels=("lot",)
    )
    alarms = GaugeMetricFamily(
        "dualtrack_rule_alarms", "Rules and lots that ask for attention", labels=("rule", "alarm")
    )
    held = GaugeMetricFamily("dualtrack_rule_held_jobs", "Waiting jobs whose start a rule holds", labels=("rule",))
    price = GaugeMetricFamily(
        "dualtrack_rule_price", "The multiplier that a rule puts on imported options", labels=("rule",)
    )
    share = GaugeMetricFamily(
        "dualtrack_rule_share_ratio", "Domestic share of a window: share, forecast, target", labels=("rule", "kind")
    )
    withheld = CounterMetricFamily(
        "dualtrack_rule_withheld_hours",
        "What a rule has withheld, in compute-unit-hours and H20-equivalent-hours",
        labels=("rule", "unit"),
    )
    for labels, count in sorted(found.lots.items()):
        lots.add_metric(labels, count)
    for lot, seconds in sorted(found.licences.items()):
        licence.add_metric((lot,), seconds)
    for labels, value in sorted(found.alarms.items()):
        alarms.add_metric(labels, value)
    for rule, jobs in sorted(found.held.items()):
        held.add_metric((rule,), jobs)
    for rule, multiplier in sorted(found.prices.items()):
        price.add_metric((rule,), multiplier)
    for labels, ratio in sorted(found.shares.items()):
        share.add_metric(labels, ratio)
    for labels, hours in sorted(found.withheld.items()):
        withheld.add_metric(labels, hours)
    yield from (lots, licence, alarms, held, price, share, withheld)
