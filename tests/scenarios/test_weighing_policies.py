"""Policies that weigh jobs, through the whole engine: who moves, who never does, and that a gang gets its turn."""

import msgspec
import pytest

from scheduler.model.jobs import Checkpoint, Measured, Moves, Work
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.reasons import ReasonCode
from scheduler.model.tenants import JobClass
from scheduler.model.workload import Arrival, Truth, Workload
from scheduler.policies import POLICIES, WALKS
from scheduler.simulator.simulate import simulate
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool
from tests.support.harness import Table

HOUR = 3600
PORTABLE = Checkpoint(path="c", save_us=S, restart_us=2 * S, portable=True)
EITHER = options(h200=1, h20_96=1)
WEIGHS = sorted(set(POLICIES) - WALKS)


def balanced(**more):
    return msgspec.structs.replace(QUICK, name="balanced", **more)


def table(h200: int = 1, h20: int = 1, **more) -> Table:
    return Table(configured(cluster([pool("h200", 1, h200), pool("h20-96", 1, h20)]), policy=balanced(**more)))


def work(hours: float, ratio: float) -> Work:
    """So many hours on an h20-96, `ratio` times as fast on an h200."""
    rates = (Measured(accelerator="h20-96", count=1, rate=1.0), Measured(accelerator="h200", count=1, rate=ratio))
    return Work(amount=hours * HOUR, measured=rates)


def decodes(name="decodes", **more):
    return job(name, *EITHER, work=work(6, 1.2), **{"moves": Moves.ANY, "checkpoint": PORTABLE, **more})


def trains(name="trains", **more):
    return job(name, *EITHER, work=work(24, 6.0), **{"moves": Moves.ANY, "checkpoint": PORTABLE, **more})


def accelerator(record):
    return record.attempt.allocation.chosen[0].accelerator


def test_a_job_that_loses_little_moves_for_one_that_gains_much():
    at = table()
    first = at.submit(decodes())
    at.run_all(first)
    assert accelerator(first) == "h200"
    at.later(60)
    at.progress(first, 72.0, 72.0)
    second = at.submit(trains())
    assert at.stops() == [("decodes", "resize")]
    at.end(first, AttemptEnd.PREEMPTED)
    at.decide()
    assert (accelerator(first), accelerator(second)) == ("h20-96", "h200")


@pytest.mark.parametrize("moves", [Moves.NEVER, Moves.SAME_ACCELERATOR, Moves.SAME_FAMILY])
def test_nobody_moves_farther_than_its_file_allows(moves):
    at = table()
    first = at.submit(decodes(moves=moves))
    at.run_all(first)
    at.later(60)
    second = at.submit(trains())
    assert at.stops() == []
    assert accelerator(second) == "h20-96"


def test_progress_that_no_other_device_can_read_stays_where_it_is():
    at = table()
    first = at.submit(decodes(checkpoint=Checkpoint(path="c", save_us=S, restart_us=S)))
    at.run_all(first)
    at.submit(trains())
    assert at.stops() == []


def test_nobody_moves_for_a_gain_that_its_restart_eats_up():
    at = table()
    first = at.submit(trains())
    at.run_all(first)
    slow = Checkpoint(path="c", save_us=60 * S, restart_us=2 * HOUR * S, portable=True)
    second = at.submit(decodes(checkpoint=slow))
    at.run_all(second)
    assert accelerator(second) == "h20-96"
    at.end(first)
    assert at.stops() == []


@pytest.mark.parametrize("name", WEIGHS)
def test_production_is_never_preempted_or_moved(name):
    fleet = cluster([pool("h200", 1, 1), pool("h20-96", 1, 1)])
    at = Table(configured(fleet, policy=msgspec.structs.replace(QUICK, name=name, round_us=60 * S)))
    held = at.submit(decodes(job_class=JobClass.PRODUCTION))
    at.run_all(held)
    for turn in range(5):
        at.later(600)
        at.submit(trains(f"t{turn}"))
        assert ("decodes", "resize") not in at.stops()
        assert held.state is JobState.RUNNING


