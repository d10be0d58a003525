"""Where moves are free they still have to be for something: nobody starts twice at one instant, and few start often."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.model.jobs import Checkpoint, Measured, Moves, Work
from scheduler.model.lifecycle import JobState
from scheduler.model.units import to_s
from scheduler.model.workload import Arrival, Workload
from scheduler.policies import DEALS, POLICIES, WALKS
from scheduler.simulator.simulate import simulate
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool

FREE = Checkpoint(path="c", save_us=0, restart_us=0, portable=True)
TYPES = ("h200", "h20-96", "h20-141")
WEIGHS = sorted(set(POLICIES) - WALKS - DEALS)
DEVICES = 8
ROUND_S = 360.0

gangs = st.tuples(
    st.sampled_from((1, 2, 4, 8)),
    st.floats(0.2, 30.0),  # hours on the best type
    st.tuples(*(st.floats(0.05, 1.0) for _ in TYPES)),  # speed on each
    st.floats(0.0, 3.0),  # hours since the arrival before
)


def config(name, **more):
    policy = msgspec.structs.replace(QUICK, name=name, max_preemptions_per_cycle=1_000_000, **more)
    return configured(cluster([pool(kind, DEVICES, 1) for kind in TYPES]), policy=policy)


def arrivals(drawn):
    now_s, found = 0.0, []
    for n, (count, hours, speeds, gap) in enumerate(drawn):
        rates = [
            Measured(accelerator=kind, count=count, rate=speed / max(speeds))
            for kind, speed in zip(TYPES, speeds, strict=True)
            if speed > 0
        ]
        spec = job(
            f"g{n}",
            *options(**{rate.accelerator.replace("-", "_"): count for rate in rates}),
            work=Work(amount=hours * 3600, measured=tuple(rates)),
            moves=Moves.ANY,
            checkpoint=FREE,
        )
        now_s += gap * 3600
        found.append(Arrival(at_us=round(now_s * S), job=spec, user="u"))
    return Workload(name="drawn", arrivals=tuple(found))


@pytest.mark.parametrize("name", WEIGHS)
@given(drawn=st.lists(gangs, min_size=4, max_size=24))
@settings(max_examples=12, deadline=None)
def test_nobody_starts_twice_at_one_instant_and_cycles_come_from_events(name, drawn):
    found = simulate(config(name), arrivals(drawn))
    assert all(job.state is JobState.SUCCEEDED for job in found.state.jobs)
    for record in found.state.jobs:
        began = [attempt.allocated_us for attempt in record.attempts]
        assert began == sorted(set(began))
    attempts = sum(len(record.attempts) for record in found.state.jobs)
    # an arrival, an end and each stop may ask for a cycle, and each may be followed by one that finds nothing to do
    assert found.report.cycles <= 2 * (2 * len(drawn) + 2 * attempts) + 10


@pytest.mark.parametrize("name", ["balanced", "srpt", "throughput", "cost"])
@given(drawn=st.lists(gangs, min_size=4, max_size=24))
@settings(max_examples=12, deadline=None)
def test_attempts_stay_within_a_few_for_each_arrival_and_end(name, drawn):
    found = simulate(config(name), arrivals(drawn))
    moved = sum(len(record.attempts) - 1 for record in found.state.jobs)
    assert moved <= 3 * 2 * len(drawn)


@given(drawn=st.lists(gangs, min_size=2, max_size=16))
@settings(max_examples=15, deadline=None)
def test_where_nothing_changes_nobody_moves(drawn):
    """Everything arrives at once and runs long: what is decided then stands until somebody ends."""
    long = [(count, 30.0 + hours, speeds, 0.0) for count, hours, speeds, _ in drawn]
    found = simulate(config("balanced"), arrivals(long), until_us=20 * 3600 * S)
    assert all(attempt.allocated_us == 0 for record in found.state.jobs for attempt in record.attempts)


@given(hours=st.lists(st.floats(0.1, 20.0), min_size=1, max_size=12), gang=st.sampled_from((1, 2, 4)))
@settings(max_examples=20, deadline=None)
def test_makespan_ends_equal_gangs_on_one_type_as_soon_as_any_schedule_could(hours, gang):
    """McNaughton (1959): devices that are never idle until then, or the longest job."""
    jobs = [(gang, length, (1.0, 0.0, 0.0), 0.0) for length in hours]
    found = simulate(config("makespan"), arrivals(jobs))
    last_h = max(to_s(record.ended_us) for record in found.state.jobs) / 3600
    bound_h = max(*hours, sum(hours) * gang / DEVICES)
    # turns are taken in rounds: the last of them may leave some with a round each that others have no share of
    assert last_h <= bound_h * 1.03 + 3 * ROUND_S / 3600


def test_makespan_runs_who_would_end_last_however_much_others_would_fill():
    long, wide = (1, 30.0, (1.0, 0.0, 0.0), 0.0), (8, 2.0, (1.0, 0.9, 0.0), 0.0)
    found = simulate(config("makespan"), arrivals([wide, wide, long]))
    assert [len(record.attempts) for record in found.state.jobs][2] == 1
    assert to_s(found.state.jobs[2].ended_us) == pytest.approx(30 * 3600)


@given(
    count=st.integers(2, 6),
    gang=st.sampled_from((1, 2)),
    speeds=st.tuples(*(st.floats(0.2, 1.0) for _ in TYPES)),
    devices=st.integers(1, 2),
)
@settings(max_examples=15, deadline=None)
def test_in_the_long_run_nobody_envies_an_equal_by_more_than_a_few_rounds(count, gang, speeds, devices):
    """Equal jobs under max-min: what each has done, as if on its best type, and what the others have."""
    rounds = 40
    fleet = cluster([pool(kind, devices * gang, 1) for kind in TYPES])
    policy = msgspec.structs.replace(QUICK, name="max-min", max_preemptions_per_cycle=1_000_000)
    found = simulate(
        configured(fleet, policy=policy),
        arrivals([(gang, 1000.0, speeds, 0.0)] * count),
        until_us=round(rounds * ROUND_S * S),
    )
    done_s = [sum(_done_s(attempt, rounds * ROUND_S) for attempt in record.attempts) for record in found.state.jobs]
    assert max(done_s) - min(done_s) <= 3 * ROUND_S
    if count <= 3 * devices:  # there is a place for everybody at all times
        assert min(done_s) >= min(speeds) / max(speeds) * (rounds - 2) * ROUND_S


def _done_s(attempt, until_s):
    end_s = until_s if attempt.ended_us is None else to_s(attempt.ended_us)
    return attempt.allocation.rate * (end_s - to_s(attempt.allocated_us))


@given(drawn=st.lists(gangs, min_size=4, max_size=20), wide=st.floats(1.0, 10.0))
@settings(max_examples=12, deadline=None)
def test_nobody_waits_past_the_bound_its_own_length_and_what_was_ahead(drawn, wide):
    """A gang of all devices of its only type under srpt: past the bound these drain to it."""
    bound_h = 6.0
    small = [(1, min(hours, 4.0), (1.0, 0.0, 0.0), gap / 8) for _, hours, _, gap in drawn * 4]
    found = simulate(
        config("srpt", starve_after_us=round(bound_h * 3600 * S)),
        arrivals([small[0], (DEVICES, wide, (1.0, 0.0, 0.0), 0.0), *small[1:]]),
    )
    gang = found.state.jobs[1]
    waited_h = (gang.attempts[0].allocated_us - gang.submitted_us) / S / 3600
    assert waited_h <= bound_h + 5 * wide + 4.0 + 1e-6  # the bound, five times its length, and the longest ahead of it
