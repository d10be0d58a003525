"""A plan is what the same engine would do, tried on a copy; and so is the change that it proposes."""

import pytest
from msgspec import structs

from scheduler.config import decode_job
from scheduler.engine import intake
from scheduler.engine.engine import Engine
from scheduler.engine.image import encode
from scheduler.engine.state import State
from scheduler.model.events import Actor, EpochStarted
from scheduler.model.policy import Policy
from scheduler.model.rules import DomesticShare, Lot, Measure, Mode, Rules, ShareBasis, Tranche
from scheduler.model.tenants import Tenant, Tenants
from scheduler.planning import Asked, counterfactuals
from scheduler.service.configuration import Sources, configured
from scheduler.service.plans import expected_of, plan_on_empty, plan_on_image, why_on_image
from tests.support.embedded import a_job
from tests.support.tree import ROOT

NOW = 1_800_000_000_000_000
ACTOR = Actor("ada", "search", True)


def job(*options, **fields):
    given = a_job(fields.pop("name", "asked"), **fields)
    if options:
        given["resources"] = {"options": [{"accelerator": name, "count": count} for name, count in options]}
    return decode_job(given)


@pytest.fixture(scope="module")
def config():
    return configured(Sources(cluster="demo"))


@pytest.fixture
def busy(config):
    """A fleet whose H200 another tenant holds."""
    state = State.new(config)
    engine = Engine(state)
    engine.fold(EpochStarted(1), NOW)
    holder = job(("h200", 8), name="holder", tenant="foundation")
    for event in intake.submission(state, holder, Actor("lin", "foundation", True), lambda: "holder", NOW):
        engine.fold(event, NOW)
    for event in engine.decide(NOW).events:
        engine.fold(event, NOW)
    return state


def test_on_an_empty_fleet_a_job_starts_now_on_what_it_asked_for(config):
    found = plan_on_empty(config, job(("h200", 8)), ACTOR, NOW)
    assert (found["verdict"], found["exit_code"], found["chosen"]) == ("starts_now", 0, "h200:8")
    assert found["unit"] == "steps"
    assert found["nodes"] == ["h200-0"]
    assert found["change"] is None
    assert {(row["resource"], row["before"], row["after"]) for row in found["quota"]} == {("h200", 0, 8)}


def test_a_busy_fleet_lets_it_wait_and_says_until_when(busy):
    found = plan_on_image(encode(busy), job(("h200", 8)), ACTOR, NOW)
    assert (found["verdict"], found["exit_code"]) == ("waits", 3)
    assert found["wait_s"] > 0
    assert found["options"][0]["reasons"]


def test_the_change_that_is_proposed_starts_the_job_when_it_is_made(busy):
    asked = job(("h200", 8))
    found = plan_on_image(encode(busy), asked, ACTOR, NOW)
    assert found["change"] == found["changes"][0]
    proposals = counterfactuals(encode(busy), Asked(job=asked, actor=ACTOR), NOW).proposals
    assert len(proposals) == len(found["changes"])
    again = plan_on_image(encode(busy), proposals[-1].change.job, ACTOR, NOW)
    assert (again["verdict"], again["chosen"]) == ("starts_now", found["changes"][-1]["starts_on"])


def test_a_plan_tells_the_place_in_the_queue_and_a_band_of_the_start(busy):
    found = plan_on_image(encode(busy), job(("h200", 8)), ACTOR, NOW)
    assert (found["position"], found["waiting"]) == (1, 1)
    assert found["start_low"] <= found["start"] <= found["start_high"]
    assert found["options"][0]["provenance"]
    assert found["prices"] == [] or found["prices"][0]["one_more"] <= found["prices"][0]["one_less"]


def test_why_tells_the_same_of_a_job_that_waits(busy):
    engine = Engine(busy)
    for event in intake.submission(busy, job(("h200", 8)), ACTOR, lambda: "asked", NOW):
        engine.fold(event, NOW)
    for event in engine.decide(NOW).events:
        engine.fold(event, NOW)
    found = why_on_image(encode(busy), 1, NOW)
    assert (found["position"], found["waiting"]) == (1, 1)
    assert found["expected"]["start_low"] <= found["expected"]["start"]
    assert all(change["sooner_s"] > 0 for change in found["changes"])


def test_what_comes_with_a_delivery_is_told_with_its_date_and_would_wait(config):
    lot = Lot(id="h200-second", accelerator="h200", tranches=(Tranche(count=8, expected_us=NOW + 10**12),))
    ordered = structs.replace(config, rules=Rules(lots=(lot,)))
    found = plan_on_empty(ordered, job(("h200", 16)), ACTOR, NOW)
    assert (found["verdict"], found["exit_code"], found["chosen"]) == ("after_delivery", 3, "h200:16")
    assert (found["delivery"]["lot"], found["delivery"]["count"]) == ("h200-second", 8)
    assert not found["options"][0]["for_ever"]