@pytest.mark.parametrize("name", WEIGHS)
def test_nobody_is_preempted_before_its_minimum_run(name):
    policy = msgspec.structs.replace(QUICK, name=name, min_run_us=1_800 * S, round_us=60 * S)
    at = Table(configured(cluster([pool("h200", 1, 1)]), policy=policy))
    first = at.submit(job("first", work=work(99, 1.0)))
    at.run_all(first)
    at.later(1_700)
    at.submit(job("second", work=work(0.1, 1.0), priority=900))
    assert at.stops() == []


def test_an_outpriced_job_is_told_so():
    at = table(h20=1)
    jobs = [at.submit(job(f"j{i}", *options(h200=1))) for i in range(2)]
    at.decide()
    waits = next(j for j in jobs if j.state is JobState.WAITING)
    assert waits.reason.code is ReasonCode.OUTPRICED


def stream(policy, starve_after_us, singles=150):
    """Single-device jobs that keep four devices busy for a day, and a gang of four long work that comes early."""
    small = [
        Arrival(at_us=i * 600 * S, job=job(f"s{i}", work=work(0.6 + 0.1 * (i % 3), 1.0)), user="u")
        for i in range(singles)
    ]
    gang = job(
        "gang",
        *options(h200=4),
        work=Work(amount=HOUR * 4.0, measured=(Measured(accelerator="h200", count=4, rate=1.0),)),
    )
    arrivals = sorted([*small, Arrival(at_us=900 * S, job=gang, user="u")], key=lambda a: a.at_us)
    settings = msgspec.structs.replace(policy, starve_after_us=starve_after_us, min_run_us=1_800 * S)
    config = configured(cluster([pool("h200", 1, 4)]), policy=settings)
    found = simulate(config, Workload(name="stream", arrivals=tuple(arrivals)), digest=True)
    record = next(j for j in found.state.jobs if j.spec.name == "gang")
    return found, (record.attempts[0].allocated_us - record.submitted_us) / S


def test_a_gang_starts_within_the_bound_while_small_jobs_keep_coming():
    found, waited_s = stream(msgspec.structs.replace(QUICK, name="srpt"), 2 * HOUR * S)
    assert found.report.finished == 151
    assert waited_s <= 2 * HOUR + 5 * 4 * HOUR + 2 * HOUR  # the bound, five times its length, and a time to drain
    _, without_s = stream(msgspec.structs.replace(QUICK, name="srpt"), 10**9 * S)
    assert without_s > waited_s


@pytest.mark.parametrize("name", WEIGHS)
def test_a_simulation_is_a_function_of_its_input(name):
    first, second = (stream(msgspec.structs.replace(QUICK, name=name), 6 * HOUR * S, 25)[0] for _ in range(2))
    assert first.digest == second.digest
    assert first.report.finished == 26


def test_where_rounds_are_set_nobody_starts_or_moves_between_them():
    at = table(round_us=360 * S)
    at.later(10)
    first = at.submit(decodes())
    at.run_all(first)
    at.later(50)
    second = at.submit(trains())
    assert at.starts() == [] and second.reason.code is ReasonCode.BEHIND_IN_QUEUE
    assert at.plan.wake_us == 360 * S
    at.later(300)
    assert at.stops() == [("decodes", "resize")]
    at.later(1)
    at.end(first, AttemptEnd.PREEMPTED)
    assert sorted(at.starts()) == ["decodes", "trains"]  # seats given in the round, and the devices are free now


