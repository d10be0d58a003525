"""Water-filling: each level as a linear program says, weights that come back, nobody better off at no one's cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.policies.exact_shares import lp_level
from scheduler.policies.shares import Shares, max_min
from scheduler.policies.water_filling import TenantTree, water_filling
from tests.support.share_problems import drawn_shares, fastest, loads, throughput

seeds = st.integers(0, 10_000)


def level_by_level(problem: Shares, weight: np.ndarray, tree: TenantTree | None) -> np.ndarray:
    """Throughputs by one linear program a level, and one for each job to see whether it could still gain."""
    rows, _ = problem.rows()
    able = fastest(problem) > 0
    active, floor = able.copy(), np.zeros(len(weight))
    while active.any():
        weights = np.where(active, weight, 0.0) if tree is None else tree.split(weight, active)
        eased = floor * (1 - 1e-6)  # floors that are met to the last digit look infeasible to HiGHS
        level, _, _ = lp_level(rows, weights, eased)
        floor = np.maximum(floor, weights * level)
        for job in np.flatnonzero(active):
            alone = np.zeros(len(weight))
            alone[job] = 1.0
            eased = np.where(alone > 0, 0.0, floor * (1 - 1e-6))
            active[job] = lp_level(rows, alone, eased)[0] > floor[job] * (1 + 1e-4) + 1e-9
    return floor


@settings(max_examples=80, deadline=None)
@given(seeds, st.integers(1, 10), st.integers(1, 3), st.booleans())
def test_every_level_is_that_of_the_linear_programs(seed: int, jobs: int, types: int, quotas: bool) -> None:
    problem = drawn_shares(seed, jobs, types, quotas)
    weight = np.random.default_rng(seed).uniform(0.5, 2, jobs)
    found = water_filling(problem, weight)
    assert (loads(problem, found.share) <= 1 + 1e-12).all()
    assert throughput(problem, found.share) == pytest.approx(level_by_level(problem, weight, None), rel=1e-3, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(seeds, st.integers(1, 10), st.integers(1, 3))
def test_weights_are_split_down_the_tree_and_come_back_level_by_level(seed: int, jobs: int, types: int) -> None:
    problem, draw = drawn_shares(seed, jobs, types), np.random.default_rng(seed)
    tree = TenantTree(draw.integers(0, 4, jobs), np.array([-1, -1, 1, 1]), np.array([1.0, 2.0, 1.0, 3.0]))
    found = water_filling(problem, np.ones(jobs), tree=tree)
    exact = level_by_level(problem, np.ones(jobs), tree)
    assert (loads(problem, found.share) <= 1 + 1e-12).all()
    assert throughput(problem, found.share) == pytest.approx(exact, rel=1e-3, abs=1e-9)


def test_a_tenants_weight_is_shared_by_those_of_its_jobs_that_still_go_on() -> None:
    tree = TenantTree(np.array([0, 0, 1, 2]), np.array([-1, -1, 1]), np.array([1.0, 3.0, 2.0]))
    split = tree.split(np.ones(4), np.array([True, True, True, True]))
    assert split.tolist() == pytest.approx([0.5, 0.5, 1.0, 2.0])
    assert tree.split(np.ones(4), np.array([True, False, True, False])).tolist() == pytest.approx([1, 0, 3, 0])


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_the_first_level_is_the_max_min_level_and_nobody_falls_below_it(seed: int) -> None:
    problem, able = drawn_shares(seed, 40, 3), fastest(drawn_shares(seed, 40, 3)) > 0
    filled, level = water_filling(problem, np.ones(40)), max_min(problem, np.ones(40)).level
    assert throughput(problem, filled.share)[able].min() >= level * (1 - 1e-4)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_the_compiled_loops_fill_to_the_same_levels(seed: int) -> None:
    problem = drawn_shares(seed, 30, 3)
    one, other = (water_filling(problem, np.ones(30), compiled=c) for c in (True, False))
    assert throughput(problem, one.share) == pytest.approx(throughput(problem, other.share), rel=1e-4, abs=1e-9)


def test_equal_problems_are_filled_equally() -> None:
    problem = drawn_shares(3, 200, 4)
    assert water_filling(problem, np.ones(200)).share.tobytes() == water_filling(problem, np.ones(200)).share.tobytes()


def test_jobs_with_nothing_to_run_on_are_left_out() -> None:
    problem = Shares(*(np.array(a) for a in ([0, 1, 1], [2.0], [0, 1], [0], [1], [4])))
    found = water_filling(problem, np.ones(2))
    assert found.share == pytest.approx([1.0], rel=1e-5)
    assert (found.level, found.stopped) == (pytest.approx(2.0, rel=1e-5), "bound")
