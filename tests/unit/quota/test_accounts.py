"""Budgets and past use: kept by grants and releases, equal to what a sum over attempts gives."""

from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine import Engine, State
from scheduler.engine.image import decode, encode
from scheduler.engine.usage import account, lost_us
from scheduler.model.allocations import Chosen
from scheduler.model.jobs import Measured, Work
from scheduler.model.lifecycle import AttemptEnd, StopCause
from scheduler.model.rules import Price, Rules
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants
from scheduler.quota.budgets import BudgetAccount
from scheduler.quota.past_use import PastUse, borrow_order
from scheduler.quota.worth import h20_equivalents
from tests.support.builders import CATALOG, QUICK, S, cluster, configured, job, options, pool
from tests.support.harness import Table

HOUR = 3600 * S
KEY = (1, 0)
spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20), st.integers(1, 5)), max_size=8)


def test_a_budget_counts_what_was_held_within_its_period():
    account_ = BudgetAccount({KEY: (4000, 24 * HOUR)})
    account_.hold([(KEY, 2000)], 23 * HOUR)
    assert account_.used(24 * HOUR - 1)[KEY].used == 1999
    assert account_.used(25 * HOUR)[KEY].used == 2000
    account_.release([(KEY, 2000)], 23 * HOUR, 26 * HOUR)
    use = account_.used(30 * HOUR)[KEY]
    assert (use.used, use.spent, use.period_ends_us) == (4000, True, 48 * HOUR)
    assert account_.used(49 * HOUR)[KEY].used == 0


@given(spans, st.integers(1, 10))
@settings(max_examples=200, deadline=None)
def test_a_budget_kept_by_events_is_the_sum_over_attempts(found: list[tuple[int, int, int]], period: int) -> None:
    """Events in order of time; at each the account is what is held between the period's begin and then."""
    account_ = BudgetAccount({KEY: (1, period * HOUR)})
    changes = sorted(
        [(begin, 0, begin, begin + length, amount) for begin, length, amount in found]
        + [(begin + length, 1, begin, begin + length, amount) for begin, length, amount in found]
    )
    for now, ends, begin, end, amount in changes:
        if ends:
            account_.release([(KEY, amount)], begin * HOUR, end * HOUR)
        else:
            account_.hold([(KEY, amount)], begin * HOUR)
        first = now - now % period
        expected = sum(a * max(0, min(b + n, now) - max(b, first)) for b, n, a in found if b <= now)
        assert account_.used(now * HOUR)[KEY].used == expected


@given(spans)
@settings(max_examples=100, deadline=None)
def test_past_use_kept_by_events_equals_past_use_added_up_afterwards(found: list[tuple[int, int, int]]) -> None:
    live, again = PastUse(2, 5 * HOUR), PastUse(2, 5 * HOUR)
    changes = sorted(
        [(begin, amount) for begin, _, amount in found] + [(begin + length, -amount) for begin, length, amount in found]
    )
    for now, amount in changes:
        live.change((1, 0), 1000 * amount, now * HOUR)
        live.faded(now * HOUR)  # looking changes nothing
    for begin, length, amount in found:
        again.add((1, 0), 1000 * amount, begin * HOUR, (begin + length) * HOUR)
    assert np.array_equal(live.faded(60 * HOUR), again.faded(60 * HOUR))


