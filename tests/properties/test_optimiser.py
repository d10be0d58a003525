"""The optimiser against every assignment there is: never worse than the gap that it states, whatever order it is told.

All cases of at most two jobs on two types of at most three devices, and ten thousand drawn ones of five jobs on four
nodes of four devices, are compared with the best of all combinations.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.policies.assignment import NONE, Assignment, Solution, solve
from scheduler.policies.exact import exact
from scheduler.policies.relaxed import Relaxed

seeds = st.integers(0, 100_000)
NODES, DEVICES, JOBS, OPTIONS = 4, 4, 5, 4


def within(problem: Assignment, found: Solution) -> bool:
    """Whether nothing is overdrawn, and value, bound and gap say what they should."""
    used, value = np.zeros(len(problem.available), dtype=np.int64), 0.0
    for job, option in enumerate(found.option.tolist()):
        if option == NONE:
            continue
        assert problem.ptr[job] <= option < problem.ptr[job + 1]
        entry = slice(problem.use_ptr[option], problem.use_ptr[option + 1])
        np.add.at(used, problem.use_row[entry], problem.use_amount[entry])
        value += problem.utility[option]
    said = found.value == pytest.approx(value, rel=1e-9, abs=1e-9)
    gap = (found.bound - found.value) / found.bound if found.bound > 0 else 0.0
    return bool((used <= problem.available).all()) and said and found.gap == pytest.approx(gap, abs=1e-12)


def as_good_as_it_says(problem: Assignment, found: Solution, best: float) -> bool:
    """Whether the best of all lies between value and bound."""
    small = 1e-9 * max(best, 1.0)
    return within(problem, found) and found.value <= best + small and best <= found.bound + small


def two_by_two_by_three() -> Iterator[Assignment]:
    """Each job wants one count on one of two types, each at a utility of 0 to 2; each type has up to three devices."""
    kinds = [(count, worth) for count in (1, 2, 3) for worth in itertools.product(range(3), repeat=2)]
    crowds = [(one,) for one in kinds] + list(itertools.combinations_with_replacement(kinds, 2))
    for crowd in crowds:
        jobs, options = len(crowd), 2 * len(crowd)
        utility = np.array([worth for _, worths in crowd for worth in worths], dtype=np.float64)
        amount = np.repeat(np.array([count for count, _ in crowd]), 2)
        for devices in itertools.product(range(4), repeat=2):
            yield Assignment(
                np.arange(jobs + 1) * 2,
                utility,
                np.arange(options + 1),
                np.tile(np.arange(2), jobs),
                amount,
                np.array(devices),
            )


def best_of_all(problem: Assignment) -> float:
    best, jobs = 0.0, len(problem.ptr) - 1
    choices = [[NONE, *range(problem.ptr[job], problem.ptr[job + 1])] for job in range(jobs)]
    for chosen in itertools.product(*choices):
        left, worth = problem.available.tolist(), 0.0
        for option in chosen:
            if option != NONE:
                left[problem.use_row[option]] -= problem.use_amount[option]
                worth += problem.utility[option]
        if min(left) >= 0:
            best = max(best, worth)
    return best


def test_every_case_of_two_jobs_two_types_and_three_devices_is_solved_to_the_best() -> None:
    cases = 0
    for problem in two_by_two_by_three():
        best, found = best_of_all(problem), solve(problem)
        assert as_good_as_it_says(problem, found, best), problem
        assert found.value == pytest.approx(best, rel=1e-4), problem
        cases += 1
    assert cases == 405 * 16


def drawn(draw: np.random.Generator) -> Assignment:
    """Five jobs with four options each: some devices of one node, or of two; some of them held by others already."""
    options = JOBS * OPTIONS
    both = draw.random(options) < 0.4
    node = draw.integers(0, NODES, options)
    other = (node + draw.integers(1, NODES, options)) % NODES
    amount = draw.integers(1, DEVICES + 1, options)
    use_ptr = np.concatenate(([0], np.cumsum(1 + both)))
    row = np.empty(use_ptr[-1], dtype=np.int64)
    row[use_ptr[:-1]], row[use_ptr[:-1][both] + 1] = node, other[both]
    count = np.repeat(amount, 1 + both)
    utility = draw.integers(0, 12, options) + np.round(draw.random(options) * amount, 2)
    free = DEVICES - draw.integers(0, 2, NODES)
    return Assignment(np.arange(JOBS + 1) * OPTIONS, utility, use_ptr, row, count, free)


def best_of_drawn(problem: Assignment) -> float:
    """Over all combinations at once: 5 choices to the power of 5 jobs."""
    uses = np.zeros((len(problem.utility) + 1, NODES), dtype=np.int64)  # the last one is that of taking nothing
    used_by = np.repeat(np.arange(len(problem.utility)), np.diff(problem.use_ptr))
    np.add.at(uses, (used_by, problem.use_row), problem.use_amount)
    worth, taken = np.zeros(1), np.zeros((1, NODES), dtype=np.int64)
    values = np.append(problem.utility, 0.0)
    for job in range(JOBS):
        chosen = np.append(np.arange(problem.ptr[job], problem.ptr[job + 1]), -1)
        worth = (worth[:, None] + values[chosen]).ravel()
        taken = (taken[:, None, :] + uses[chosen]).reshape(-1, NODES)
        fits = (taken <= problem.available).all(axis=1)
        worth, taken = worth[fits], taken[fits]
    return float(worth.max())


def test_ten_thousand_drawn_cases_are_never_worse_than_the_gap_that_is_stated() -> None:
    draw = np.random.default_rng(20)
    for case, asked in zip(range(10_000), itertools.cycle((0.1, 0.05, 0.01)), strict=False):
        problem = drawn(draw)
        found = solve(problem, gap=asked, polish=case % 4 == 0)
        assert as_good_as_it_says(problem, found, best_of_drawn(problem)), case
        assert found.gap <= asked or found.stopped == "rounding", case


def roomier(problem: Assignment, row: int, more: int) -> Assignment:
    available = problem.available.copy()
    available[row] += more
    uses = problem.use_ptr, problem.use_row, problem.use_amount
    return Assignment(problem.ptr, problem.utility, *uses, available)


def under_quota(seed: int, jobs: int, tenants: int = 3, kinds: int = 2) -> Assignment:
    """Rows of devices, and one for each tenant and kind."""
    draw = np.random.default_rng(seed)
    options, kind = jobs * kinds, np.tile(np.arange(kinds), jobs)
    tenant = np.repeat(draw.integers(0, tenants, jobs), kinds)
    row = np.stack((kind, kinds + tenant * kinds + kind), axis=1).ravel()
    amount = np.repeat(np.repeat(draw.integers(1, 5, jobs), kinds), 2)
    available = np.concatenate((draw.integers(2, 9, kinds), draw.integers(0, 6, tenants * kinds)))
    utility = draw.lognormal(0, 0.6, options)
    return Assignment(np.arange(jobs + 1) * kinds, utility, np.arange(options + 1) * 2, row, amount, available)


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 8), st.integers(0, 7), st.integers(1, 4))
def test_more_devices_or_more_quota_never_lower_the_optimum_or_its_bound(
    seed: int, jobs: int, row: int, more: int
) -> None:
    problem = under_quota(seed, jobs)
    larger = roomier(problem, row, more)
    uses = problem.use_ptr, problem.use_row, problem.use_amount
    before, after = (exact(Relaxed(p.ptr, p.utility, *uses, p.available)) for p in (problem, larger))
    assert after.bound >= before.bound * (1 - 1e-6)
    assert solve(larger).bound >= before.bound * (1 - 1e-6)


def in_order(problem: Assignment, order: np.ndarray) -> tuple[Assignment, np.ndarray]:
    """The same jobs in another order, and the number that each option had."""
    count = np.diff(problem.ptr)[order]
    option = np.concatenate([np.arange(problem.ptr[i], problem.ptr[i + 1]) for i in order])
    entry = np.concatenate([np.arange(problem.use_ptr[o], problem.use_ptr[o + 1]) for o in option])
    use_ptr = np.concatenate(([0], np.cumsum(np.diff(problem.use_ptr)[option])))
    ptr = np.concatenate(([0], np.cumsum(count)))
    row, amount = problem.use_row[entry], problem.use_amount[entry]
    return Assignment(ptr, problem.utility[option], use_ptr, row, amount, problem.available), option


def crowd(seed: int, jobs: int, rows: int) -> Assignment:
    draw, options = np.random.default_rng(seed), 3 * jobs
    row, amount = draw.integers(0, rows, options), draw.integers(1, 9, options)
    utility = draw.lognormal(0, 0.5, options) * amount**0.8
    return Assignment(
        np.arange(jobs + 1) * 3, utility, np.arange(options + 1), row, amount, np.full(rows, 1 + jobs * 2 // rows)
    )


@pytest.mark.parametrize(("jobs", "rows"), [(6, 2), (60, 3), (900, 5), (3000, 4), (1500, 48)])
@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_order_of_the_jobs_each_of_them_gets_the_same(seed: int, jobs: int, rows: int) -> None:
    problem = crowd(seed, jobs, rows)
    order = np.random.default_rng(seed).permutation(jobs)
    shuffled, number = in_order(problem, order)
    plain, other = solve(problem), solve(shuffled)
    mapped = np.where(other.option == NONE, NONE, number[other.option])
    assert mapped.tolist() == plain.option[order].tolist()
    assert (other.value, other.bound) == (plain.value, plain.bound)
    assert other.prices.tolist() == plain.prices.tolist()


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 12), st.integers(1, 3))
def test_whatever_the_order_of_the_rows_the_plan_is_worth_the_same(seed: int, jobs: int, rows: int) -> None:
    problem = crowd(seed, jobs, rows)
    turn = np.random.default_rng(seed).permutation(rows)
    available = np.empty(rows, dtype=np.int64)
    available[turn] = problem.available
    uses = problem.use_ptr, turn[problem.use_row], problem.use_amount
    other = Assignment(problem.ptr, problem.utility, *uses, available)
    assert solve(other).value == pytest.approx(solve(problem).value, rel=1e-4)