def test_the_place_that_a_job_moves_to_is_kept_for_it_while_it_stops():
    at = table()
    first = at.submit(decodes())
    at.run_all(first)
    at.later(60)
    at.submit(trains())
    assert at.stops() == [("decodes", "resize")]
    at.later(1)
    late = at.submit(job("late", *options(h20_96=1), work=work(99, 1.0)))
    assert at.starts() == [] and late.state is JobState.WAITING
    at.end(first, AttemptEnd.PREEMPTED)
    assert sorted(at.starts()) == ["decodes", "trains"]


@pytest.mark.parametrize("name", ["balanced", "srpt", "las", "deadline", "makespan"])
def test_a_job_without_a_checkpoint_runs_on_whatever_comes(name):
    fleet = cluster([pool("h200", 1, 1)])
    at = Table(configured(fleet, policy=msgspec.structs.replace(QUICK, name=name)))
    alone = at.submit(job("alone", *options(h200=1), work=work(99, 1.0)))
    at.run_all(alone)
    for turn in range(3):
        at.later(1800)
        at.submit(job(f"short-{turn}", *options(h200=1), work=work(0.1, 1.0), checkpoint=PORTABLE))
        assert at.stops() == []


def test_what_a_job_without_a_checkpoint_did_is_lost_and_done_again_when_it_is_reclaimed():
    done = job("lost", *options(h200=1), work=work(2, 1.0), job_class=JobClass.OPPORTUNISTIC)
    owner = job("owner", *options(h200=1), work=work(1, 1.0), job_class=JobClass.PRODUCTION)
    arrivals = (Arrival(at_us=0, job=done, user="u"), Arrival(at_us=HOUR * S, job=owner, user="u"))
    config = configured(cluster([pool("h200", 1, 1)]), policy=balanced())
    lost, owns = simulate(config, Workload(name="reclaim", arrivals=arrivals)).state.jobs
    assert [attempt.how for attempt in lost.attempts] == [AttemptEnd.PREEMPTED, AttemptEnd.EXITED]
    alone_us = 2 * HOUR * S  # an h200 is as fast as an h20 here
    assert lost.ended_us - owns.ended_us >= alone_us


def simulated(policy, *arrivals, devices=1):
    config = configured(cluster([pool("h200", 1, devices)]), policy=policy)
    return simulate(config, Workload(name="drawn", arrivals=arrivals))


def on_h200(name, hours, at_h=0.0, **more):
    spec = job(name, *options(h200=1), work=work(hours, 1.0), checkpoint=PORTABLE, moves=Moves.ANY)
    return Arrival(at_us=int(at_h * HOUR) * S, job=spec, user="u", **more)


def test_a_long_job_that_has_almost_ended_counts_as_short():
    srpt = msgspec.structs.replace(QUICK, name="srpt")
    long, short = simulated(srpt, on_h200("long", 100.0), on_h200("short", 1.0, at_h=99.5)).state.jobs
    assert len(long.attempts) == 1 and long.ended_us < short.ended_us


@pytest.mark.parametrize(("hours", "leaves"), [(3.0, False), (1.0, True)])
def test_a_job_past_what_it_declared_counts_as_having_a_fiftieth_of_it_left(hours, leaves):
    srpt = msgspec.structs.replace(QUICK, name="srpt")
    wrong = on_h200("wrong", 100.0, truth=Truth(amount=120.0 * HOUR))
    long, _ = simulated(srpt, wrong, on_h200("other", hours, at_h=101.0)).state.jobs
    assert (long.attempts[0].how is AttemptEnd.PREEMPTED) == leaves


def test_jobs_that_all_came_at_once_end_no_later_for_a_bound_on_waiting_that_their_makespan_passes():
    """The short ones are overdue long before the end, and would all run beside the long one's device, then in it."""
    makespan = msgspec.structs.replace(QUICK, name="makespan", starve_after_us=HOUR * S, min_run_us=0)
    short = [on_h200(f"short-{number}", 0.25) for number in range(156)]
    found = simulated(makespan, on_h200("long", 40.0), *short, devices=2)
    assert found.report.makespan_s == pytest.approx(40 * HOUR, rel=1e-3)
