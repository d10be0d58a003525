"""Newton's method on the bound: down at each step, near the linear program's optimum, level for rows that are alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

from scheduler.policies import descent
from scheduler.policies.answers import rivals
from scheduler.policies.descent import descend
from scheduler.policies.dual import prices_for
from scheduler.policies.relaxed import Relaxed

seeds = st.integers(0, 10_000)


def drawn(seed: int, jobs: int, rows: int, scarce: float = 0.4) -> Relaxed:
    draw = np.random.default_rng(seed)
    count = 2 ** draw.integers(0, 4, jobs * rows)
    utility = draw.lognormal(0, 0.5, jobs * rows) * count**0.7
    available = np.full(rows, max(1, int(scarce * jobs * 4 / rows)))
    return Relaxed(
        np.arange(jobs + 1) * rows,
        utility,
        np.arange(jobs * rows + 1),
        np.tile(np.arange(rows), jobs),
        count,
        available,
    )


def in_cells(jobs: int, kinds: int, cells: int, seed: int) -> Relaxed:
    """Each kind is spread over cells of different sizes that are the same to every job."""
    draw, rows = np.random.default_rng(seed), kinds * cells
    size = draw.choice([1, 2, 4], jobs)
    utility = np.repeat(draw.lognormal(0, 0.6, (jobs, kinds)) * size[:, None], cells, axis=1)
    available = draw.integers(4, 12, rows) * jobs // (10 * rows) + 4
    pairs = jobs * rows
    return Relaxed(
        np.arange(jobs + 1) * rows,
        utility.ravel(),
        np.arange(pairs + 1),
        np.tile(np.arange(rows), jobs),
        np.repeat(size, rows),
        available,
    )


def fractional(relaxed: Relaxed) -> float:
    """The optimum over shares, by a general solver."""
    options, rows = len(relaxed.utility), len(relaxed.available)
    row = np.concatenate((relaxed.use_row, rows + relaxed.owner))
    column = np.concatenate((relaxed.used_by, np.arange(options)))
    amount = np.concatenate((relaxed.use_amount.astype(float), np.ones(options)))
    matrix = csr_matrix((amount, (row, column)), shape=(rows + relaxed.jobs, options))
    limit = np.concatenate((relaxed.available, np.ones(relaxed.jobs)))
    worth = np.where(np.isfinite(relaxed.utility), relaxed.utility, 0.0)
    return -float(linprog(-worth, A_ub=matrix, b_ub=limit, bounds=(0, 1), method="highs").fun)


@settings(max_examples=100, deadline=None)
@given(seeds, st.integers(0, 30), st.integers(1, 4))
def test_compiled_loops_and_arrays_find_the_same_rivals(seed: int, jobs: int, rows: int) -> None:
    relaxed, draw = drawn(seed, jobs, rows), np.random.default_rng(seed)
    utility = np.where(draw.random(len(relaxed.utility)) < 0.2, -np.inf, np.round(relaxed.utility, 1))
    uses = relaxed.use_ptr, relaxed.use_row, relaxed.use_amount
    prices = np.round(draw.random(rows), 1)
    one, other = (rivals(relaxed.ptr, utility, uses, prices, compiled=c) for c in (True, False))
    assert one[0] == pytest.approx(other[0], rel=1e-9, abs=1e-12)
    assert (one[1].tolist(), one[2].tolist()) == (other[1].tolist(), other[2].tolist())
    assert one[3] == pytest.approx(other[3], rel=1e-9, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 6))
def test_each_proposal_lowers_the_bound_and_tells_what_is_taken(seed: int, rows: int) -> None:
    relaxed = drawn(seed, 600, rows)
    found, _ = descend(relaxed, np.full(rows, 0.5), 40, 1e-6)
    bounds = [one.bound for one in found]
    assert bounds == sorted(bounds, reverse=True)
    for one in found:
        assert one.value == pytest.approx(relaxed.value(one.first), rel=1e-9)
        assert one.bound == pytest.approx(one.value + one.prices @ (relaxed.available - one.usage), rel=1e-9)


@pytest.mark.parametrize("rows", [1, 3, 12])
def test_many_jobs_on_few_rows_come_within_a_thousandth_in_some_passes(rows: int) -> None:
    relaxed = drawn(rows, 2000, rows)
    found, near = descend(relaxed, np.full(rows, 0.5), 60, 1e-5)
    assert near
    assert found[-1].bound == pytest.approx(fractional(relaxed), rel=1e-3)


def test_conjugate_gradients_lead_where_solving_at_once_does(monkeypatch: pytest.MonkeyPatch) -> None:
    relaxed = drawn(5, 3000, 8)
    dense, _ = descend(relaxed, np.full(8, 0.5), 40, 1e-6)
    monkeypatch.setattr(descent, "DENSE", 0)
    apart, _ = descend(relaxed, np.full(8, 0.5), 40, 1e-6)
    assert apart[-1].bound == pytest.approx(dense[-1].bound, rel=1e-5)


@pytest.mark.parametrize("cells", [4, 20])
def test_rows_that_are_the_same_to_every_job_have_one_price_and_the_bound_is_that_of_the_linear_program(
    cells: int,
) -> None:
    relaxed = in_cells(700, 3, cells, seed=cells)
    assert relaxed.alike().tolist() == np.repeat(np.arange(3) * cells, cells).tolist()
    found = prices_for(relaxed, None, 150, 1e-5)
    assert len(np.unique(found.prices)) == 3
    assert found.bound == pytest.approx(fractional(relaxed), rel=1e-4)


@settings(max_examples=50, deadline=None)
@given(seeds, st.integers(2, 6))
def test_rows_that_some_job_can_tell_apart_are_not_alike(seed: int, rows: int) -> None:
    relaxed = drawn(seed, 8, rows)
    assert relaxed.alike().tolist() == list(range(rows))


def test_a_bound_is_valid_and_close_where_whole_classes_of_jobs_and_rows_tie() -> None:
    draw, jobs = np.random.default_rng(4), 1500
    kind = np.tile(np.arange(3), jobs)
    tenant = np.repeat(np.arange(jobs) % 150, 3)
    row = np.stack((kind, 3 + tenant * 3 + kind), axis=1).ravel()
    pairs = jobs * 3
    available = np.array([250] * 3 + [3] * 450)
    utility = np.repeat(draw.random(jobs), 3)
    relaxed = Relaxed(
        np.arange(jobs + 1) * 3, utility, np.arange(pairs + 1) * 2, row, np.ones(2 * pairs, dtype=np.int64), available
    )
    found, best = prices_for(relaxed, None, 150, 1e-4), fractional(relaxed)
    assert best * (1 - 1e-9) <= found.bound <= best * 1.01


@pytest.mark.parametrize("tenants", [3, 40])
def test_rows_of_money_and_rows_of_devices_are_priced_alike(tenants: int) -> None:
    draw, jobs, kinds = np.random.default_rng(tenants), 2000, 3
    kind, tenant = np.tile(np.arange(kinds), jobs), np.repeat(draw.integers(0, tenants, jobs), kinds)
    size = np.repeat(2 ** draw.integers(0, 4, jobs), kinds)
    cost = size * np.array([10**9, 3 * 10**9, 5 * 10**8])[kind]
    budget = np.full(tenants, int(cost.sum() / tenants / kinds / 3))
    relaxed = Relaxed(
        np.arange(jobs + 1) * kinds,
        draw.lognormal(0, 0.5, jobs * kinds) * size**0.8,
        np.arange(jobs * kinds + 1) * 2,
        np.stack((kind, kinds + tenant), axis=1).ravel(),
        np.stack((size, cost), axis=1).ravel(),
        np.concatenate((np.full(kinds, jobs), budget)),
    )
    assert prices_for(relaxed, None, 150, 1e-4).bound == pytest.approx(fractional(relaxed), rel=1e-3)
