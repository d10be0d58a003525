"""How long jobs wait where all are to end as soon as they can: no longer than the program said when they came."""

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.policies import NONE, POLICIES
from tests.support.problems import H200, HOUR, places, problem

DAY = 24 * HOUR
makespan = POLICIES["makespan"]


def one_device(left_h, age_h, carried, **more):
    """Jobs of one device, by what they have left, all as old, on one device."""
    jobs = [{"options": [{H200: 1}], "left_s": left * HOUR, "age_s": age_h * HOUR} for left in left_h]
    return problem(jobs, [1, 0], carried=carried, **more)


def test_a_short_job_waits_beyond_the_bound_as_long_as_it_was_told_that_all_would_take():
    carried = dict(makespan(one_device([200, 1], 0, {})).carry)
    of = one_device([11, 1], 190, carried)
    assert places(makespan(of), of)[1] == NONE
    unpromised = one_device([11, 1], 190, {"seen": 1.0})
    assert places(makespan(unpromised), unpromised) == [NONE, 0]


def test_past_what_it_was_told_a_short_job_goes_first_whatever_came_since():
    carried = dict(makespan(one_device([200, 1], 0, {})).carry)
    later = dict(makespan(one_device([150, 1, 300], 50, carried)).carry)  # told another end; the others keep theirs
    of = one_device([140, 1, 200], 210, later)
    assert places(makespan(of), of) == [NONE, 0, NONE]


def test_where_all_end_within_the_bound_nobody_waits_for_a_promise():
    assert dict(makespan(one_device([100, 1], 0, {})).carry) == {"seen": 1.0}


def test_promises_of_those_who_are_gone_are_forgotten():
    carried = dict(makespan(one_device([200, 1], 0, {})).carry)
    jobs = [{"options": [{H200: 1}], "number": 2, "left_s": 900 * HOUR, "age_s": 0.0}]
    found = makespan(problem(jobs, [1, 0], carried=carried))
    assert sorted(found.carry) == ["due:2", "seen"]


def test_jobs_that_nothing_can_run_are_told_no_end():
    of = problem([{"options": [{H200: 4}], "left_s": 400 * HOUR}], [1, 0])
    assert dict(makespan(of).carry) == {"seen": 0.0}


@given(st.lists(st.tuples(st.floats(1.0, 400.0), st.integers(0, 12)), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_no_promise_of_an_older_job_changes_however_many_come_later(drawn):
    """Jobs by hours left, each so many half days after the one before; nothing ends meanwhile."""
    jobs, carried, now_s, told = [], {}, 0.0, {}
    for number, (left_h, gap) in enumerate(drawn):
        now_s += gap * DAY / 2
        jobs.append({"options": [{H200: 1}], "number": number, "left_s": left_h * HOUR, "came_s": now_s})
        aged = [{**job, "age_s": now_s - job["came_s"]} for job in jobs]
        of = problem(aged, [1, 0], carried=carried)
        of.submitted_us[:] = [int(job["came_s"] * 1e6) for job in jobs]
        carried = dict(makespan(of).carry)
        due = {int(name.removeprefix("due:")): end_s for name, end_s in carried.items() if name.startswith("due:")}
        assert {first: due[first] for first in told} == told
        assert all(first <= number and (end_s == 0.0 or end_s > now_s) for first, end_s in due.items() - told.items())
        told = due
