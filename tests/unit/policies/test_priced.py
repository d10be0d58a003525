"""Policies that weigh jobs and options: who gets which devices, who keeps them, and who is not forgotten."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.model.jobs import Prefer
from scheduler.policies import ALWAYS, DEALS, NONE, POLICIES, WALKS
from tests.support.problems import H20, H200, HOUR, QUOTA, places, problem, used

BOTH = [{H200: 1}, {H20: 1}]
TRAINS, DECODES = [6.0, 1.0], [1.2, 1.0]
PRICED = sorted(set(POLICIES) - WALKS)


def test_the_faster_device_goes_to_the_job_that_loses_most_without_it():
    of = problem([{"options": BOTH, "rate": DECODES}, {"options": BOTH, "rate": TRAINS}], [1, 1])
    assert places(POLICIES["balanced"](of), of) == [1, 0]


def test_of_two_that_want_the_same_the_short_one_goes_first():
    of = problem([{"options": [{H200: 1}], "left_s": 9 * HOUR}, {"options": [{H200: 1}], "left_s": HOUR}], [1, 1])
    assert places(POLICIES["balanced"](of), of) == [NONE, 0]
    assert places(POLICIES["srpt"](of), of) == [NONE, 0]


def test_under_balanced_a_long_wait_outweighs_a_short_size_and_under_srpt_it_does_not():
    waited = {"options": [{H200: 1}], "left_s": 9 * HOUR, "age_s": 150 * HOUR}
    of = problem([waited, {"options": [{H200: 1}], "left_s": HOUR}], [1, 1])
    assert places(POLICIES["balanced"](of), of) == [0, NONE]
    assert places(POLICIES["srpt"](of), of) == [NONE, 0]


def test_the_operator_sets_how_much_size_and_age_count():
    waited = {"options": [{H200: 1}], "left_s": 9 * HOUR, "age_s": 150 * HOUR}
    of = problem([waited, {"options": [{H200: 1}], "left_s": HOUR}], [1, 1], q=0.0)
    assert places(POLICIES["balanced"](of), of) == [NONE, 0]
    of = problem(
        [{"options": [{H200: 1}], "left_s": 9 * HOUR, "age_s": 1.0}, waited], [1, 1], a=0.0, tau_us=3_600_000_000
    )
    assert places(POLICIES["balanced"](of), of) == [NONE, 0]


def test_under_balanced_a_long_job_at_its_end_weighs_as_one_with_a_fiftieth_of_itself_left():
    of = problem([{"options": [{H200: 1}], "left_s": 0.1 * HOUR}, {"options": [{H200: 1}], "left_s": HOUR}], [1, 1])
    assert places(POLICIES["balanced"](of), of) == [0, NONE]
    long = dataclasses.replace(of, whole_s=np.array([100 * HOUR, HOUR]))
    assert places(POLICIES["balanced"](long), long) == [NONE, 0]


def test_where_sizes_are_unknown_whoever_has_had_least_goes_first():
    had = {"options": [{H200: 1}], "left_s": np.inf, "attained_s": 9 * HOUR}
    new = {"options": [{H200: 1}], "left_s": np.inf}
    of = problem([had, new], [1, 1])
    for name in ("balanced", "srpt", "las"):
        assert places(POLICIES[name](of), of) == [NONE, 0]


def test_priority_orders_within_a_tenant_and_gains_nothing_against_others():
    low = {"options": [{H200: 1}], "left_s": HOUR, "priority": 100}
    high = {"options": [{H200: 1}], "left_s": 2 * HOUR, "priority": 900}
    of = problem([low, high], [1, 1])
    assert places(POLICIES["balanced"](of), of) == [NONE, 0]
    other = {**high, "tenant": 2}
    of = problem([low, other], [1, 1])
    assert places(POLICIES["balanced"](of), of) == [0, NONE]


def test_a_job_moves_for_a_gain_that_pays_for_it_and_stays_for_less():
    def of(gain, move_s):
        return problem([{"options": BOTH, "rate": [gain, 1.0], "held": 1, "move_s": move_s}], [1, 1])

    assert places(POLICIES["balanced"](of(1.1, 60.0)), of(1.1, 60.0)) == [1]
    assert places(POLICIES["balanced"](of(6.0, 60.0)), of(6.0, 60.0)) == [0]
    assert places(POLICIES["balanced"](of(1.1, 0.0)), of(1.1, 0.0)) == [0]
    assert places(POLICIES["balanced"](of(1.001, 0.0)), of(1.001, 0.0)) == [1]


def test_whoever_is_pinned_keeps_what_it_has():
    long = {"options": [{H200: 1}], "left_s": 99 * HOUR, "held": 0, "pinned": True}
    of = problem([long, {"options": [{H200: 1}], "left_s": 60.0}], [1, 1])
    assert all(places(POLICIES[name](of), of) == [0, NONE] for name in PRICED)


def test_a_better_class_takes_first_however_much_others_would_gain():
    slow = {"options": [{H200: 1}], "left_s": 99 * HOUR, "job_class": 0}
    of = problem([{"options": [{H200: 1}], "left_s": 60.0, "job_class": 2}, slow], [1, 1])
    assert places(POLICIES["balanced"](of), of) == [NONE, 0]


def test_services_come_before_work_that_ends():
    serves = {"options": [{H200: 1}], "left_s": np.inf, "service": True, "attained_s": 1e9}
    of = problem([{"options": [{H200: 1}], "left_s": 60.0}, serves], [1, 1])
    assert places(POLICIES["balanced"](of), of) == [NONE, 0]


def test_what_a_job_prefers_decides_between_its_own_options():
    listed = {"options": BOTH, "rate": TRAINS, "rank": [1, 0], "prefer": Prefer.LISTED}
    of = problem([listed], [1, 1])
    assert places(POLICIES["balanced"](of), of) == [1]


def test_a_job_without_an_option_is_told_the_row_that_is_too_dear_or_the_limit_that_is_full():
    of = problem([{"options": [{H200: 1}], "left_s": HOUR}, {"options": [{H200: 1}], "left_s": 9 * HOUR}], [1, 1])
    found = POLICIES["balanced"](of)
    assert found.blocked_by.tolist() == [NONE, H200] and found.prices[H200] > 0
    of = problem([{"options": [{H200: 2, QUOTA: 2}]}], [4, 0, 1])
    assert POLICIES["balanced"](of).blocked_by.tolist() == [QUOTA]


def test_throughput_cost_and_deadline_each_look_at_their_own():
    dear = {"options": BOTH, "rate": TRAINS, "cost": [60.0, 1.0]}
    of = problem([dear], [1, 1])
    assert places(POLICIES["throughput"](of), of) == [0]
    assert places(POLICIES["cost"](of), of) == [1]
    due = {"options": [{H200: 1}], "left_s": 9 * HOUR, "deadline_s": 10 * HOUR}
    of = problem([{"options": [{H200: 1}], "left_s": 60.0}, due], [1, 1])
    assert places(POLICIES["deadline"](of), of) == [NONE, 0]
    missed = {**due, "deadline_s": HOUR}
    of = problem([{"options": [{H200: 1}], "left_s": 60.0}, missed], [1, 1])
    assert places(POLICIES["deadline"](of), of) == [0, NONE]


def test_what_rules_add_can_make_the_slower_device_the_better_one():
    of = problem([{"options": BOTH, "rate": DECODES}], [1, 1])
    dear = dataclasses.replace(of, adders=np.array([0.5, 0.0]))
    assert places(POLICIES["balanced"](of), of) == [0]
    assert all(places(POLICIES[name](dear), dear) == [1] for name in ("balanced", "srpt", "las", "throughput"))


def gang_and(*others, **more):
    """A gang of four that has waited too long, one device of four held for another hour by who cannot be displaced."""
    gang = {"options": [{H200: 4}], "age_s": 100 * HOUR, "left_s": HOUR}
    held = {"options": [{H200: 1}], "held": 0, "pinned": True, "left_s": HOUR}
    return problem([gang, held, *others], [4, 0], starve_after_us=3_600_000_000, **more)


def test_devices_drain_to_a_gang_that_has_waited_too_long_and_others_fill_the_time_until_then():
    of = gang_and({"options": [{H200: 1}], "left_s": HOUR / 2}, {"options": [{H200: 1}], "left_s": 2 * HOUR})
    assert places(POLICIES["balanced"](of), of) == [NONE, 0, 0, NONE]


def test_without_the_bound_both_would_start():
    of = gang_and({"options": [{H200: 1}], "left_s": HOUR / 2}, {"options": [{H200: 1}], "left_s": 2 * HOUR})
    of = dataclasses.replace(of, age_s=np.zeros(4))
    assert places(POLICIES["balanced"](of), of) == [NONE, 0, 0, 0]


def test_a_gang_past_the_bound_takes_what_can_be_displaced():
    gang = {"options": [{H200: 4}], "age_s": 100 * HOUR, "left_s": 9 * HOUR}
    ones = [{"options": [{H200: 1}], "held": 0, "left_s": 600.0} for _ in range(4)]
    of = problem([gang, *ones], [4, 0], starve_after_us=3_600_000_000)
    assert places(POLICIES["balanced"](of), of) == [0] + [NONE] * 4
    young = dataclasses.replace(of, age_s=np.zeros(5))
    assert places(POLICIES["balanced"](young), young) == [NONE] + [0] * 4


def test_under_fifo_nobody_overtakes_who_waits_for_devices():
    big, small = {"options": [{H200: 4}]}, {"options": [{H20: 1}]}
    of = problem([big, small], [2, 2])
    assert places(POLICIES["fifo"](of), of) == [NONE, NONE]
    assert places(POLICIES["fifo-best-type"](of), of) == [NONE, 0]
    limited = {"options": [{H200: 1, QUOTA: 1}]}
    of = problem([limited, small], [2, 2, 0])
    assert places(POLICIES["fifo"](of), of) == [NONE, 0]


amounts = st.sampled_from([1, 1, 2, 4])
options = st.lists(
    st.dictionaries(st.sampled_from([H200, H20]), amounts, min_size=1, max_size=1), min_size=1, max_size=3
)
drawn_job = st.fixed_dictionaries(
    {"options": options, "job_class": st.integers(0, 2), "priority": st.integers(0, 3), "tenant": st.integers(1, 2)},
    optional={"left_s": st.floats(1.0, 1e6), "age_s": st.floats(0.0, 1e6), "deadline_s": st.floats(0.0, 1e6)},
)


@given(st.sampled_from(PRICED), st.lists(drawn_job, max_size=9), st.tuples(st.integers(0, 8), st.integers(0, 8)))
@settings(max_examples=150, deadline=None)
def test_no_policy_takes_more_than_there_is_or_leaves_what_a_waiting_job_could_use(name, jobs, available):
    of = problem(jobs, list(available))
    found = POLICIES[name](of)
    taken = used(found, of)
    assert all(t <= a for t, a in zip(taken, available, strict=True))
    left = [a - t for t, a in zip(taken, available, strict=True)]
    for index in np.flatnonzero(found.option == NONE).tolist():
        assert not any(left[r] >= need for o in jobs[index]["options"] for r, need in o.items())


@given(st.sampled_from(PRICED), st.lists(drawn_job, min_size=1, max_size=7), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_equal_problems_give_equal_choices(name, jobs, random):
    of = problem(jobs, [5, 5])
    first, second = POLICIES[name](of), POLICIES[name](problem([dict(job) for job in jobs], [5, 5]))
    assert first.option.tolist() == second.option.tolist() and first.prices == second.prices
    assert sorted(first.order.tolist()) == list(range(len(jobs)))


def rounds(name, jobs, available, count):
    """Rounds of six minutes in which what is chosen runs: how often each job had each option."""
    had = [[0] * len(job["options"]) for job in jobs]
    carried, held = {}, [NONE] * len(jobs)
    for turn in range(count):
        state = [{**job, "held": h, "age_s": 360.0 * turn} for job, h in zip(jobs, held, strict=True)]
        of = problem(state, available, carried=carried, round_us=360_000_000)
        found = POLICIES[name](of)
        held, carried = places(found, of), dict(found.carry)
        for index, place in enumerate(held):
            if place != NONE:
                had[index][place] += 1
    return had


def test_max_min_gives_two_jobs_of_one_device_half_of_the_time_each():
    had = rounds("max-min", [{"options": [{H200: 1}]}] * 2, [1, 0], 20)
    assert [h[0] for h in had] == pytest.approx([10, 10], abs=1)


def test_a_gang_gets_its_part_of_device_time():
    had = rounds("max-min", [{"options": [{H200: 4}]}, *[{"options": [{H200: 1}]}] * 4], [4, 0], 40)
    assert had[0][0] == pytest.approx(8, abs=2)
    assert all(h[0] == pytest.approx(32, abs=2) for h in had[1:])


def test_tenants_share_alike_under_the_hierarchy_however_many_jobs_each_has():
    jobs = [{"options": [{H200: 1}], "tenant": 1}, *[{"options": [{H200: 1}], "tenant": 2}] * 3]
    assert rounds("max-min-hierarchical", jobs, [1, 0], 36)[0][0] == pytest.approx(18, abs=2)
    assert rounds("max-min", jobs, [1, 0], 36)[0][0] == pytest.approx(9, abs=2)


def test_makespan_lets_the_longest_job_run_and_shorter_ones_fill():
    long, short = {"options": [{H200: 1}], "left_s": 9 * HOUR}, {"options": [{H200: 1}], "left_s": 3 * HOUR}
    of = problem([short, long, short, short], [2, 0])
    assert places(POLICIES["makespan"](of), of)[1] == 0
    # nobody is displaced for its length alone while the end comes no later for it
    held = {**short, "held": 0}
    of = problem([held, {**short, "left_s": 4 * HOUR}], [1, 0])
    assert places(POLICIES["makespan"](of), of) == [0, NONE]


def test_makespan_displaces_for_a_job_that_would_end_last():
    held = {"options": [{H200: 1}], "left_s": 1 * HOUR, "held": 0}
    of = problem([held, held, {"options": [{H200: 1}], "left_s": 9 * HOUR}], [2, 0])
    assert places(POLICIES["makespan"](of), of)[2] == 0


def test_makespan_takes_large_gangs_while_small_jobs_are_left_to_fill():
    small, gang = {"options": [{H200: 1}], "left_s": HOUR}, {"options": [{H200: 4}], "left_s": HOUR}
    of = problem([*[small] * 8, gang], [4, 0])
    assert places(POLICIES["makespan"](of), of) == [*[NONE] * 8, 0]


@pytest.mark.parametrize("name", sorted(DEALS - ALWAYS))
@pytest.mark.parametrize("why", [{"resumes": False}, {"move_s": 60.0, "ran_s": 1_000.0}])
def test_nobody_shares_its_time_who_would_lose_its_work_or_has_not_run_for_a_quantum(name, why):
    had = {"options": [{H200: 1}], "held": 0, "attained_s": 1e6, **why}
    of = problem([had, {"options": [{H200: 1}]}], [1, 0], carried={"0:0": -720.0, "1:0": 720.0})
    assert places(POLICIES[name](of), of) == [0, NONE]
    free = {**had, "resumes": True, "ran_s": 2_000.0}
    of = problem([free, {"options": [{H200: 1}]}], [1, 0], carried={"0:0": -720.0, "1:0": 720.0})
    assert places(POLICIES[name](of), of) == [NONE, 0]


@pytest.mark.parametrize("name", sorted(DEALS))
def test_shares_dealt_out_leave_no_device_idle(name):
    had = rounds(name, [{"options": BOTH, "rate": TRAINS}, {"options": BOTH, "rate": DECODES}], [1, 1], 10)
    assert sum(h[0] for h in had) == 10 and sum(h[1] for h in had) == 10
    assert had[0][0] > had[1][0]  # who gains most from the faster device has it for most of the time


@pytest.mark.parametrize("name", sorted(set(PRICED) - DEALS))
def test_who_would_lose_all_that_it_did_leaves_for_a_better_right_and_for_no_equal(name):
    runs = {"options": BOTH, "rate": TRAINS, "held": 0, "resumes": False, "left_s": 90 * HOUR, "attained_s": 9e6}
    short = {"options": [{H200: 1}], "left_s": HOUR, "deadline_s": 2 * HOUR, "age_s": 400 * HOUR}
    of = problem([runs, short], [1, 1])
    assert places(POLICIES[name](of), of) == [0, NONE]
    of = problem([runs, {**short, "job_class": 0}], [1, 1])
    assert places(POLICIES[name](of), of)[1] == 0


def test_those_who_lose_all_keep_what_a_better_right_leaves_one_by_one():
    runs = [{"options": [{H200: 1}], "held": 0, "resumes": False} for _ in range(3)]
    better = {"options": [{H200: 2}], "job_class": 0}
    of = problem([*runs, better], [3, 0])
    assert places(POLICIES["srpt"](of), of) == [0, NONE, NONE, 0]
