"""By what right jobs hold and ask, against one job tried after the other; and that nobody reclaims in a circle."""

from contextlib import suppress

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.problem import build, candidates
from scheduler.engine.snapshot import take
from scheduler.errors import DeniedError
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants
from scheduler.policies import NONE
from scheduler.quota.claims import Claim
from tests.support.builders import CATALOG, cluster, configured, job, options, pool
from tests.support.harness import Table

NAMES = ("red", "red/vision", "blue")
small = st.integers(0, 6)
quotas = st.lists(
    st.builds(
        lambda resource, nominal, borrowing: Quota(resource=resource, nominal=nominal, borrowing_limit=borrowing),
        st.sampled_from(("h200", "h20-96", "family:h20")), small, small,
    ),
    max_size=2,
    unique_by=lambda q: q.resource,
).map(tuple)  # fmt: skip
trees = st.tuples(quotas, quotas, quotas).map(
    lambda of: Tenants(tenants=tuple(Tenant(name=n, quotas=q) for n, q in zip(NAMES, of, strict=True)))
)
asked = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(("h200", "h20_96")),
        st.sampled_from((1, 2, 4)),
        st.sampled_from(JobClass),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=10,
)


def fill(tree: Tenants, wanted: list[tuple], runs: int) -> Table:
    """The first `runs` jobs had the fleet for themselves, then the others came."""
    at = Table(configured(cluster([pool("h200", 2, 4), pool("h20-96", 2, 4)]), tree))
    for number, (tenant, chip, count, job_class, priority) in enumerate(wanted):
        if number == runs:
            at.decide()
            at.up(*(held for held in at.state.holding() if held.state is JobState.STARTING))
            at.later(1)
        spec = job(f"j{number}", *options(**{chip: count}), tenant=tenant, job_class=job_class, priority=priority)
        with suppress(DeniedError):  # a job that its quota can never admit is none of the problem's
            at.submit(spec)
    return at


def plainly(at: Table, number: int, left: dict[tuple[str, str], int]) -> bool:
    """Whether the job fits into what is left of each nominal quota above it; if so it takes its part."""
    spec = at.state.jobs[number].spec
    (option,) = spec.roles[0].resources.options
    chip, count = option.accelerator, option.counts[0]
    family = f"family:{CATALOG.get(chip).family}"
    above = [spec.tenant.rsplit("/", n)[0] for n in range(spec.tenant.count("/") + 1)]
    keys = [(name, resource) for name in above for resource in (chip, family) if (name, resource) in left]
    governed = any(resource in (chip, family) for _, resource in left)
    if (governed and not keys) or any(left[key] < count for key in keys):
        return False
    for key in keys:
        left[key] -= count
    return True


@given(trees, asked, st.integers(0, 10))
@settings(max_examples=150, deadline=None)
def test_rights_are_those_of_one_job_tried_after_the_other(tree: Tenants, wanted: list[tuple], runs: int) -> None:
    at = fill(tree, wanted, runs)
    snapshot = take(at.state, at.now_us)
    who = candidates(snapshot, at.now_us)
    numbers = np.sort(np.concatenate((who.running, who.waiting)))
    problem = build(snapshot, who, numbers, (), at.now_us)
    left = {(t.name, q.resource): q.nominal for t in tree.tenants for q in t.quotas}
    order = np.lexsort((numbers, problem.current == NONE, -problem.priority, ~problem.pinned, problem.job_class))
    for index in order.tolist():
        job_class, claim = list(JobClass)[problem.job_class[index]], problem.right[index]
        if job_class is JobClass.OPPORTUNISTIC:
            assert claim == Claim.IDLE
            continue
        fits = plainly(at, int(numbers[index]), left)
        if job_class is JobClass.PRODUCTION:
            assert claim == Claim.PRODUCTION
        else:
            assert (claim == Claim.BORROWED) is not fits


@given(trees, asked, st.integers(0, 10))
@settings(max_examples=60, deadline=None)
def test_reclaim_comes_to_rest(tree: Tenants, wanted: list[tuple], runs: int) -> None:
    """Victims leave, others start, and when nothing else happens nobody is told to leave twice for the same quota."""
    at = fill(tree, wanted, runs)
    told: dict[int, int] = {}
    for _ in range(12):
        at.later(1)
        at.decide()
        for held in list(at.state.holding()):
            if held.state is JobState.STOPPING:
                told[held.number] = told.get(held.number, 0) + 1
                at.end(held, AttemptEnd.PREEMPTED)
            elif held.state is JobState.STARTING:
                at.up(held)
    at.later(1)
    assert at.stops() == []
    assert max(told.values(), default=0) <= 2
