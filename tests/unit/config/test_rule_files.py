"""Rules files: what is read, and rules that exclude each other or that no node can satisfy."""

import pytest

from scheduler.config import load_catalog, load_rules, read_text
from scheduler.errors import ConfigError
from scheduler.model.cluster import Cell, Cluster, NodeChange, Pool
from scheduler.model.rules import Rules, Window, within

HEAD = "schema: dualtrack/v1\nkind: rules\n"
CATALOG = load_catalog()
DAY_US = 86_400_000_000
TRANCHE = "{count: 8, expected: 2026-12-01T00:00:00Z}"


def pool(name: str, accelerator: str, lot: str = "", **labels: str) -> Pool:
    return Pool(
        name=name, accelerator=accelerator, nodes=2, devices_per_node=8, cpu_milli=1, memory_mib=1, lot=lot,
        labels=labels,
    )  # fmt: skip


def a_cluster(*pools: Pool, changes: tuple[NodeChange, ...] = ()) -> Cluster:
    return Cluster(name="c", cells=(Cell(name="one", site="north", entity="acme", pools=pools),), changes=changes)


def read(body: str, cluster: Cluster | None = None) -> Rules:
    kind, rules = read_text(HEAD + body, "r.yaml", CATALOG, cluster)
    assert kind == "rules"
    assert isinstance(rules, Rules)
    return rules


def refusal(body: str, cluster: Cluster | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read(body, cluster)
    return str(caught.value)


def test_a_window_is_a_length_or_the_calendar_quarter():
    share = "id: a, basis: used, measure: device_hours, target: 0.3"
    rolling = read(f"domestic_shares: [{{{share}, window: 30d}}]").domestic_shares[0]
    assert (rolling.window, rolling.window_us) == (Window.ROLLING, 30 * DAY_US)
    quarter = read(f"domestic_shares: [{{{share}, window: quarter}}]").domestic_shares[0]
    assert (quarter.window, quarter.window_us) == (Window.QUARTER, 92 * DAY_US)


def test_a_match_may_be_due_some_days_after_the_first_tranche():
    match = "{measure: devices, ratio: 1, due_days: 30}"
    lot = read(f"lots: [{{id: a, accelerator: h200, tranches: [{TRANCHE}], domestic_match: {match}}}]").lots[0]
    assert lot.domestic_match is not None
    assert lot.domestic_match.due_us == lot.tranches[0].expected_us + 30 * DAY_US


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "domestic_shares: [{id: a, basis: used, measure: device_hours, target: 0.3, window: 5s}]",
            "r.yaml:3: domestic_shares[0].window: is no window that a share can be kept over",
        ),
        (
            "domestic_shares: [{id: a, basis: installed, measure: devices, target: 0.3, window: 30d, mode: price}]",
            "r.yaml:3: domestic_shares[0].mode: no price makes installed devices domestic",
        ),
        (
            "domestic_shares: [{id: a, basis: used, measure: device_hours, target: -0.1, window: 30d}]",
            "r.yaml:3: domestic_shares[0].target: `-0.1` is out of range; 0 to 1",
        ),
        ("eligibility: [{id: a, sites: [x], mode: price}]", "r.yaml:3: eligibility[0].mode: a job is eligible or"),
        (
            "prices: [{of: h200, cny_per_device_hour: 1}, {of: h200, cny_per_device_hour: 2}]",
            "r.yaml:3: prices[1]: `h200` has another price from the same date on",
        ),
        ("prices: [{of: h200, cny_per_device_hour: -1}]", "r.yaml:3: prices[0].cny_per_device_hour: `-1` is out of"),
        (
            f"lots: [{{id: a, accelerator: h20-96, procurement: closed, tranches: [{TRANCHE}]}}]",
            "r.yaml:3: lots[0].procurement: closed to buying, and a tranche is still `ordered`",
        ),
        (
            "lots: [{id: a, accelerator: h200, use: forbidden, "
            "domestic_match: {measure: devices, ratio: 1, due: 2027-01-01T00:00:00Z}}]",
            "r.yaml:3: lots[0].use: the lot may not be used, and yet `domestic_match`",
        ),
        (
            "lots: [{id: a, accelerator: ascend-910c, "
            "domestic_match: {measure: devices, ratio: 1, due: 2027-01-01T00:00:00Z}}]",
            "r.yaml:3: lots[0].domestic_match: `ascend-910c` is domestic itself",
        ),
        (
            f"lots: [{{id: a, accelerator: h200, tranches: [{TRANCHE}], "
            "domestic_match: {measure: devices, ratio: 1, due: 2026-01-01T00:00:00Z}}]",
            "r.yaml:3: lots[0].domestic_match.due: is due before the first tranche",
        ),
        (
            "lots: [{id: a, accelerator: h200, domestic_match: {measure: devices, ratio: 1}}]",
            "r.yaml:3: lots[0].domestic_match: needs one of `due` and `due_days`",
        ),
        (
            "lots: [{id: a, accelerator: h200, domestic_match: {measure: devices, ratio: 1, due_days: 3}}]",
            "r.yaml:3: lots[0].domestic_match.due_days: counts from the first tranche",
        ),
        (
            "lots: [{id: a, accelerator: h200, domestic_match: {measure: device_hours, ratio: 1, due_days: 3}}]",
            "r.yaml:3: lots[0].domestic_match.measure: what is bought is not measured in device_hours",
        ),
        (
            "lots:\n- id: a\n  accelerator: h200\n  licence: {ref: x, valid_until: 2026-01-01T00:00:00Z}\n"
            f"  tranches: [{TRANCHE}]",
            "r.yaml:6: lots[0].licence.valid_until: the licence ends before the first tranche",
        ),
        (
            "lots: [{id: a, accelerator: ascend-910c, use: forbidden}]\n"
            "domestic_shares: [{id: s, basis: used, measure: device_hours, target: 0.3, window: 30d, mode: hold}]",
            "r.yaml:4: domestic_shares[0]: asks for a share of 0.3, and every domestic lot is drained or forbidden",
        ),
        (
            "eligibility:\n- {id: a, jobs: {data: x}, sites: [north], mode: hold}\n"
            "- {id: b, jobs: {data: x, more: y}, sites: [south], mode: hold}",
            "r.yaml:5: eligibility[1]: excludes `a` for the same jobs: nothing agrees in sites",
        ),
        (
            "eligibility:\n- {id: a, nodes: {zone: p}, mode: hold}\n"
            "- {id: b, tenants: [red], nodes: {zone: q}, mode: hold}",
            "r.yaml:5: eligibility[1]: excludes `a` for the same jobs: nothing agrees in the label `zone`",
        ),
    ],
)  # fmt: skip
def test_rules_that_contradict_themselves_or_each_other_are_refused_with_their_place(body, message):
    assert refusal(body).startswith(message)


