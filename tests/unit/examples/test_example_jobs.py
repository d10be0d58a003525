"""The job files of the examples are valid, can run on the demo's cluster, and name programs that exist."""

import importlib.util
import itertools

import pytest

from scheduler.config import load_catalog, load_jobs, load_workload, shipped
from scheduler.engine.intake import submission
from scheduler.engine.state import State
from scheduler.model.events import Actor
from scheduler.model.jobs import RanksPer
from scheduler.model.units import to_us
from scheduler.service.configuration import Sources, configured
from scheduler.simulator.execution import Overheads
from scheduler.simulator.simulate import simulate
from tests.support.tree import ROOT

FILES = sorted((ROOT / "examples/jobs").glob("*.yaml"))
DEMO = Sources(cluster="demo", tenants="demo", policy="demo")


@pytest.fixture(scope="module")
def demo():
    return configured(DEMO)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_job_file_is_accepted_by_the_demos_cluster(file, demo):
    for job in load_jobs(file, load_catalog()):
        names = iter(str(number) for number in range(100))
        assert submission(State.new(demo), job, Actor("u", job.tenant, True), lambda: next(names), 0)  # noqa: B023


@pytest.mark.parametrize("workload", ["demo", "demo-quick"])
def test_every_program_that_the_demo_starts_is_shipped(workload):
    for arrival in load_workload(shipped("workload", workload), load_catalog()).arrivals:
        for role in arrival.job.roles:
            python, flag, module, *_ = role.entrypoint
            assert (python, flag) == ("python", "-m")
            assert importlib.util.find_spec(module) is not None


@pytest.fixture(scope="module", params=[1.5, 3.0, 6.0, 15.0], ids=lambda s: f"starts of {s} s")
def played(request, demo):
    """The demo's workload in virtual time, on machines of different speed; its service stays to the end."""
    workload = load_workload(shipped("workload", "demo"), load_catalog())
    overheads = Overheads(start_us=to_us(request.param), stop_us=to_us(0.7))
    return simulate(demo, workload, overheads=overheads, until_us=to_us(600), check_invariants=True).state


def attempts(state):
    for job in state.jobs:
        for attempt in job.attempts:
            ranks = 0
            for grant in attempt.allocation.grants:
                per_node = job.spec.roles[grant.role].resources.ranks_per is RanksPer.NODE
                ranks += (
                    1
                    if per_node
                    else grant.count * (2 if attempt.allocation.chosen[0].accelerator == "ascend-910c" else 1)
                )
            yield job, attempt, ranks


def test_the_demo_starts_at_most_30_processes_and_6_at_once(played):
    spans = [(a.allocated_us, to_us(600) if a.ended_us is None else a.ended_us, n) for _, a, n in attempts(played)]
    assert sum(n for _, _, n in spans) <= 30
    assert max(sum(n for begin, end, n in spans if begin <= at < end) for at, _, _ in spans) <= 6


def test_the_demo_has_what_it_promises(played):
    jobs = {job.spec.name: job for job in played.jobs}
    assert len(played.jobs) >= 14
    assert len({job.spec.tenant for job in played.jobs}) == 3
    held = [attempt.allocation.chosen[0] for attempt in jobs["pretrain"].attempts]
    assert [part.accelerator for part in held] == ["h200", "h20-96"]
    sizes = [attempt.allocation.chosen[0].count for attempt in jobs["embed-elastic"].attempts]
    assert any(b < a for a, b in itertools.pairwise(sizes))
    assert any(b > a for a, b in itertools.pairwise(sizes))
    assert len(jobs["reinforce"].spec.roles) == 2
    assert jobs["entropy"].array is not None
    assert jobs["chat"].spec.service.min_replicas == 2
    assert all(job.state == "succeeded" for job in played.jobs if job.spec.service is None)
