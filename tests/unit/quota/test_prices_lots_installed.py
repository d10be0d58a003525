"""The price book, what lots close and owe, eligibility, and the share of what is installed."""

import pytest

from scheduler.model.accelerators import Catalog
from scheduler.model.cluster import Cell, Cluster, NodeGroup, Pool
from scheduler.model.reasons import ReasonCode
from scheduler.model.rules import (
    DomesticMatch,
    DomesticShare,
    Eligibility,
    Licence,
    Lot,
    Measure,
    Mode,
    Price,
    Rules,
    ShareBasis,
    Tranche,
    TrancheState,
    Use,
)
from scheduler.model.units import FOREVER_US
from scheduler.quota.eligibility import ineligible, violated
from scheduler.quota.installed import deliveries, entering_refused, installed_share, worth
from scheduler.quota.lots import closed_groups, excluded_groups, standings
from scheduler.quota.prices import PriceBook
from tests.support.builders import A910C, H20, H200, figure

HOUR_US = 3_600_000_000
CATALOG = Catalog((H200, H20, A910C))


def pool(name: str, accelerator: str, nodes: int = 1, lot: str = "", **labels: str) -> Pool:
    return Pool(
        name=name, accelerator=accelerator, nodes=nodes, devices_per_node=8, cpu_milli=1, memory_mib=1, lot=lot,
        labels=labels,
    )  # fmt: skip


def fleet(*pools: Pool, site: str = "north", entity: str = "acme") -> Cluster:
    return Cluster(name="c", cells=(Cell(name="one", site=site, entity=entity, pools=pools),))


def groups(*pools: Pool, **where: str) -> tuple[NodeGroup, ...]:
    return fleet(*pools, **where).groups()


def share(target: float, measure: Measure = Measure.DEVICES, **more: object) -> DomesticShare:
    values: dict = {"id": "s", "basis": ShareBasis.INSTALLED, "window_us": 1, **more}
    return DomesticShare(measure=measure, target=target, **values)


# money


def test_a_price_holds_from_its_date_until_the_next():
    book = PriceBook(
        [
            Price(of="h200", fen_per_device_hour=1450),
            Price(of="h200", fen_per_device_hour=1320, from_us=10),
            Price(of="lot-1", fen_per_device_hour=1510, from_us=5),
        ],
        [Lot(id="lot-1", accelerator="h200")],
    )
    assert [book.fen_per_device_hour("h200", t) for t in (0, 9, 10, 99)] == [1450, 1450, 1320, 1320]
    assert [book.fen_per_device_hour("h200", t, "lot-1") for t in (4, 5)] == [1450, 1510]
    assert book.fen_per_device_hour("h200", 5, "lot-2") == 1450
    assert book.fen_per_device_hour("h20-96", 5) == 0
    assert [book.next_change_us(t) for t in (0, 5, 9, 10)] == [5, 10, 10, FOREVER_US]
    assert book and not PriceBook(())


def test_where_the_lot_is_not_known_yet_the_dearest_counts():
    lots = [Lot(id="a", accelerator="h200"), Lot(id="b", accelerator="h200")]
    book = PriceBook([Price(of="a", fen_per_device_hour=10), Price(of="b", fen_per_device_hour=30)], lots)
    assert book.fen_per_device_hour("h200", 0) == 30
    assert book.fen_per_device_hour("h200", 0, "a") == 10
    assert book.fen_per_device_hour("h200", 0, "") == 0


def test_an_allocation_keeps_the_price_of_the_moment_it_was_granted():
    book = PriceBook([Price(of="h200", fen_per_device_hour=100), Price(of="h200", fen_per_device_hour=1, from_us=50)])
    assert book.cost([("h200", "", 3)], granted_us=0, since_us=0, until_us=2 * HOUR_US) == 600
    assert book.cost([("h200", "", 3)], granted_us=50, since_us=0, until_us=2 * HOUR_US) == 6
    assert book.cost([("h200", "", 3)], granted_us=0, since_us=9, until_us=9) == 0


# lots

LICENCE = Licence(ref="x", valid_until_us=100, sites=("north",), excluded_labels={"end-use": "government"})