@pytest.mark.parametrize(
    "body",
    [
        "eligibility:\n- {id: a, jobs: {data: x}, sites: [north], mode: hold}\n"
            "- {id: b, jobs: {data: y}, sites: [south], mode: hold}",
        "eligibility:\n- {id: a, jobs: {data: x}, sites: [north]}\n"
            "- {id: b, jobs: {data: x}, sites: [south], mode: hold}",
        "eligibility:\n- {id: a, data_classes: [x], sites: [n], mode: hold}\n"
            "- {id: b, data_classes: [y], sites: [s], mode: hold}",
        "lots: [{id: a, accelerator: ascend-910c, use: forbidden}, {id: b, accelerator: ascend-910c}]\n"
        "domestic_shares: [{id: s, basis: used, measure: device_hours, target: 0.3, window: 30d, mode: hold}]",
        "lots: [{id: a, accelerator: ascend-910c, use: forbidden}]\n"
        "domestic_shares: [{id: s, basis: used, measure: device_hours, target: 0.3, window: 30d}]",
    ],
)  # fmt: skip
def test_rules_that_can_all_be_kept_are_accepted(body):
    assert read(body)


def test_against_a_cluster_rules_that_no_node_satisfies_are_refused():
    fleet = a_cluster(pool("h", "h200"), changes=(NodeChange(node="h-1", labels={"zone": "a"}),))
    assert read("eligibility: [{id: a, nodes: {zone: a}, mode: hold}]", fleet)
    text = refusal("eligibility: [{id: a, nodes: {zone: b}, mode: hold}]", fleet)
    assert text.startswith("r.yaml:3: eligibility[0]: no node of cluster `c` satisfies it")
    assert read("eligibility: [{id: a, nodes: {zone: b}}]", fleet)
    share = "domestic_shares: [{id: s, basis: used, measure: device_hours, target: 0.3, window: 30d, mode: price}]"
    assert "the cluster has no domestic device" in refusal(share, fleet)
    mixed = a_cluster(pool("h", "h200"), pool("a", "ascend-910c", lot="x"))
    assert read(f"lots: [{{id: x, accelerator: ascend-910c}}]\n{share}", mixed)
    held = refusal(f"lots: [{{id: x, accelerator: ascend-910c, use: drain}}]\n{share}", mixed)
    assert held.startswith("r.yaml:4: domestic_shares[0]: asks for a share of 0.3, and every domestic device belongs")


