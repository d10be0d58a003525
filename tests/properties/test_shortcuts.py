"""What a cycle leaves out because nothing can have changed: the plan is the same as when it looks at everything."""

from unittest import mock

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine import cycle
from scheduler.engine.snapshot import take
from scheduler.errors import DeniedError, InfeasibleError
from scheduler.model.events import Actor
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants, UserLimits
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool
from tests.support.harness import Table

FLEET = cluster([pool("h200", 2, 4), pool("h20-96", 1, 8)], [pool("ascend-910c", 2, 8)])
TREE = Tenants(
    tenants=(
        Tenant(name="red", quotas=(Quota(resource="h200", nominal=3, borrowing_limit=1),)),
        Tenant(name="blue", per_user=UserLimits(max_devices=6)),
    )
)
wanted = st.sampled_from(
    [
        options(h200=1),
        options(h200=2, h20_96=4),
        options(h200=4, ascend_910c=4),
        options(h200=8),
        options(h20_96=(2, 4, 8)),
        options(ascend_910c=8),
    ]
)
specs = st.tuples(
    wanted, st.sampled_from(["red", "blue"]), st.integers(0, 2), st.sampled_from(list(JobClass)), st.booleans()
)
steps = st.lists(
    st.one_of(specs, st.tuples(st.integers(0, 9), st.sampled_from(["up", "ok", "lost", "left"]))), max_size=14
)


def late(opts, delay):
    return tuple(
        msgspec.structs.replace(o, after_wait_us=place * 2 * S if delay else 0) for place, o in enumerate(opts)
    )


def act(table: Table, number: int, step: tuple) -> None:
    if len(step) == 2:
        live = [j for n in table.state.active if (j := table.state.jobs[n]).attempt]
        if live and step[1] == "up" and live[step[0] % len(live)].state is JobState.STARTING:
            table.up(live[step[0] % len(live)])
        elif live and step[1] != "up":
            how = {"ok": AttemptEnd.EXITED, "lost": AttemptEnd.LOST, "left": AttemptEnd.PREEMPTED}[step[1]]
            table.end(live[step[0] % len(live)], how)
        return
    opts, tenant, priority, job_class, delay = step
    try:
        spec = job(f"j{number}", *late(opts, delay), tenant=tenant, priority=priority, job_class=job_class)
        table.submit(spec, Actor("ann", tenant, True))
    except (DeniedError, InfeasibleError):
        pass


def none_stand(_, problem, __):
    return np.zeros(len(problem.number), dtype=np.bool_)


@given(st.sampled_from(["priority", "fifo-best-type"]), steps)
@settings(max_examples=150, deadline=None)
def test_reasons_that_stand_are_those_that_a_look_at_each_job_would_give(policy, played):
    table = Table(configured(FLEET, TREE, msgspec.structs.replace(QUICK, name=policy)))
    for number, step in enumerate(played):
        act(table, number, step)
        table.later(1)
        quick = cycle(take(table.state, table.now_us), table.now_us)
        with (
            mock.patch("scheduler.engine.cycle.reasons_stand", none_stand),
            mock.patch("scheduler.engine.cycle.reasons_known", lambda *_: {}),
        ):
            whole = cycle(take(table.state, table.now_us), table.now_us)
        assert quick == whole
        table.decide()


@given(st.sampled_from(["balanced", "srpt", "priority", "fifo-best-type"]), steps)
@settings(max_examples=100, deadline=None)
def test_reasons_found_for_all_at_once_are_those_that_a_look_at_each_job_gives(policy, played):
    table = Table(configured(FLEET, TREE, msgspec.structs.replace(QUICK, name=policy)))
    with (
        mock.patch("scheduler.engine.cycle.reasons_stand", none_stand),
        mock.patch("scheduler.engine.cycle.WORTH_FINDING_AT_ONCE", 0),
    ):
        for number, step in enumerate(played):
            act(table, number, step)
            table.later(1)
            quick = cycle(take(table.state, table.now_us), table.now_us)
            with mock.patch("scheduler.engine.cycle.reasons_known", lambda *_: {}):
                assert quick == cycle(take(table.state, table.now_us), table.now_us)
            table.decide()


@given(st.sampled_from(["balanced", "srpt"]), steps)
@settings(max_examples=100, deadline=None)
def test_where_a_policy_prices_a_second_look_at_the_same_jobs_changes_no_reason(policy, played):
    table = Table(configured(FLEET, TREE, msgspec.structs.replace(QUICK, name=policy)))
    for number, step in enumerate(played):
        act(table, number, step)
        table.later(1)
        table.decide()
    table.later(20)  # every option has opened by now
    table.decide()
    table.later(1)
    table.decide()
    again = table.plan
    assert again.starts or again.stops or not again.reasons