@pytest.mark.parametrize(
    ("lot", "site", "now_us", "code"),
    [
        (Lot(id="l", accelerator="h200"), "north", 0, None),
        (Lot(id="l", accelerator="h200", use=Use.DRAIN), "north", 0, ReasonCode.LOT_FORBIDDEN),
        (Lot(id="l", accelerator="h200", use=Use.FORBIDDEN), "north", 0, ReasonCode.LOT_FORBIDDEN),
        (Lot(id="l", accelerator="h200", procurement="closed"), "north", 0, None),
        (Lot(id="l", accelerator="h200", licence=LICENCE), "north", 99, None),
        (Lot(id="l", accelerator="h200", licence=LICENCE), "north", 100, ReasonCode.LICENCE),
        (Lot(id="l", accelerator="h200", licence=LICENCE), "north", None, None),
        (Lot(id="l", accelerator="h200", licence=LICENCE), "south", None, ReasonCode.LICENCE),
    ],
)
def test_a_lot_closes_its_nodes_by_use_site_and_date(lot, site, now_us, code):
    found = closed_groups((lot,), groups(pool("a", "h200", lot="l"), pool("b", "h200"), site=site), now_us)
    assert {number: reason.code for number, reason in found.items()} == ({} if code is None else {0: code})
    assert all(reason.who == "l" for reason in found.values())


def test_a_licence_keeps_jobs_with_an_excluded_label_off_its_nodes():
    lot = Lot(id="l", accelerator="h200", licence=LICENCE)
    where = groups(pool("a", "h200", lot="l"), pool("b", "h200"))
    assert set(excluded_groups((lot,), where, {"end-use": "government"})) == {0}
    assert not excluded_groups((lot,), where, {"end-use": "research"})
    assert not excluded_groups((lot,), where, {})


def tranches(*counts: tuple[int, TrancheState]) -> tuple[Tranche, ...]:
    return tuple(Tranche(count=count, expected_us=7, state=state) for count, state in counts)


def test_lots_never_create_capacity_and_more_in_service_than_cleared_raises_an_alarm():
    lot = Lot(
        id="l",
        accelerator="h200",
        tranches=tranches((8, TrancheState.IN_SERVICE), (4, TrancheState.CLEARED), (99, TrancheState.SHIPPED)),
    )
    rules = Rules(lots=(lot,))
    two = groups(pool("a", "h200", nodes=2, lot="l"))
    (found,) = standings(rules, two, {}, CATALOG, 0)
    assert (found.in_service, found.cleared, found.coming) == (16, 12, ((7, 0, 99),))
    assert found.alarms == ("more_in_service_than_cleared",)
    (found,) = standings(rules, two, {0: 1}, CATALOG, 0)
    assert (found.in_service, found.down, found.alarms) == (8, 8, ())


def test_a_lot_tells_what_it_owes_and_since_when_it_is_late():
    match = DomesticMatch(measure=Measure.DEVICES, ratio=0.5, due_us=50)
    rules = Rules(lots=(Lot(id="l", accelerator="h200", domestic_match=match),))
    half = groups(pool("a", "h200", nodes=4, lot="l"), pool("b", "ascend-910c", nodes=1))
    (found,) = standings(rules, half, {}, CATALOG, 49)
    assert (found.match_need, found.match_have, found.match_due_us, found.alarms) == (16.0, 8.0, 50, ())
    (found,) = standings(rules, half, {}, CATALOG, 50)
    assert found.alarms == ("domestic_match_overdue",)
    whole = groups(pool("a", "h200", nodes=4, lot="l"), pool("b", "ascend-910c", nodes=2))
    (found,) = standings(rules, whole, {}, CATALOG, 50)
    assert found.alarms == ()


def test_a_licence_that_ended_or_does_not_cover_the_site_is_an_alarm():
    rules = Rules(lots=(Lot(id="l", accelerator="h200", licence=LICENCE),))
    (found,) = standings(rules, groups(pool("a", "h200", lot="l"), site="south"), {}, CATALOG, 100)
    assert found.alarms == ("licence_ended", "outside_licensed_sites")
    assert not found.licensed


# eligibility

HERE = groups(pool("a", "h200", zone="x"), pool("b", "h200", zone="y", jurisdiction="cn"))


@pytest.mark.parametrize(
    ("rule", "closed"),
    [
        ({"nodes": {"zone": "x"}}, {1}),
        ({"jurisdictions": ("cn",)}, {0}),
        ({"sites": ("north",)}, set()),
        ({"sites": ("south",)}, {0, 1}),
        ({"entities": ("acme",)}, set()),
        ({"entities": ("other",)}, {0, 1}),
        ({"sites": ("south",), "jobs": {"data": "p"}}, {0, 1}),
        ({"sites": ("south",), "jobs": {"data": "q"}}, set()),
        ({"sites": ("south",), "data_classes": ("secret",)}, {0, 1}),
        ({"sites": ("south",), "data_classes": ("open",)}, set()),
        ({"sites": ("south",), "tenants": ("red",)}, {0, 1}),
        ({"sites": ("south",), "tenants": ("red/other",)}, set()),
    ],
)
def test_eligibility_closes_the_nodes_that_a_rule_does_not_accept(rule, closed):
    labels = {"data": "p", "data-class": "secret"}
    held = Eligibility(id="e", mode=Mode.HOLD, **rule)
    found = ineligible((held,), HERE, labels, "red/vision")
    assert set(found) == closed
    assert {(r.code, r.who) for r in found.values()} <= {(ReasonCode.ELIGIBILITY, "e")}
    watched = Eligibility(id="e", **rule)
    assert not ineligible((watched,), HERE, labels, "red/vision")
    assert violated((watched,), HERE, labels, "red/vision") == (("e",) if closed else ())