def test_against_a_cluster_lots_that_pools_name_must_be_there_and_of_their_accelerator():
    fleet = a_cluster(pool("h", "h200", lot="lot-1"))
    assert read("lots: [{id: lot-1, accelerator: h200}]", fleet)
    text = refusal("lots: [{id: lot-2, accelerator: h200}]", fleet)
    assert text == "r.yaml:3: lots[0]: pool `h` names the lot `lot-1`; did you mean `lot-2`?"
    assert "holds `h200`, the lot `h100`" in refusal("lots: [{id: lot-1, accelerator: h100}]", fleet)


def test_a_file_of_rules_may_be_read_against_a_cluster(tmp_path):
    (tmp_path / "r.yaml").write_text(HEAD + "eligibility: [{id: a, sites: [south], mode: hold}]\n")
    assert load_rules(tmp_path / "r.yaml", CATALOG).eligibility
    with pytest.raises(ConfigError, match="no node of cluster `c` satisfies it"):
        load_rules(tmp_path / "r.yaml", CATALOG, a_cluster(pool("h", "h200")))


def test_everybody_lies_within_the_root_and_nobody_within_a_namesake():
    assert within("a/b", "") and within("a/b", "a") and within("a", "a")
    assert not within("ab", "a") and not within("a", "a/b")


def test_the_groups_of_a_cluster_hold_every_node_once():
    fleet = a_cluster(
        pool("h", "h200", zone="a"), pool("a", "ascend-910c"),
        changes=(NodeChange(node="a-0"), NodeChange(node="h-1", labels={"zone": "b"})),
    )  # fmt: skip
    groups = fleet.groups()
    assert sum(group.nodes for group in groups) == fleet.node_count()
    assert [(g.number, g.pool.name, g.nodes, dict(g.labels)) for g in groups] == [
        (0, "h", 1, {"zone": "a"}),
        (1, "a", 2, {}),
        (3, "h", 1, {"zone": "b"}),
    ]


def test_against_a_cluster_what_serves_of_a_lot_stands_on_nodes_that_name_it():
    serves = "tranches: [{count: 8, expected: 2026-12-01T00:00:00Z, state: in_service}]"
    fleet = a_cluster(pool("h", "h200"))
    text = refusal(f"lots:\n- {{id: lot-1, accelerator: h200}}\n- {{id: lot-2, accelerator: h200, {serves}}}", fleet)
    assert text == (
        "r.yaml:5: lots[1]: 8 of it serve, and no pool of cluster `c` names the lot `lot-2`; "
        "give the pool of these nodes `lot: lot-2`"
    )
    assert read(f"lots: [{{id: lot-1, accelerator: h200, tranches: [{TRANCHE}]}}]", fleet), "it is still to come"
    assert read(f"lots: [{{id: lot-1, accelerator: h200, use: forbidden, {serves}}}]", fleet), "only modelled"
    assert read(f"lots: [{{id: lot-2, accelerator: h200, {serves}}}]", a_cluster(pool("h", "h200", lot="lot-2")))


def test_against_a_cluster_a_licence_covers_sites_that_there_are():
    licensed = "lots: [{id: x, accelerator: h200, licence: {ref: y, sites: [north, nort]}}]"
    text = refusal(licensed, a_cluster(pool("h", "h200", lot="x")))
    assert text == (
        "r.yaml:3: lots[0].licence.sites: no cell of cluster `c` is at the site `nort`; did you mean `north`?"
    )
    assert read(licensed, a_cluster(pool("h", "h200"))), "no node of this cluster stands under the licence"