def test_what_can_never_run_is_told_with_what_could(config):
    found = plan_on_empty(config, job(("h200", 16)), ACTOR, NOW)
    assert (found["verdict"], found["exit_code"]) == ("infeasible", 4)
    assert (found["change"]["text"], found["change"]["starts_on"]) == ("also accept h200:8", "h200:8")


def test_what_quota_denies_is_told_with_what_it_would_admit(config):
    found = plan_on_empty(config, job(("h200", 8), tenant="vision"), Actor("noor", "vision", True), NOW)
    assert (found["verdict"], found["exit_code"]) == ("denied", 5)
    assert found["change"]["starts_on"] in ("h200:1", "h20-96:2", "ascend-910c:2")


def test_planning_changes_nothing(busy):
    before = encode(busy)
    plan_on_image(before, job(("h200", 8)), ACTOR, NOW)
    assert encode(busy) == before


def test_expected_starts_cover_every_live_job(busy):
    assert set(expected_of(encode(busy), NOW)) == set(busy.active)


def test_a_plan_tells_how_far_from_the_optimum_it_may_be(config):
    prices = configured(Sources(cluster="demo", policy="balanced"))
    assert 0 <= plan_on_empty(prices, job(("h200", 8)), ACTOR, NOW)["gap"] <= prices.policy.gap
    assert plan_on_empty(prices, job(("h200", 16)), ACTOR, NOW)["gap"] is None  # nothing is decided
    assert plan_on_empty(config, job(("h200", 8)), ACTOR, NOW)["gap"] is None  # the demo's policy proves none


def test_a_plan_has_the_same_fields_whatever_the_verdict(config, busy):
    starts = plan_on_empty(config, job(("h200", 8)), ACTOR, NOW)
    waits = plan_on_image(encode(busy), job(("h200", 8)), ACTOR, NOW)
    never = plan_on_empty(config, job(("h200", 16)), ACTOR, NOW)
    assert list(starts) == list(waits) == list(never)
    documented = (ROOT / "docs/api.md").read_text()
    assert all(f"`{field}`" in documented for field in starts)


PRICED = DomesticShare(
    id="used-30",
    basis=ShareBasis.USED,
    measure=Measure.DEVICE_HOURS,
    target=0.3,
    window_us=30 * 24 * 3600 * 10**6,
    mode=Mode.PRICE,
)


def ruled(config, **changes):
    share = structs.replace(PRICED, **changes)
    free = Tenants(tenants=(Tenant(name="search"),))
    return structs.replace(config, tenants=free, policy=Policy(name="balanced"), rules=Rules(domestic_shares=(share,)))


def asking(config, name, tokens, *options):
    work = {"class": "dense_training", "model": "llama-3.1-8b", "tokens": tokens, "global_batch": 64}
    wanted = [{"accelerator": accelerator, "count": 4} for accelerator in options]
    body = {**a_job(name), "workload": work, "resources": {"options": wanted}}
    return decode_job(body, catalog=config.catalog)


def running(config, job):
    """A fleet on which the job runs, and will for long."""
    state = State.new(config)
    engine = Engine(state)
    engine.fold(EpochStarted(1), NOW)
    for event in intake.submission(state, job, ACTOR, lambda: job.name, NOW):
        engine.fold(event, NOW)
    for event in engine.decide(NOW).events:
        engine.fold(event, NOW)
    return state


@pytest.mark.parametrize(
    ("change", "chosen", "rules"),
    [
        ({}, "ascend-910c:4", ["used-30"]),
        ({"exempt": ("search",)}, "h200:4", []),
        ({"mode": Mode.OBSERVE}, "h200:4", []),
    ],
)
def test_a_plan_says_which_rule_lets_imported_options_count_for_less(config, change, chosen, rules):
    held = running(ruled(config, **change), asking(config, "held", 1e15, "h200"))
    found = plan_on_image(encode(held), asking(config, "asked", 1e9, "h200", "ascend-910c"), ACTOR, NOW)
    assert (found["chosen"], [rule["rule"] for rule in found["rules"]]) == (chosen, rules)
    assert all(rule["price"] > 0 and rule["forecast"] < rule["target"] for rule in found["rules"])


def test_a_plan_says_for_which_formats_and_engine_its_rates_are(config):
    stated = {"precision": "fp8", "engine": {"name": "megatron-lm", "version": "0.13"}}
    found = plan_on_empty(config, job(("h200", 8), workload=stated), ACTOR, NOW)
    assert found["formats"] == {
        "precision": "fp8", "experts_precision": "", "kv_precision": "", "engine": "megatron-lm 0.13", "runtime": "",
    }  # fmt: skip
    assert set(plan_on_empty(config, job(("h200", 8)), ACTOR, NOW)["formats"].values()) == {""}