# what is installed


def test_devices_count_by_number_by_price_with_surcharge_or_by_peak():
    from msgspec import structs

    chip = structs.replace(H200, price_cny=figure(200.0), bf16_tflops=figure(989.0))
    catalog = Catalog((chip, A910C))
    lots = {"l": Lot(id="l", accelerator="h200", unit_cost_fen=1000, surcharge=0.25)}
    bought, plain = groups(pool("a", "h200", lot="l"), pool("b", "h200"))
    assert worth(bought, Measure.DEVICES, lots, catalog) == 8
    assert worth(bought, Measure.PURCHASE_CNY, lots, catalog) == 8 * 1250
    assert worth(plain, Measure.PURCHASE_CNY, lots, catalog) == 8 * 20_000
    assert worth(plain, Measure.PEAK_TFLOPS, lots, catalog) == 8 * 989


def test_the_installed_share_tells_its_margin_and_how_much_more_may_come():
    where = groups(pool("a", "h200", nodes=2), pool("b", "ascend-910c", nodes=1))
    found = installed_share(share(0.25, warn_below=0.4), Rules(), where, CATALOG)
    assert (found.imported, found.domestic, found.share) == (16, 8, pytest.approx(1 / 3))
    assert found.margin == pytest.approx(1 / 3 - 0.25)
    assert found.room == pytest.approx(8.0), "8 of 32 would be a quarter"
    assert found.alarms == ("below_warning",)
    assert installed_share(share(0.5), Rules(), where, CATALOG).alarms == ("below_target",)
    small = installed_share(share(0.5, min_volume=25.0), Rules(), where, CATALOG)
    assert (small.judged, small.alarms) == (False, ())


def test_a_lot_that_may_never_be_used_counts_on_neither_side():
    rules = Rules(lots=(Lot(id="l", accelerator="h200", use=Use.FORBIDDEN),))
    where = groups(pool("a", "h200", nodes=2, lot="l"), pool("b", "ascend-910c"))
    assert installed_share(share(0.5), rules, where, CATALOG).share == 1.0


def test_a_rule_that_holds_refuses_imported_devices_that_would_break_it():
    rules = Rules(domestic_shares=(share(0.5, mode=Mode.HOLD),))
    even = fleet(pool("a", "h200"), pool("b", "ascend-910c"))
    more = fleet(pool("a", "h200", nodes=2), pool("b", "ascend-910c"))
    less = fleet(pool("a", "h200"), pool("b", "ascend-910c"), pool("c", "ascend-910c"))
    assert "would leave 33.3%" in entering_refused(even, more, rules, CATALOG)
    assert not entering_refused(even, less, rules, CATALOG)
    assert not entering_refused(more, even, rules, CATALOG)
    assert not entering_refused(more, more, rules, CATALOG), "what is wrong already is no reason to refuse a change"
    assert not entering_refused(even, more, Rules(domestic_shares=(share(0.5),)), CATALOG)


def test_the_share_after_each_delivery_is_told_in_the_order_in_which_they_come():
    def part(count: int, at: int, state: TrancheState = TrancheState.SHIPPED) -> Tranche:
        return Tranche(count=count, expected_us=at, state=state)

    rules = Rules(
        lots=(
            Lot(id="h", accelerator="h200", tranches=(part(8, 1, TrancheState.IN_SERVICE), part(16, 30), part(8, 10))),
            Lot(id="a", accelerator="ascend-910c", tranches=(part(8, 20, TrancheState.CLEARED),)),
            Lot(id="never", accelerator="h200", use=Use.FORBIDDEN, tranches=(part(99, 5),)),
        )
    )
    where = groups(pool("x", "h200", lot="h"), pool("y", "ascend-910c"))
    found = deliveries(share(0.3), rules, where, CATALOG)
    assert [(d.lot, d.expected_us, d.count) for d in found] == [("h", 10, 8), ("a", 20, 8), ("h", 30, 16)]
    assert [d.share for d in found] == [pytest.approx(x) for x in (8 / 24, 16 / 32, 16 / 48)]
    already = groups(pool("x", "h200", nodes=2, lot="h"), pool("y", "ascend-910c"))
    assert [(d.lot, d.count) for d in deliveries(share(0.3), rules, already, CATALOG)] == [("a", 8), ("h", 16)]
