"""Policies that walk in an order: who goes first, what stands in the way, and that the compiled walk is the same."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.policies import NONE, POLICIES, Choice, Problem, order_based
from scheduler.policies.order_based import fifo_best_type, priority

H200, H20, QUOTA = 0, 1, 2  # rows: two shelves and a limit


def problem(jobs, available, *, capacity_rows=2, resize_gain=0.1):
    """`jobs` are dicts: `options` a list of {row: amount}, and what differs from a waiting standard job."""
    ptr, use_ptr, rows, amounts, rates, ranks, opened = [0], [0], [], [], [], [], []
    for job in jobs:
        for place, uses in enumerate(job["options"]):
            rows += sorted(uses)
            amounts += [uses[row] for row in sorted(uses)]
            use_ptr.append(len(rows))
            ranks.append(job.get("rank", range(99))[place])
            rates.append(job.get("rate", [1.0] * 99)[place])
            opened.append(place not in job.get("closed", ()))
        ptr.append(len(use_ptr) - 1)
    held = [job.get("held", NONE) for job in jobs]
    current = [NONE if h == NONE else ptr[i] + h for i, h in enumerate(held)]
    flags = {name: [bool(job.get(name)) for job in jobs] for name in ("displaceable", "elastic", "resizable")}
    pinned = [
        h != NONE and not job.get("displaceable") and not job.get("resizable")
        for h, job in zip(held, jobs, strict=True)
    ]
    ints = {
        "number": range(len(jobs)),
        "job_class": [job.get("job_class", 1) for job in jobs],
        "priority": [job.get("priority", 500) for job in jobs],
        "submitted_us": [0] * len(jobs),
        "current": current,
        "ptr": ptr,
        "rank": ranks,
        "use_ptr": use_ptr,
        "use_row": rows,
        "use_amount": amounts,
        "available": available,
    }
    return Problem(
        **{name: np.array(values, dtype=np.int64) for name, values in ints.items()},
        **{name: np.array(values, dtype=np.bool_) for name, values in flags.items()},
        pinned=np.array(pinned, dtype=np.bool_),
        rate=np.array(rates, dtype=np.float64),
        open=np.array(opened, dtype=np.bool_),
        capacity_rows=capacity_rows,
        resize_gain=resize_gain,
        prices={},
    )


def places(found: Choice, of: Problem) -> list[int]:
    """The position among its own options that each job was given."""
    return [NONE if o == NONE else int(o - of.ptr[i]) for i, o in enumerate(found.option)]


def waiting(*options, **more):
    return {"options": list(options), **more}


def running(*options, held=0, **more):
    return {"options": list(options), "held": held, **more}


def test_the_first_to_arrive_gets_its_best_option_and_the_next_what_is_left():
    of = problem([waiting({H200: 4}, {H20: 4}), waiting({H200: 4}, {H20: 4})], [4, 8])
    assert places(fifo_best_type(of), of) == [0, 1]


def test_a_job_ranks_its_options_itself_whatever_their_order_in_the_file():
    of = problem([waiting({H200: 1}, {H20: 1}, rank=[1, 0])], [1, 1])
    assert places(fifo_best_type(of), of) == [1]


def test_a_closed_option_is_never_taken():
    of = problem([waiting({H200: 1}, {H20: 1}, closed=[0])], [1, 1])
    assert places(priority(of), of) == [1]


def test_a_large_job_that_finds_too_little_keeps_small_ones_behind_it_off_the_devices():
    of = problem([waiting({H200: 8}), waiting({H200: 1}), waiting({H20: 1})], [4, 4])
    found = fifo_best_type(of)
    assert places(found, of) == [NONE, NONE, 0]
    assert found.blocked_by.tolist() == [H200, NONE, NONE]  # the second was not looked at: the first has the claim


def test_a_job_that_only_its_quota_holds_back_claims_no_devices():
    of = problem([waiting({H200: 2, QUOTA: 2}), waiting({H200: 1})], [4, 0, 1])
    found = fifo_best_type(of)
    assert places(found, of) == [NONE, 0]
    assert found.blocked_by.tolist() == [QUOTA, NONE]


def test_of_a_limit_and_a_shelf_that_both_lack_the_limit_is_named():
    of = problem([waiting({H200: 4, QUOTA: 4})], [1, 0, 1])
    assert fifo_best_type(of).blocked_by.tolist() == [QUOTA]


@pytest.mark.parametrize(("first", "second"), [({"job_class": 0}, {}), ({"priority": 700}, {})])
def test_class_goes_before_priority_and_priority_before_arrival(first, second):
    of = problem([waiting({H200: 1}, **second), waiting({H200: 1}, **first)], [1, 0])
    assert places(priority(of), of) == [NONE, 0]


def test_a_higher_class_displaces_a_lower_one_under_priority_and_never_under_fifo():
    of = problem([running({H200: 2}, job_class=2, displaceable=True), waiting({H200: 2}, job_class=0)], [2, 0])
    assert places(priority(of), of) == [NONE, 0]
    assert places(fifo_best_type(of), of) == [0, NONE]


def test_of_equals_the_one_that_runs_stays():
    of = problem([waiting({H200: 2}), running({H200: 2}, displaceable=True)], [2, 0])
    assert places(priority(of), of) == [NONE, 0]


def test_what_may_not_be_displaced_stays_though_all_of_it_no_longer_fits():
    of = problem([running({H200: 2}, job_class=2), waiting({H200: 1}, job_class=0)], [1, 0])
    assert places(priority(of), of) == [0, NONE]


def test_an_elastic_job_starts_with_its_least_and_grows_into_what_others_left():
    sizes = [{H200: 1}, {H200: 2}, {H200: 4}]
    of = problem([waiting(*sizes, elastic=True, rate=[1, 2, 4], rank=[2, 1, 0]), waiting({H200: 1})], [4, 0])
    assert places(priority(of), of) == [1, 0]


def test_an_elastic_job_shrinks_so_that_another_starts():
    sizes = [{H200: 1}, {H200: 4}]
    held = running(*sizes, held=1, elastic=True, resizable=True, rate=[1, 4])
    of = problem([held, waiting({H200: 3})], [4, 0])
    assert places(priority(of), of) == [0, 0]


def test_an_elastic_job_does_not_grow_for_less_than_the_gain_that_pays_a_move():
    held = running({H200: 2}, {H200: 3}, elastic=True, resizable=True, rate=[1.0, 1.05])
    of = problem([held], [4, 0])
    assert places(priority(of), of) == [0]
    assert places(priority(dataclasses.replace(of, resize_gain=0.01)), of) == [1]


drawn_option = st.dictionaries(st.sampled_from([0, 1, 2, 3, 4]), st.integers(1, 4), min_size=1, max_size=4).filter(
    lambda uses: any(row < 2 for row in uses)
)


@st.composite
def drawn_problems(draw):
    jobs = []
    for _ in range(draw(st.integers(1, 8))):
        options = draw(st.lists(drawn_option, min_size=1, max_size=4))
        many = len(options)
        held = draw(st.sampled_from([NONE, NONE, *range(many)]))
        elastic = draw(st.booleans())
        jobs.append(
            {
                "options": options,
                "held": held,
                "rank": draw(st.permutations(range(many))),
                "rate": draw(st.lists(st.sampled_from([1.0, 1.05, 2.0, 4.0]), min_size=many, max_size=many)),
                "closed": draw(st.sets(st.integers(0, many - 1), max_size=1)),
                "job_class": draw(st.integers(0, 2)),
                "priority": draw(st.sampled_from([300, 500])),
                "displaceable": draw(st.booleans()),
                "elastic": elastic,
                "resizable": elastic and draw(st.booleans()),
            }
        )
    return problem(jobs, draw(st.lists(st.integers(0, 8), min_size=5, max_size=5)))


def used(of: Problem, options) -> np.ndarray:
    total = np.zeros(len(of.available), dtype=np.int64)
    for option in options:
        for place in range(of.use_ptr[option], of.use_ptr[option + 1]):
            total[of.use_row[place]] += of.use_amount[place]
    return total


@given(drawn_problems(), st.sampled_from(["priority", "fifo-best-type"]))
@settings(max_examples=300, deadline=None)
def test_what_starts_stays_within_every_row_and_a_pinned_job_keeps_what_it_has(of, name):
    found = POLICIES[name](of)
    given_ = found.option[found.option != NONE]
    total = used(of, given_.tolist())
    for job in np.flatnonzero((of.current == NONE) & (found.option != NONE)).tolist():
        rows = of.use_row[of.use_ptr[found.option[job]] : of.use_ptr[found.option[job] + 1]]
        assert (total[rows] <= of.available[rows]).all()
    assert (found.option[of.pinned] == of.current[of.pinned]).all()
    assert all(of.ptr[i] <= o < of.ptr[i + 1] for i, o in enumerate(found.option.tolist()) if o != NONE)
    assert all(of.open[o] or o == of.current[i] for i, o in enumerate(found.option.tolist()) if o != NONE)


@given(drawn_problems(), st.sampled_from(["priority", "fifo-best-type"]))
@settings(max_examples=300, deadline=None)
def test_the_compiled_walk_gives_the_same_choice_to_the_last_job(of, name):
    pytest.importorskip("numba")
    plain = POLICIES[name](of)
    before = order_based.WORTH_COMPILING
    order_based.WORTH_COMPILING = 0
    try:
        compiled = POLICIES[name](of)
    finally:
        order_based.WORTH_COMPILING = before
    assert compiled.option.tolist() == plain.option.tolist()
    assert compiled.blocked_by.tolist() == plain.blocked_by.tolist()
    assert compiled.order.tolist() == plain.order.tolist()
