"""What the service tells of its rules: /v1/rules, the metrics, and the rows of `rules`."""

import json
from datetime import UTC, datetime

import msgspec
import pytest

from scheduler.cli.rules import rule_rows
from scheduler.config import load_rules
from scheduler.service.configuration import Sources, configured
from scheduler.service.rule_metrics import RULE_METRIC_NAMES
from scheduler.service.rule_views import rule_gauges, rules_view
from tests.support.embedded import embedded
from tests.support.waiting import until

CLUSTER = """
schema: dualtrack/v1
kind: cluster
name: lots
cells:
  - name: north
    site: north
    pools:
      - {name: h200, accelerator: h200, nodes: 2, cpus: 64, memory_gib: 512, lot: lot-1}
      - {name: old, accelerator: h200, nodes: 1, cpus: 64, memory_gib: 512, lot: lot-9}
      - {name: home, accelerator: ascend-910c, nodes: 1, cpus: 64, memory_gib: 512}
"""
RULES = """
schema: dualtrack/v1
kind: rules
lots:
  - id: lot-1
    accelerator: h200
    tranches:
      - {count: 8, expected: 2026-01-01T00:00:00Z, state: in_service}
      - {count: 64, expected: 2030-01-01T00:00:00Z}
    licence: {ref: L, valid_until: 2100-01-01T00:00:00Z}
    domestic_match: {measure: devices, ratio: 1, due: 2026-01-01T00:00:00Z}
domestic_shares:
  - {id: used, basis: used, measure: device_hours, target: 0.5, window: 30d, mode: price}
  - {id: installed, basis: installed, measure: devices, target: 0.5, window: 30d}
eligibility:
  - {id: watched, jobs: {data: personal}, sites: [south]}
prices:
  - {of: h200, cny_per_device_hour: 14.5}
  - {of: h200, cny_per_device_hour: 13, from: 2026-01-01T00:00:00Z}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "cluster.yaml").write_text(CLUSTER)
    (home / "rules.yaml").write_text(RULES)
    config = configured(Sources(cluster=str(home / "cluster.yaml"), executor="fake"))
    # read without the cluster: beside it, the lot that only nodes name would be refused
    config = msgspec.structs.replace(config, rules=load_rules(home / "rules.yaml", config.catalog))
    with embedded(home, config=config) as found:
        yield found


@pytest.fixture(scope="module")
def found(service):
    job = service.submit(tenant="default", count=8, labels={"data": "personal"}, workload={"steps": 100_000_000})
    until(lambda: service.call("GET", f"/v1/jobs/{job['id']}").json()["state"] == "running")
    return service.call("GET", "/v1/rules").json()


def by_id(rules, key):
    return {rule["id"]: rule["standing"] for rule in rules[key]}


def test_a_lot_tells_what_serves_what_was_cleared_and_what_it_owes(found):
    lot = by_id(found, "lots")["lot-1"]
    assert (lot["in_service"], lot["cleared"], lot["match_need"], lot["match_have"]) == (16, 8, 16.0, 8.0)
    assert lot["coming"] == [{"count": 64, "expected": "2030-01-01T00:00:00+00:00", "p90": None}]
    assert lot["alarms"] == ["more_in_service_than_cleared", "domestic_match_overdue"]


def test_shares_tell_their_forecast_and_margin(found):
    shares = by_id(found, "domestic_shares")
    assert (shares["used"]["forecast"], shares["used"]["margin"]) == (0.0, -0.5)
    assert shares["used"]["price"] == pytest.approx(2.0, abs=1e-3), "the highest: the job that waited had no choice"
    assert (shares["used"]["running_imported"], shares["used"]["running_domestic"]) == (8.0, 0.0)
    assert (shares["installed"]["share"], shares["installed"]["room"]) == (0.25, -16.0)


def test_observed_eligibility_counts_the_jobs_that_break_it(found):
    assert by_id(found, "eligibility") == {"watched": {"jobs_against": 1}}


def test_only_the_newest_price_that_has_begun_is_in_force(found):
    assert [price["in_force"] for price in found["prices"]] == [False, True]


def test_every_alarm_is_listed_with_lots_that_only_nodes_name(found):
    assert {(a["rule"], a["alarm"]) for a in found["alarms"]} == {
        ("lot-1", "more_in_service_than_cleared"),
        ("lot-1", "domestic_match_overdue"),
        ("used", "below_target"),
        ("installed", "below_target"),
        ("lot-9", "unknown_lot"),
    }


def test_the_rows_of_the_command_have_one_line_a_rule(found):
    rows = {(row["kind"], row["id"]): row for row in rule_rows(found)}
    assert len(rows) == len(rule_rows(found)) - 1, "h200 has two prices"
    assert rows["lot", "lot-1"]["margin"] == "-8"
    assert rows["lot", "lot-9"]["alarms"] == ["unknown_lot"]
    used = rows["domestic share", "used"]
    assert (used["mode"], used["forecast"], used["margin"]) == ("price", "0%", "-50.0%")
    assert rows["eligibility", "watched"]["now"] == "1 against"
    assert "site south" in rows["eligibility", "watched"]["says"]


def test_the_metrics_show_every_rule(service, found):
    text = service.call("GET", "/metrics").text
    for name in RULE_METRIC_NAMES:
        assert f"# TYPE {name.removesuffix('_total')}" in text
    assert 'dualtrack_rule_share_ratio{kind="target",rule="used"} 0.5' in text
    assert 'dualtrack_rule_alarms{alarm="unknown_lot",rule="lot-9"} 1.0' in text
    assert 'dualtrack_rule_withheld_hours_total{rule="used",unit="compute_unit"} 0.0' in text


def test_views_and_gauges_agree(service, found):
    now_us = round(datetime.now(UTC).timestamp() * 1e6)
    view, gauges = service.service.loop.ask(lambda state: (rules_view(state, now_us), rule_gauges(state, now_us)))
    assert gauges.held == {"used": 0}
    assert gauges.shares["used", "target"] == view["domestic_shares"][0]["target"]
    assert set(gauges.alarms) == {(a["rule"], a["alarm"]) for a in view["alarms"]}
    assert gauges.lots == {("lot-1", "in_service"): 16, ("lot-1", "cleared"): 8, ("lot-1", "coming"): 64}
    ends_us = view["lots"][0]["licence"]["valid_until_us"]
    assert gauges.licences == {"lot-1": (ends_us - now_us) / 1e6}


def test_a_licence_that_has_ended_has_no_time_left(service):
    late_us = round(datetime(2101, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    gauges = service.service.loop.ask(lambda state: rule_gauges(state, late_us))
    assert gauges.licences == {"lot-1": 0.0}
    assert ("lot-1", "licence_ended") in gauges.alarms


@pytest.mark.parametrize("output", ["table", "wide", "json", "yaml", "name"])
def test_the_command_prints_in_every_format(found, output, monkeypatch, capsys):
    from contextlib import nullcontext
    from types import SimpleNamespace

    from scheduler.cli import rules as verb
    from scheduler.cli.output import Format

    monkeypatch.setattr(verb, "connect", lambda *_: nullcontext(SimpleNamespace(rules=lambda: found)))
    verb.rules(output=Format(output))
    printed = capsys.readouterr().out
    assert "lot-1" in printed and "installed" in printed
    if output == "json":
        assert json.loads(printed) == found
    if output == "name":
        assert printed.splitlines()[:3] == ["lot-1", "used", "installed"]
    if output == "table":
        assert "MARGIN" in printed and "more_in_service_than_cleared" in printed and "PRICE" not in printed
    if output == "wide":
        assert "WITHHELD" in printed


def test_the_share_of_what_is_installed_tells_what_deliveries_do_to_it(found):
    deliveries = by_id(found, "domestic_shares")["installed"]["deliveries"]
    assert [(d["lot"], d["count"], d["share"]) for d in deliveries] == [("lot-1", 56, pytest.approx(8 / 88))]
