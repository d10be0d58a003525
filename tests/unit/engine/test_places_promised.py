"""Who waits for devices that others have to leave, and who may start meanwhile on what is idle of them."""

import msgspec
import pytest

from scheduler.model.events import JobAction
from scheduler.model.lifecycle import JobState
from scheduler.model.tenants import JobClass, Tenant, Tenants
from tests.support.builders import QUICK, cluster, configured, job, options, pool
from tests.support.harness import Table

FLEET = cluster([pool("h200", 2, 4)])
TREE = Tenants(tenants=(Tenant(name="red"),))


def leaving(*counts: int) -> Table:
    """Attempts of so many devices that have been told to stop; what they hold is free only once they have left."""
    table = Table(configured(FLEET, TREE, msgspec.structs.replace(QUICK, name="balanced")))
    held = [table.submit(job(f"held-{n}", *options(h200=count), tenant="red")) for n, count in enumerate(counts)]
    table.run_all(*held)
    assert all(j.state is JobState.RUNNING for j in held)
    for one in held:
        table.ask(one, JobAction.CANCEL)
    table.decide()
    assert all(j.state is JobState.STOPPING for j in held)
    return table


@pytest.mark.parametrize("singles", [1, 2, 3])
def test_a_gang_waits_for_the_node_that_becomes_free_whole_and_singles_start_on_the_idle_devices_of_the_other(singles):
    table = leaving(1, 4)  # either node has room for the gang once all have left; three devices are idle
    table.submit(job("gang", *options(h200=4), tenant="red", priority=500))
    for n in range(singles):
        table.submit(job(f"single-{n}", *options(h200=1), tenant="red", priority=100))
    assert table.starts() == [f"single-{n}" for n in range(singles)]
    for stopping in [j for j in table.state.jobs if j.state is JobState.STOPPING]:
        table.end(stopping)
    assert table.starts() == ["gang"]


def test_what_is_idle_of_a_promised_place_stays_so_where_the_gang_would_come_too_late_otherwise():
    table = leaving(1)
    table.run_all(table.submit(job("stays", *options(h200=4), tenant="red")))
    table.submit(job("gang", *options(h200=4), tenant="red"))
    table.submit(job("single", *options(h200=1), tenant="red", job_class=JobClass.OPPORTUNISTIC))
    assert table.starts() == []  # three devices are idle, and the gang needs them with the fourth
    table.end(table.state.jobs[0])
    assert table.starts() == ["gang"]


def test_one_that_would_fit_on_devices_that_are_idle_does_not_wait_for_those_that_are_not():
    table = leaving(3)
    table.submit(job("single", *options(h200=1), tenant="red"))
    assert table.starts() == ["single"]
