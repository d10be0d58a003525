"""Rules over weeks of virtual time: what a price and a hold do to the share, and what they cost."""

import random
from functools import cache

import pytest

from scheduler.model.cluster import Cell, Cluster
from scheduler.model.events import Configured
from scheduler.model.jobs import Measured, Work
from scheduler.model.policy import Policy
from scheduler.model.rules import DomesticShare, Measure, Mode, Rules, ShareBasis
from scheduler.model.units import US_PER_S
from scheduler.model.workload import Arrival, Workload
from scheduler.simulator.execution import Overheads
from scheduler.simulator.simulate import simulate
from tests.support.builders import CATALOG, job, options, pool, tenants

HOUR_US = 3_600 * US_PER_S
DAYS = 6
JOBS_AN_HOUR = 5

FLEET = Cluster(
    name="mixed",
    cells=(
        Cell(name="a", pools=(pool("h200", 8, 8),)),
        Cell(name="b", pools=(pool("ascend-910c", 12, 8),)),
    ),
)


def arrivals(seed: int) -> tuple[Arrival, ...]:
    """Jobs of some hours on 8 H200 or 16 packages, where they run at 10 to 95 % of the speed: each its own part."""
    draw = random.Random(seed)
    found, at_us = [], 0
    for number in range(DAYS * 24 * JOBS_AN_HOUR):
        at_us += round(draw.expovariate(JOBS_AN_HOUR) * HOUR_US)
        part, hours = draw.uniform(0.1, 0.95), draw.uniform(0.2, 1.2)
        measured = (
            Measured(accelerator="h200", count=8, rate=1.0),
            Measured(accelerator="ascend-910c", count=16, rate=part),
        )
        spec = job(f"j{number}", *options(h200=8, ascend_910c=16), work=Work(amount=hours * 3600, measured=measured))
        found.append(Arrival(at_us=at_us, job=spec))
    return tuple(found)


@cache
def run(mode: Mode | None, target: float = 0.4, seed: int = 1):
    """The result and how the rule stands at the end; `mode` None: no rule at all, and no standing."""
    rule = DomesticShare(
        id="used",
        basis=ShareBasis.USED,
        measure=Measure.DEVICE_HOURS,
        target=target,
        window_us=48 * HOUR_US,
        min_volume=50.0,
        mode=mode or Mode.OBSERVE,
    )
    rules = Rules(domestic_shares=(rule,)) if mode else Rules()
    result = simulate(
        Configured(CATALOG, FLEET, tenants(red={}), rules, Policy(name="priority")),
        Workload(name="stream", arrivals=arrivals(seed)),
        until_us=DAYS * 24 * HOUR_US,
        digest=True,
        overheads=Overheads(report_us=HOUR_US // 4),
    )
    shares = result.state.book.shares
    return result, shares[0].standing(DAYS * 24 * HOUR_US) if shares else None


def speed_lost(result) -> float:
    """Mean part of their best speed that jobs on domestic devices gave up."""
    lost = [
        1 - found.attempts[-1].allocation.rate
        for found in result.state.jobs
        if found.attempts and found.attempts[-1].allocation.chosen[0].accelerator == "ascend-910c"
    ]
    return sum(lost) / max(1, len(lost))


def test_a_rule_that_observes_changes_no_event_of_a_whole_simulation():
    plain, _ = run(None)
    watched, standing = run(Mode.OBSERVE)
    assert watched.digest == plain.digest
    assert standing.share < 0.1, "and tells how far from its target the fleet is"


@pytest.mark.parametrize("target", [0.2, 0.4, 0.6])
def test_a_price_brings_the_window_to_its_target_and_not_far_beyond(target):
    result, standing = run(Mode.PRICE, target)
    assert target <= standing.share <= target + 0.06
    assert target <= standing.forecast <= target + 0.06
    assert result.report.preemptions == 0


@pytest.mark.parametrize("seed", [2, 3])
def test_it_does_so_whatever_the_stream(seed):
    _, standing = run(Mode.PRICE, 0.4, seed)
    assert 0.4 <= standing.share <= 0.46


def test_a_hold_keeps_the_target_and_costs_more_than_a_price():
    plain, _ = run(None)
    priced, _ = run(Mode.PRICE, 0.4)
    held, standing = run(Mode.HOLD, 0.4)
    assert standing.share >= 0.39
    assert held.report.preemptions == 0
    assert speed_lost(priced) < 0.6 * speed_lost(held)
    plain_s, priced_s, held_s = (result.report.jct_s.mean for result in (plain, priced, held))
    assert plain_s < priced_s < held_s
    assert priced_s - plain_s < 0.5 * (held_s - plain_s)


def test_the_books_of_a_rule_are_what_the_attempts_used():
    """Against a sum over all attempts of the last two days: every job reported its progress and ended well."""
    result, standing = run(Mode.PRICE, 0.4)
    end_us = DAYS * 24 * HOUR_US
    hours = {"h200": 0.0, "ascend-910c": 0.0}
    for found in result.state.jobs:
        for attempt in found.attempts:
            until_us = end_us if attempt.ended_us is None else attempt.ended_us
            since_us = max(attempt.started_us, end_us - 48 * HOUR_US)
            part = attempt.allocation.chosen[0]
            hours[part.accelerator] += part.count * max(0, until_us - since_us) / HOUR_US
    assert standing.imported_hours == pytest.approx(hours["h200"], rel=0.02)
    assert standing.domestic_hours == pytest.approx(hours["ascend-910c"], rel=0.02)
