"""A plan is what the same engine would do, tried on a copy; and so is the change that it proposes."""

import pytest

from scheduler.config import decode_job
from scheduler.engine import intake
from scheduler.engine.engine import Engine
from scheduler.engine.image import encode
from scheduler.engine.state import State
from scheduler.model.events import Actor, EpochStarted
from scheduler.service.changes import candidates
from scheduler.service.configuration import Sources, configured
from scheduler.service.plans import expected_of, plan_on_empty, plan_on_image
from tests.support.embedded import a_job

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
    change = plan_on_image(encode(busy), asked, ACTOR, NOW)["change"]
    assert change is not None
    changed = dict(candidates(busy, asked))[change["text"]]
    again = plan_on_image(encode(busy), changed, ACTOR, NOW)
    assert (again["verdict"], again["chosen"]) == ("starts_now", change["starts_on"])


def test_what_can_never_run_is_told_with_what_could(config):
    found = plan_on_empty(config, job(("h200", 16)), ACTOR, NOW)
    assert (found["verdict"], found["exit_code"]) == ("infeasible", 4)
    assert found["change"] == {"text": "also accept h200:8", "starts_on": "h200:8"}


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
