"""A gang that needs more victims than the storm guard allows is not locked out, and small jobs do not storm."""

from msgspec.structs import replace

from scheduler.model.lifecycle import JobState
from scheduler.model.tenants import JobClass
from tests.support.builders import QUICK, cluster, configured, job, options, pool, tenants
from tests.support.harness import Table


def full_of_small_jobs(most: int) -> Table:
    """Eight h200, each with an idle-time job; at most `most` victims a cycle."""
    policy = replace(QUICK, max_preemptions_per_cycle=most)
    table = Table(configured(cluster([pool("h200", 2, 4)]), tenants(red={}), policy))
    small = [table.submit(job(f"small-{n}", job_class=JobClass.OPPORTUNISTIC)) for n in range(8)]
    table.run_all(*small)
    table.later(10)
    return table


def test_one_gang_may_need_more_victims_than_the_guard_allows_and_gets_its_place():
    table = full_of_small_jobs(most=2)
    gang = table.submit(job("gang", *options(h200=6)))
    assert len(table.stops()) == 6
    for leaving in [j for j in table.state.jobs if j.state is JobState.STOPPING]:
        table.end(leaving)
    assert table.starts() == ["gang"]
    assert gang.state is JobState.STARTING


def test_of_two_such_gangs_the_second_waits_for_the_next_cycle():
    table = full_of_small_jobs(most=2)
    table.submit(job("first", *options(h200=4)))
    table.submit(job("second", *options(h200=4)))
    assert len(table.stops()) == 4
    table.later(1)
    assert len(table.stops()) == 4


def test_small_jobs_together_displace_no_more_than_the_guard_allows():
    table = full_of_small_jobs(most=2)
    for n in range(5):
        table.submit(job(f"new-{n}"))
    assert len(table.stops()) == 2


def test_a_gang_that_fits_without_victims_displaces_nobody():
    table = full_of_small_jobs(most=2)
    for ended in table.state.jobs[:4]:
        table.end(ended)
    table.submit(job("gang", *options(h200=4)))
    assert table.stops() == []
