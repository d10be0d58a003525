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


EASE = 1e-7
"""Floors that are met to the last digit look infeasible to HiGHS."""


def level_by_level(
    problem: Shares, weight: np.ndarray, tree: TenantTree | None = None, ease: float = EASE
) -> np.ndarray:
    """Throughputs by one linear program a level, and one for each job to see whether it could still gain."""
    rows, _ = problem.rows()
    able = fastest(problem) > 0
    active, floor = able.copy(), np.zeros(len(weight))
    while active.any():
        weights = np.where(active, weight, 0.0) if tree is None else tree.split(weight, active)
        level, _, _ = lp_level(rows, weights, floor * (1 - ease))
        floor = np.maximum(floor, weights * level)
        for job in np.flatnonzero(active):
            alone = np.zeros(len(weight))
            alone[job] = 1.0
            eased = np.where(alone > 0, 0.0, floor * (1 - ease))
            active[job] = lp_level(rows, alone, eased)[0] > floor[job] * (1 + 1e-4) + 1e-9
    return floor


def filled_alike(problem: Shares, weight: np.ndarray, tree: TenantTree | None) -> bool:
    """Whether the levels are those of the linear programs, or hang on less than those can tell apart."""
    found, exact = water_filling(problem, weight, tree=tree), level_by_level(problem, weight, tree)
    assert (loads(problem, found.share) <= 1 + 1e-12).all()
    if throughput(problem, found.share) == pytest.approx(exact, rel=1e-3, abs=1e-9):
        return True
    return level_by_level(problem, weight, tree, 3 * EASE) != pytest.approx(exact, rel=1e-4, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(seeds, st.integers(1, 10), st.integers(1, 3), st.booleans())
def test_every_level_is_that_of_the_linear_programs(seed: int, jobs: int, types: int, quotas: bool) -> None:
    problem = drawn_shares(seed, jobs, types, quotas)
    weight = np.random.default_rng(seed).uniform(0.5, 2, jobs)
    assert filled_alike(problem, weight, None)


@settings(max_examples=80, deadline=None)
@given(seeds, st.integers(1, 10), st.integers(1, 3))
def test_weights_are_split_down_the_tree_and_come_back_level_by_level(seed: int, jobs: int, types: int) -> None:
    problem, draw = drawn_shares(seed, jobs, types), np.random.default_rng(seed)
    tree = TenantTree(draw.integers(0, 4, jobs), np.array([-1, -1, 1, 1]), np.array([1.0, 2.0, 1.0, 3.0]))
    assert filled_alike(problem, np.ones(jobs), tree)


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


def in_two_layers(draw: np.random.Generator, jobs: int) -> TenantTree:
    parent = np.array([-1, -1, -1, 0, 0, 1, 1, 2])
    return TenantTree(draw.integers(0, len(parent), jobs), parent, np.array([1.0, 2.0, 3.0, 1.0, 2.0, 1.0, 3.0, 1.0]))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("layers", [0, 2])
def test_each_level_of_hundreds_of_jobs_is_that_of_a_linear_program(seed: int, layers: int) -> None:
    """What all keep and who goes on being given, the level is the greatest, and whoever pays for it ends."""
    jobs, draw = 300, np.random.default_rng(seed)
    problem, weight = drawn_shares(seed, jobs, 3), draw.uniform(0.5, 2, jobs)
    found = water_filling(problem, weight, tree=in_two_layers(draw, jobs) if layers else None)
    rows, _ = problem.rows()
    reached, ended = throughput(problem, found.share), np.zeros(jobs, dtype=bool)
    assert (loads(problem, found.share) <= 1 + 1e-12).all()
    for level in found.levels:
        exact, _, dual = lp_level(rows, level.weight, level.floor)
        assert level.level == pytest.approx(exact, rel=1e-5)
        assert level.bound >= exact * (1 - 1e-6)
        pays = dual * level.weight > 1e-6 * (dual * level.weight).sum()
        assert (level.through | ~pays)[level.weight > 0].all()
        assert (reached >= np.maximum(level.floor, level.level * level.weight) * (1 - 1e-4)).all()
        assert not (ended & level.through).any()
        ended |= level.through
    assert ended.tolist() == (fastest(problem) > 0).tolist()


@pytest.mark.parametrize(("seed", "jobs"), [(2339, 9), (180, 8)])
def test_floors_that_take_almost_all_there_is_do_not_end_the_search(seed: int, jobs: int) -> None:
    problem, draw = drawn_shares(seed, jobs, 3), np.random.default_rng(seed)
    tree = TenantTree(draw.integers(0, 4, jobs), np.array([-1, -1, 1, 1]), np.array([1.0, 2.0, 1.0, 3.0]))
    found = water_filling(problem, np.ones(jobs), tree=tree)
    assert (found.stopped, len(found.levels) > 1) == ("bound", True)
    assert filled_alike(problem, np.ones(jobs), tree)


def test_whoever_ends_at_a_level_could_gain_nothing_there() -> None:
    jobs, draw = 60, np.random.default_rng(5)
    problem = drawn_shares(5, jobs, 3)
    found = water_filling(problem, np.ones(jobs), tree=in_two_layers(draw, jobs))
    rows, _ = problem.rows()
    for level in found.levels:
        kept = np.maximum(level.floor, level.level * level.weight * (1 - 1e-7))
        for job in np.flatnonzero(level.through)[:5]:
            alone, others = np.zeros(jobs), np.where(np.arange(jobs) == job, 0.0, kept)
            alone[job] = 1.0
            assert lp_level(rows, alone, others)[0] <= kept[job] * (1 + 1e-2)
