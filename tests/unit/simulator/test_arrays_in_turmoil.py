"""An array whose limit is held by a member that can never start again."""

from itertools import pairwise

from msgspec import structs

from scheduler.engine.state import State
from scheduler.model.events import EpochStarted
from scheduler.model.jobs import Array
from scheduler.model.lifecycle import JobState
from scheduler.model.reasons import ReasonCode
from scheduler.model.tenants import Quota, Tenant, Tenants
from scheduler.model.units import US_PER_S
from scheduler.model.workload import Arrival
from scheduler.simulator.driver import Driver
from scheduler.simulator.execution import Overheads
from tests.simulation.small import configured, plain_job


def test_members_that_can_never_start_do_not_keep_their_arrays_turn():
    """The first member's only accelerator has lost its quota; with a limit of one, the others would wait behind it."""
    config = configured(nodes=1)
    team = Tenant(name="team", quotas=(Quota(resource="h20-96", nominal=8),))
    driver = Driver(State.new(structs.replace(config, tenants=Tenants(tenants=(team,)))), Overheads())
    driver.feed(EpochStarted(1))
    job = structs.replace(plain_job("many", devices=4, work=100.0), array=Array(first=0, last=2, max_running=1))
    driver.expect([Arrival(at_us=0, job=job)])
    driver.run(50 * US_PER_S)
    poor = structs.replace(team, quotas=(Quota(resource="h20-96", nominal=0),))
    driver.feed(structs.replace(driver.state.config, tenants=Tenants(tenants=(poor,))))
    driver.run()
    first, *others = driver.state.jobs
    assert first.state is JobState.SUCCEEDED
    assert [other.reason.code for other in others if other.reason] == [ReasonCode.QUOTA_ZERO] * 2
    driver.feed(structs.replace(driver.state.config, tenants=Tenants(tenants=(team,))))
    driver.run()
    assert [each.state for each in driver.state.jobs] == [JobState.SUCCEEDED] * 3
    spans = [(each.attempts[0].allocated_us, each.ended_us or 0) for each in driver.state.jobs]
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