@given(spans, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_past_use_is_the_same_in_whatever_order_it_is_told(found: list[tuple[int, int, int]], random: Random) -> None:
    """After a restart jobs are read one after the other, whenever each of them began."""
    one, other = PastUse(2, 5 * HOUR), PastUse(2, 5 * HOUR)
    for account_, told in ((one, found), (other, random.sample(found, len(found)))):
        for begin, _, amount in told:
            account_.change((1, 0), 1000 * amount, begin * HOUR)
    assert np.array_equal(one.faded(60 * HOUR), other.faded(60 * HOUR))


def test_past_use_counts_half_after_its_half_life():
    past = PastUse(2, 10 * HOUR)
    past.add((1, 0), 4000, 100 * HOUR, 101 * HOUR)
    soon, late = past.faded(103 * HOUR)[1], past.faded(113 * HOUR)[1]
    assert soon == pytest.approx(4.0 * 2**-0.25, rel=0.01)
    assert late == pytest.approx(soon / 2, rel=1e-9)


def test_who_used_less_for_its_weight_borrows_first_among_siblings():
    parent = (-1, 0, 0, 1, 1)
    turn = borrow_order(np.array([9.0, 6.0, 3.0, 5.0, 1.0]), (1.0, 3.0, 1.0, 1.0, 1.0), parent)
    assert turn.tolist() == [0, 1, 4, 3, 2]


def test_worth_follows_the_jobs_own_rates_and_else_compute_units():
    measured = Work(
        measured=(Measured(accelerator="h20-96", count=1, rate=2.0), Measured(accelerator="h200", count=1, rate=9.0))
    )
    assert h20_equivalents(measured, (Chosen("h200", 1),), CATALOG) == pytest.approx(4.5)
    assert h20_equivalents(Work(), (Chosen("h20-96", 1), Chosen("nothing", 3)), CATALOG) == pytest.approx(1.0)


def table(*quotas: Quota) -> Table:
    tree = Tenants(tenants=(Tenant(name="red", quotas=quotas), Tenant(name="blue")))
    return Table(configured(cluster([pool("h200", 2, 4)]), tree, QUICK))


def preempted(at: Table):
    """A job that did 40 of its 100 steps, kept 30, and was preempted after 10 s."""
    victim = at.submit(job("victim", *options(h200=8), job_class=JobClass.OPPORTUNISTIC, labels={"project": "x"}))
    at.run_all(victim)
    at.later(10)
    at.progress(victim, done=40, saved=30)
    at.submit(job("asks", *options(h200=8)))
    at.decide()
    at.end(victim, AttemptEnd.PREEMPTED)
    return victim


def test_work_lost_to_our_own_preemption_is_not_charged():
    at = table()
    victim = preempted(at)
    attempt = victim.attempts[0]
    assert attempt.stop is StopCause.PREEMPT
    assert lost_us(attempt) == round(2.5 * S)
    use = account(at.state, ("project",), 0, at.now_us)[("x",)].hours()
    assert use["device_hours"] == pytest.approx(8 * 7.5 / 3600, abs=1e-6)
    assert use["lost_device_hours"] == pytest.approx(8 * 2.5 / 3600, abs=1e-6)


def test_what_somebody_else_stopped_is_charged_in_full():
    at = table()
    work = at.submit(job("w", *options(h200=8)))
    at.run_all(work)
    at.later(10)
    at.progress(work, done=40, saved=0)
    at.end(work, AttemptEnd.LOST)
    assert lost_us(work.attempts[0]) == 0


def test_idle_use_is_charged_less():
    at = table()
    at.run_all(at.submit(job("idle", *options(h200=4), job_class=JobClass.OPPORTUNISTIC)))
    at.run_all(at.submit(job("firm", *options(h200=4))))
    at.later(3600)
    used = account(at.state, ("user", "accelerator"), 0, at.now_us)[("ann", "h200")].hours()
    assert (used["device_hours"], used["compute_unit_hours"]) == (8.0, 4 * 6 * 1.5)


def test_money_is_that_of_the_price_book_when_granted():
    rules = Rules(prices=(Price(of="h200", from_us=0, fen_per_device_hour=1000),))
    at = Table(configured(cluster([pool("h200", 1, 4)])))
    at.tell(msgspec.structs.replace(at.config, rules=rules))
    at.run_all(at.submit(job("paid", *options(h200=2))))
    at.later(1800)
    assert account(at.state, ("tenant",), 0, at.now_us)[("red",)].hours()["cost_cny"] == pytest.approx(10.0)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([1, 2, 4]), st.booleans()), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_accounts_survive_restarts_and_changes_of_quota(steps: list[tuple[int, int, bool]]) -> None:
    budget = Quota(resource="h200", budget=10**9, budget_period_us=10**12)
    at = table(budget)
    for number, (hours, count, ends) in enumerate(steps):
        at.later(3600 * hours)
        at.submit(job(f"j{number}", *options(h200=count)))
        at.decide()
        for held in list(at.state.holding()):
            if ends:
                at.up(held)
                at.end(held)
    at.later(100)
    restarted = decode(encode(at.state))
    changed = State.from_image(at.state.image())
    Engine(changed).fold(at.config, at.now_us)
    for other in (restarted, changed):
        assert other.accounts.budgets.used(at.now_us) == at.state.accounts.budgets.used(at.now_us)
        assert np.array_equal(other.accounts.past.faded(at.now_us), at.state.accounts.past.faded(at.now_us))
