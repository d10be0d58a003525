"""One option or none for each job: never beyond the rows, as good as said, and the same for the same problem."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.policies import rounding
from scheduler.policies.assignment import NONE, Assignment, Solution, solve
from scheduler.policies.branching import branched
from scheduler.policies.exact import exact
from scheduler.policies.relaxed import Relaxed

Job = list[tuple[float, dict[int, int]]]
"""Options of a job: utility, and the amount of each row."""


def problem(jobs: list[Job], available: list[int]) -> Assignment:
    options = [option for job in jobs for option in job]
    uses = [sorted(use.items()) for _, use in options]
    return Assignment(
        ptr=np.cumsum([0, *map(len, jobs)]).astype(np.int64),
        utility=np.array([utility for utility, _ in options], dtype=np.float64),
        use_ptr=np.cumsum([0, *map(len, uses)]).astype(np.int64),
        use_row=np.array([row for use in uses for row, _ in use], dtype=np.int64),
        use_amount=np.array([amount for use in uses for _, amount in use], dtype=np.int64),
        available=np.array(available, dtype=np.int64),
    )


def relaxed(given: Assignment) -> Relaxed:
    return Relaxed(given.ptr, given.utility, given.use_ptr, given.use_row, given.use_amount, given.available)


def usage(jobs: list[Job], given: Assignment, solution: Solution) -> list[int]:
    used = [0] * len(given.available)
    flat = [option for job in jobs for option in job]
    for option in solution.option.tolist():
        for row, amount in flat[option][1].items() if option != NONE else ():
            used[row] += amount
    return used


def best_of_all(jobs: list[Job], available: list[int]) -> float:
    """Every combination, one by one."""
    best = 0.0
    for chosen in itertools.product(*[[(0.0, {}), *job] for job in jobs]):
        used = [sum(use.get(row, 0) for _, use in chosen) for row in range(len(available))]
        if all(u <= a for u, a in zip(used, available, strict=True)):
            best = max(best, sum(utility for utility, _ in chosen))
    return best


def option(rows: int) -> st.SearchStrategy[tuple[float, dict[int, int]]]:
    use = st.dictionaries(st.integers(0, rows - 1), st.integers(1, 4), min_size=1, max_size=2)
    return st.tuples(st.floats(0, 10).map(lambda v: round(v, 3)), use)


tiny = st.integers(1, 3).flatmap(
    lambda rows: st.tuples(
        st.lists(st.lists(option(rows), min_size=0, max_size=3), min_size=1, max_size=5),
        st.lists(st.integers(0, 8), min_size=rows, max_size=rows),
    )
)


@settings(max_examples=300, deadline=None)
@given(tiny)
def test_tiny_problems_are_solved_to_the_optimum_and_their_bound_holds(drawn: tuple[list[Job], list[int]]) -> None:
    jobs, available = drawn
    given_problem = problem(jobs, available)
    solution, best = solve(given_problem), best_of_all(jobs, available)
    assert all(u <= a for u, a in zip(usage(jobs, given_problem, solution), available, strict=True))
    assert solution.value == pytest.approx(best, rel=1e-4, abs=1e-9)
    assert solution.bound >= best - 1e-9 * max(1.0, best)
    assert exact(relaxed(given_problem)).bound == pytest.approx(best, rel=1e-6, abs=1e-6)
    assert {type(solution.value), type(solution.bound), type(solution.gap)} == {float}, "a plan is written down"


@settings(max_examples=100, deadline=None)
@given(tiny, st.integers(0, 2), st.integers(1, 3))
def test_more_of_a_row_never_lowers_the_optimum(drawn: tuple[list[Job], list[int]], row: int, more: int) -> None:
    jobs, available = drawn
    row %= len(available)
    roomier = [a + more * (i == row) for i, a in enumerate(available)]
    before, after = exact(relaxed(problem(jobs, available))), exact(relaxed(problem(jobs, roomier)))
    assert after.bound >= before.bound - 1e-6


@settings(max_examples=100, deadline=None)
@given(tiny)
def test_a_negative_amount_makes_room_that_is_never_overdrawn(drawn: tuple[list[Job], list[int]]) -> None:
    """Row 0 counts imported use less its share of all use: domestic options give to it."""
    jobs, available = drawn
    mixed = [[(u + 0.001, {**use, 0: -1 if i % 2 else 2}) for i, (u, use) in enumerate(job)] for job in jobs]
    given_problem = problem(mixed, available)
    solution = solve(given_problem)
    assert all(u <= a for u, a in zip(usage(mixed, given_problem, solution), available, strict=True))
    assert solution.value <= best_of_all(mixed, available) + 1e-6 <= solution.bound + 2e-6


def crowd(jobs: int, options: int, rows: int, seed: int = 0) -> tuple[list[Job], list[int]]:
    draw = np.random.default_rng(seed)
    made = [
        [(float(draw.random()), {int(draw.integers(rows)): int(draw.integers(1, 9))}) for _ in range(options)]
        for _ in range(jobs)
    ]
    return made, [jobs] * rows


def test_equal_problems_give_equal_solutions_and_a_warm_start_changes_no_claim() -> None:
    jobs, available = crowd(200, 3, 3)
    first, again = solve(problem(jobs, available)), solve(problem(jobs, available))
    assert first.option.tobytes() == again.option.tobytes()
    assert first.prices.tobytes() == again.prices.tobytes()
    warm = solve(problem(jobs, available), warm_prices=first.prices, warm_option=first.option)
    assert warm.value >= first.value - 1e-9
    assert warm.gap <= 1e-4


def test_the_order_of_jobs_does_not_matter_where_no_two_are_equal() -> None:
    jobs, available = crowd(60, 3, 2)
    order = np.random.default_rng(1).permutation(len(jobs))
    plain, shuffled = solve(problem(jobs, available)), solve(problem([jobs[i] for i in order], available))
    assert shuffled.value == pytest.approx(plain.value, rel=1e-4)


def test_gangs_on_a_small_pool_are_packed_to_the_optimum() -> None:
    draw = np.random.default_rng(3)
    sizes = draw.choice([8, 16, 32], 60)
    jobs: list[Job] = [[(float(draw.random() * size), {0: int(size)})] for size in sizes]
    solution = solve(problem(jobs, [64]))
    assert solution.value == pytest.approx(exact(relaxed(problem(jobs, [64]))).bound, rel=1e-6)


@pytest.mark.parametrize("alike", [False, True])
def test_a_thousand_quota_rows_are_priced_without_being_overdrawn(alike: bool) -> None:
    draw = np.random.default_rng(4)
    worth = [[float(draw.random())] * 3 if alike else draw.random(3).tolist() for _ in range(3000)]
    jobs: list[Job] = [
        [(worth[i][kind], {kind: 1, 3 + int(i % 300) * 3 + kind: 1}) for kind in range(3)] for i in range(3000)
    ]
    available = [500, 500, 500] + [3] * 900
    given_problem = problem(jobs, available)
    solution = solve(given_problem, polish=False)
    assert all(u <= a for u, a in zip(usage(jobs, given_problem, solution), available, strict=True))
    assert 0 <= solution.gap < (0.02 if alike else 0.001)


def test_without_competition_every_job_has_its_best_option_and_nothing_has_a_price() -> None:
    solution = solve(problem([[(1.0, {0: 1}), (2.0, {1: 1})], [(1.0, {0: 1})]], [5, 5]))
    assert solution.option.tolist() == [1, 2]
    assert solution.prices.tolist() == [0.0, 0.0]
    assert (solution.gap, solution.stopped) == (0.0, "bound")


def test_what_is_worth_nothing_is_never_taken() -> None:
    assert solve(problem([[(0.0, {0: 1}), (-1.0, {0: 1})], []], [5])).option.tolist() == [NONE, NONE]


def test_compiled_and_plain_loops_give_the_same_assignment(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, available = crowd(80, 3, 3, seed=5)
    compiled = solve(problem(jobs, available), polish=False)
    for name in (
        "_fits",
        "_take",
        "_fill",
        "_sound",
        "_swap",
        "_move",
        "_exchange",
        "_displace",
        "_best_that_fit",
        "_narrowest",
    ):
        function = getattr(rounding, name)
        monkeypatch.setattr(rounding, name, getattr(function, "py_func", function))
    assert solve(problem(jobs, available), polish=False).option.tobytes() == compiled.option.tobytes()


@pytest.mark.parametrize("rows", [3, 12])
def test_thousands_of_jobs_end_near_the_bound(rows: int) -> None:
    jobs, available = crowd(4500, 4, rows, seed=6)
    given_problem = problem(jobs, [a * 2 // rows for a in available])
    solution = solve(given_problem)
    used = usage(jobs, given_problem, solution)
    assert all(u <= a for u, a in zip(used, given_problem.available.tolist(), strict=True))
    assert solution.gap <= 5e-4


def test_the_exact_search_among_the_undecided_only_gains_and_proves_nothing() -> None:
    jobs, _ = crowd(1500, 3, 4, seed=8)
    plain = solve(problem(jobs, [700] * 4), polish=False)
    mended = solve(problem(jobs, [700] * 4))
    assert plain.value <= mended.value <= mended.bound
    assert mended.bound == pytest.approx(plain.bound)


def test_an_unchanged_problem_keeps_its_prices_and_assignment_where_they_were_near_enough() -> None:
    jobs, available = crowd(300, 3, 3, seed=9)
    first = solve(problem(jobs, available))
    again = solve(problem(jobs, available), warm_prices=first.prices, warm_option=first.option)
    assert again.option.tolist() == first.option.tolist()
    assert again.gap <= 1e-4


@settings(max_examples=100, deadline=None)
@given(tiny)
def test_the_depth_first_search_ends_at_the_best_and_its_bound_holds(drawn: tuple[list[Job], list[int]]) -> None:
    jobs, available = drawn
    given_relaxed, none = relaxed(problem(jobs, available)), np.full(len(jobs), NONE)
    best, usable = best_of_all(jobs, available), np.flatnonzero(np.isfinite(given_relaxed.utility))
    bound = float(given_relaxed.best(given_relaxed.utility)[0].sum())
    found = branched(given_relaxed, usable, none, given_relaxed.utility, bound, none, within=0.0)
    assert found is not None
    assert given_relaxed.value(found[0]) == pytest.approx(best, abs=1e-9)
    assert found[1] == pytest.approx(best, abs=1e-9)
    near = branched(given_relaxed, usable, none, given_relaxed.utility, bound, none, within=2.0)
    assert near is not None
    assert given_relaxed.value(near[0]) <= best + 1e-9 <= near[1] + 2e-9


def test_a_search_that_would_be_too_long_gives_up() -> None:
    jobs, _ = crowd(200, 3, 3, seed=2)
    given_relaxed, none = relaxed(problem(jobs, [100] * 3)), np.full(200, NONE)
    bound = float(given_relaxed.best(given_relaxed.utility)[0].sum())
    everything = np.arange(len(given_relaxed.utility))
    assert branched(given_relaxed, everything, none, given_relaxed.utility, bound, none, within=0.0) is None


def test_under_many_quotas_the_gap_is_below_one_percent() -> None:
    draw, tenants, kinds = np.random.default_rng(11), 40, 4
    jobs: list[Job] = []
    for i in range(4000):
        worth, row = float(draw.lognormal(0, 0.6)), kinds + i % tenants * kinds
        jobs.append(
            [
                (worth * float(draw.lognormal(0, 0.4)) * count**0.6, {kind: count, row + kind: count})
                for kind in range(kinds)
                for count in (1, 4, 16)
            ]
        )
    available = [3000] * kinds + draw.integers(40, 120, tenants * kinds).tolist()
    given_problem = problem(jobs, available)
    solution = solve(given_problem, gap=0.001)
    assert all(u <= a for u, a in zip(usage(jobs, given_problem, solution), available, strict=True))
    assert solution.gap < 0.01
