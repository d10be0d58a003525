"""Shares of time: as good as an exact linear program says, within the rows, with a bound that holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.policies.answers import hungriest, picks, taken
from scheduler.policies.exact_shares import lp_level
from scheduler.policies.kernels import costs, spend, spread, used
from scheduler.policies.shares import Shares, finish_time_fairness, makespan, max_min, max_total
from tests.support.share_problems import drawn_shares, fastest, loads, throughput

seeds = st.integers(0, 10_000)


@settings(max_examples=150, deadline=None)
@given(seeds, st.integers(1, 12), st.integers(1, 4), st.booleans())
def test_max_min_is_that_of_the_linear_program(seed: int, jobs: int, types: int, quotas: bool) -> None:
    problem = drawn_shares(seed, jobs, types, quotas)
    weight = np.random.default_rng(seed).uniform(0.5, 2, jobs)
    found = max_min(problem, weight)
    rows, _ = problem.rows()
    exact, _, _ = lp_level(rows, np.where(fastest(problem) > 0, weight, 0.0), np.zeros(jobs))
    assert found.level == pytest.approx(exact, rel=2e-5)
    assert found.bound >= exact * (1 - 1e-7)
    assert (loads(problem, found.share) <= 1 + 1e-12).all()
    able = fastest(problem) > 0
    assert (throughput(problem, found.share)[able] >= found.level * weight[able] * (1 - 1e-12)).all()


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_no_job_has_more_than_all_of_its_time(seed: int) -> None:
    problem = drawn_shares(seed, 20, 3, quotas=True)
    share = max_min(problem, np.ones(20)).share
    owner = np.repeat(np.arange(20), np.diff(problem.ptr))
    assert (share >= 0).all()
    assert (np.bincount(owner, weights=share, minlength=20) <= 1 + 1e-12).all()


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(0, 2))
def test_more_devices_never_lower_the_level(seed: int, kind: int) -> None:
    problem = drawn_shares(seed, 15, 3)
    more = problem.available.copy()
    more[kind] += 3
    roomier = Shares(problem.ptr, problem.speed, problem.use_ptr, problem.use_row, problem.use_amount, more)
    able = np.where(fastest(problem) > 0, 1.0, 0.0)  # a job that only now can run would lower it by rights
    assert max_min(roomier, able).bound >= max_min(problem, able).level * (1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 12))
def test_makespan_is_one_over_the_level_of_the_work_left(seed: int, jobs: int) -> None:
    problem = drawn_shares(seed, jobs, 3)
    left = np.random.default_rng(seed).uniform(10, 1000, jobs)
    able = fastest(problem) > 0
    found = makespan(problem, left)
    exact, _, _ = lp_level(problem.rows()[0], np.where(able, left, 0.0), np.zeros(jobs))
    assert found.level == pytest.approx(1 / exact, rel=2e-5)
    assert found.bound <= found.level
    assert (left[able] / throughput(problem, found.share)[able] <= found.level * (1 + 1e-9)).all()


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 12))
def test_finish_time_fairness_is_where_a_bisection_over_linear_programs_ends(seed: int, jobs: int) -> None:
    problem, draw = drawn_shares(seed, jobs, 3), np.random.default_rng(seed)
    able, speed = fastest(problem) > 0, fastest(problem)
    left = draw.uniform(10, 1000, jobs) * np.where(able, speed, 1.0)
    age, due = draw.uniform(0, 500, jobs), draw.uniform(500, 3000, jobs)
    found = finish_time_fairness(problem, left, age, due)
    if not able.any():
        assert not found.share.any()
        return
    rho = (age + left / np.maximum(throughput(problem, found.share), 1e-300))[able] / due[able]
    assert rho.max() == pytest.approx(found.level, rel=1e-9)
    low, high = 0.0, 1e6
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        room = middle * due - age
        meets = (room[able] > 0).all() and lp_level(
            problem.rows()[0], np.where(able, left / np.where(room > 0, room, 1.0), 0.0), np.zeros(jobs)
        )[0] >= 1
        low, high = (low, middle) if meets else (middle, high)
    assert found.level == pytest.approx(high, rel=5e-5)


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 12))
def test_the_total_has_a_bound_and_is_near_it(seed: int, jobs: int) -> None:
    problem = drawn_shares(seed, jobs, 3, quotas=True)
    found = max_total(problem, problem.speed)
    assert found.gap <= 1e-5
    assert (loads(problem, found.share) <= 1 + 1e-12).all()
    assert found.level == pytest.approx(float((problem.speed * found.share).sum()))


@settings(max_examples=100, deadline=None)
@given(seeds, st.integers(0, 30), st.integers(1, 5))
def test_compiled_loops_and_arrays_agree(seed: int, jobs: int, types: int) -> None:
    problem, draw = drawn_shares(seed, jobs, types, quotas=True), np.random.default_rng(seed)
    rows, _ = problem.rows()
    uses = rows.use_ptr, rows.use_row, rows.use_amount
    prices = np.where(draw.random(len(rows.available)) < 0.3, 0.0, draw.random(len(rows.available)))
    cost = costs(*uses, prices, compiled=True)
    assert cost == pytest.approx(costs(*uses, prices, compiled=False), rel=1e-9)
    demand, growth = fastest(problem) * draw.uniform(0, 1, jobs), draw.random(jobs)
    taken_, same_ = np.ones(len(prices)), np.ones(len(prices))
    one = spend((rows.ptr, rows.speed, cost), uses, demand, growth, taken_, compiled=True)
    other = spend((rows.ptr, rows.speed, cost), uses, demand, growth, same_, compiled=False)
    assert all(a == pytest.approx(b, rel=1e-9, abs=1e-12) for a, b in zip(one, other, strict=True))
    share = spread(rows.ptr, rows.speed, cost, demand, compiled=True)
    assert share == pytest.approx(spread(rows.ptr, rows.speed, cost, demand, compiled=False), rel=1e-9, abs=1e-12)
    assert throughput(problem, share) == pytest.approx(demand, rel=1e-9)
    gain, option = picks(rows.ptr, rows.speed, uses, prices, compiled=True)
    plain, same = picks(rows.ptr, rows.speed, uses, prices, compiled=False)
    assert (gain == pytest.approx(plain, rel=1e-9), option.tolist()) == (True, same.tolist())
    count, live = len(rows.available), rows.speed > 0
    most = hungriest(rows.ptr, live, uses, count, compiled=True)
    assert most.tolist() == hungriest(rows.ptr, live, uses, count, compiled=False).tolist()
    assert taken(uses, option, count, compiled=True).tolist() == taken(uses, option, count, compiled=False).tolist()
    load = used(*uses, share, len(rows.available), compiled=True)
    assert taken_ == pytest.approx(load, rel=1e-9, abs=1e-12)
    assert same_ == pytest.approx(load, rel=1e-9, abs=1e-12)
    assert load == pytest.approx(used(*uses, share, len(rows.available), compiled=False), rel=1e-9)


def test_equal_problems_give_equal_shares_and_warm_prices_save_rounds_only() -> None:
    problem = drawn_shares(7, 300, 4)
    first, again = max_min(problem, np.ones(300)), max_min(problem, np.ones(300))
    assert first.share.tobytes() == again.share.tobytes()
    warm = max_min(problem, np.ones(300), warm_prices=first.prices, rounds=12)
    assert warm.level == pytest.approx(first.level, rel=2e-5)
    assert warm.bound >= first.level


def test_a_price_is_above_zero_only_where_the_row_is_used_up() -> None:
    problem = drawn_shares(11, 200, 3)
    found = max_min(problem, fastest(problem))
    assert found.prices.max() > 0
    assert (loads(problem, found.share)[found.prices > 0.01 * found.prices.max()] > 0.99).all()


def test_jobs_that_can_run_nowhere_hold_nobody_up() -> None:
    problem = Shares(
        np.array([0, 1, 2, 2]),
        np.array([1.0, 1.0]),
        np.array([0, 1, 2]),
        np.array([0, 0]),
        np.array([1, 9]),
        np.array([1]),
    )
    found = max_min(problem, np.ones(3))
    assert found.level == pytest.approx(1.0)
    assert found.share.tolist() == [1.0, 0.0]


def test_a_negative_amount_is_refused() -> None:
    problem = Shares(*(np.array(a) for a in ([0, 1], [1.0], [0, 1], [0], [-1], [1])))
    with pytest.raises(ValueError, match="negative"):
        max_min(problem, np.ones(1))
