"""Deciding about newcomers alone, between two whole solutions: what holds of it whatever arrives, ends and stops."""

from contextlib import suppress
from unittest import mock

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine import Engine, cycle, image
from scheduler.engine.problem import build, candidates
from scheduler.engine.snapshot import take
from scheduler.errors import DeniedError, InfeasibleError
from scheduler.model.cluster import NodeState
from scheduler.model.events import Actor
from scheduler.model.lifecycle import AttemptEnd, JobState, StopCause
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants
from scheduler.policies import NONE, POLICIES
from scheduler.policies.assignment import Assignment, solve
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool
from tests.support.harness import Table

FLEET = cluster([pool("h200", 2, 4), pool("h20-96", 1, 8)], [pool("ascend-910c", 2, 8)])
TREE = Tenants(
    tenants=(
        Tenant(name="red", quotas=(Quota(resource="h200", nominal=4, borrowing_limit=4),)),
        Tenant(name="blue", quotas=(Quota(resource="h200", nominal=4, borrowing_limit=2),)),
    )
)
OPEN = Tenants(tenants=(Tenant(name="red"), Tenant(name="blue")))
ALONE = msgspec.structs.replace(QUICK, name="balanced", many_jobs=0, gap=0.5)
"""Newcomers are decided about alone however few jobs there are, and until much is missing."""

wanted = st.sampled_from(
    [
        options(h200=1),
        options(h200=2, h20_96=4),
        options(h200=4, h20_96=8),
        options(h20_96=(2, 4, 8)),
        options(ascend_910c=8, h200=4),
    ]
)
specs = st.tuples(wanted, st.sampled_from(["red", "blue"]), st.integers(0, 2), st.sampled_from(list(JobClass)))
answers = st.tuples(st.integers(0, 9), st.sampled_from(["up", "ok", "lost", "left"]))
waits = st.tuples(st.sampled_from([1, 5, 20, 70]))
steps = st.lists(st.one_of(specs, specs, answers, waits), max_size=25)


def act(table: Table, number: int, step: tuple) -> None:
    if len(step) == 1:
        table.later(step[0])
        return
    if len(step) == 4:
        opts, tenant, priority, job_class = step
        spec = job(f"j{number}", *opts, tenant=tenant, priority=priority, job_class=job_class)
        with suppress(DeniedError, InfeasibleError):
            table.submit(spec, Actor("ann", tenant, True))
        return
    live = [j for n in table.state.active if (j := table.state.jobs[n]).attempt]
    work = live[step[0] % len(live)] if live else None
    if work is not None and step[1] == "up" and work.state is JobState.STARTING:
        table.up(work)
    elif work is not None and step[1] != "up":
        how = {"ok": AttemptEnd.EXITED, "lost": AttemptEnd.LOST, "left": AttemptEnd.PREEMPTED}[step[1]]
        table.end(work, how)


def play(policy, played, tree=TREE) -> Table:
    table = Table(configured(FLEET, tree, policy))  # it checks the invariants after every event
    for number, step in enumerate(played):
        act(table, number, step)
        table.decide()
    return table


@given(st.sampled_from(["balanced", "srpt", "las", "throughput"]), steps)
@settings(max_examples=80, deadline=None)
def test_invariants_hold_and_a_replay_gives_the_same_bytes_and_the_same_next_plan(name, played):
    table = play(msgspec.structs.replace(ALONE, name=name), played)
    replayed = Engine(type(table.state).new(table.config))
    for event, time_us in table.events:
        replayed.fold(event, time_us)
    restored = image.decode(image.encode(table.state))
    assert image.encode(replayed.state) == image.encode(table.state) == image.encode(restored)
    plans = [cycle(take(state, table.now_us), table.now_us) for state in (table.state, replayed.state, restored)]
    first, *others = [msgspec.json.encode(msgspec.structs.replace(plan, wake_us=None)) for plan in plans]
    assert others == [first, first]


@given(steps)
@settings(max_examples=60, deadline=None)
def test_every_waiting_job_has_a_reason_and_nobody_stops_for_a_newcomer(played):
    table = Table(configured(FLEET, TREE, ALONE))
    for number, step in enumerate(played):
        act(table, number, step)
        told = {n for n in table.state.active if table.state.jobs[n].state is JobState.STOPPING}  # again, if too slow
        table.decide()
        causes = (StopCause.PREEMPT, StopCause.RESIZE)
        chosen = [s for s in table.plan.stops if s.cause in causes and s.job not in told]
        assert table.plan.whole or not chosen
        for n in table.state.active:
            assert table.state.jobs[n].state is not JobState.WAITING or table.state.jobs[n].reason is not None


@given(st.sampled_from(["balanced", "srpt", "las", "throughput"]), steps)
@settings(max_examples=100, deadline=None)
def test_what_waits_gets_idle_devices_at_the_next_whole_solution_at_the_latest(name, played):
    """Whoever waits for devices that others have to leave keeps none idle that another could start on."""
    table = play(msgspec.structs.replace(ALONE, name=name), played)
    table.later(60)
    assert table.state.alarms.first_us is None or table.engine.wake_us is not None
    table.decide()
    assert table.plan.whole
    with mock.patch("scheduler.engine.cycle.since_whole", lambda *_: None):
        again = cycle(take(table.state, table.now_us), table.now_us)
    assert not again.starts


def least_missing(table: Table, ours: set[int]) -> float:
    """How much more the jobs `ours` could be worth at best than those of them that run are, exactly.

    Who runs does not stop, so that what is to be shared out is what is idle and what `ours` hold.
    """
    state, now_us = table.state, table.now_us
    snapshot = take(state, now_us)
    who = candidates(snapshot, now_us)
    problem = build(snapshot, who, np.sort(np.concatenate((who.running, who.waiting))), (), now_us)
    worth = POLICIES["balanced"](problem).worth
    mine = np.flatnonzero(np.isin(problem.number, sorted(ours)))
    left = problem.available.copy()
    for index in np.flatnonzero(problem.current != NONE).tolist():
        if index not in mine:
            span = slice(*problem.use_ptr[problem.current[index] :][:2])
            left[problem.use_row[span]] -= problem.use_amount[span]
    held = problem.current[mine]
    plain = worth.copy()
    plain[held[held != NONE]] /= 1.02  # what staying is worth more
    option = np.concatenate([np.arange(problem.ptr[i], problem.ptr[i + 1]) for i in mine] or [np.zeros(0, int)])
    ptr = np.concatenate(([0], np.cumsum(np.diff(problem.ptr)[mine])))
    uses = [np.arange(problem.use_ptr[o], problem.use_ptr[o + 1]) for o in option.tolist()]
    use = np.concatenate(uses or [np.zeros(0, int)]).astype(int)
    use_ptr = np.concatenate(([0], np.cumsum([len(u) for u in uses]))).astype(int)
    utility = np.where(problem.open[option], plain[option], -1.0)
    best = solve(Assignment(ptr, utility, use_ptr, problem.use_row[use], problem.use_amount[use], left), gap=1e-9)
    assert best.gap < 1e-6
    return best.value - float(plain[held[held != NONE]].sum())


plain_specs = st.tuples(wanted.filter(lambda o: len(o[0].counts) == 1), st.sampled_from(["red", "blue"]))
arrivals = st.lists(st.lists(st.one_of(plain_specs, st.integers(0, 9)), max_size=3), min_size=2, max_size=12)


def test_the_optimum_is_within_the_gap_that_is_told():
    """Nobody is displaced here, and sizes weigh alike, so that the value of a plan can be told from outside."""
    seen: set[bool] = set()

    @given(arrivals)
    @settings(max_examples=100, deadline=None)
    def check(drawn):
        policy = msgspec.structs.replace(ALONE, preemption=False, a=0.0, q=0.0)
        table = Table(configured(FLEET, OPEN, policy))
        number, ours, bound = 0, set(), 0.0
        for step in drawn:
            table.later(1)
            running = [j.number for j in table.state.holding()]
            for what in step:
                if isinstance(what, int):
                    live = table.state.holding()
                    if live:
                        ours.discard(live[what % len(live)].number)
                        table.end(live[what % len(live)])
                    continue
                table.submit(job(f"j{number}", *what[0], tenant=what[1]), Actor("ann", what[1], True))
                number += 1
            table.decide()
            table.up(*(j for j in table.state.holding() if j.state is JobState.STARTING))
            if table.plan.whole:
                ours = set(table.state.active) - set(running)
                bound = dict(table.plan.prices).get("=bound", 0.0)
            ours |= {n for n in table.state.active if n not in running and n not in ours}
            seen.add(table.plan.whole)
            assert least_missing(table, ours) <= table.plan.gap * bound + 1e-6 * max(bound, 1.0)

    check()
    assert seen == {True, False}  # cycles of both kinds were drawn


def test_a_change_of_what_there_is_to_give_has_everybody_weighed_again():
    table = Table(configured(FLEET, OPEN, ALONE))
    for n in range(4):
        table.submit(job(f"j{n}", *options(h200=4)))
    table.decide()
    table.later(1)
    table.submit(job("late", *options(h200=1)))
    table.decide()
    assert not table.plan.whole
    table.node(table.state.config.cluster.node_name(0), NodeState.CORDONED)
    table.later(1)
    table.decide()
    assert table.plan.whole


@pytest.mark.parametrize("few", [True, False])
def test_with_few_jobs_all_are_weighed_in_every_cycle(few):
    table = Table(configured(FLEET, OPEN, msgspec.structs.replace(ALONE, many_jobs=10 if few else 2)))
    for n in range(4):
        table.submit(job(f"j{n}", *options(h200=4)))
    table.decide()
    table.later(1)
    table.submit(job("late", *options(h200=1)))
    table.decide()
    assert table.plan.whole is few
    assert any(name == "=at" for name, _ in table.plan.prices) is not few


def test_after_a_while_all_are_weighed_again_though_nobody_asks():
    table = Table(configured(FLEET, OPEN, msgspec.structs.replace(ALONE, gap=1.0, whole_every_us=30 * S)))
    held = [table.submit(job(f"j{n}", *options(h200=4))) for n in range(3)]
    table.decide()
    table.up(*held[:2])
    table.later(1)
    table.end(held[0])
    table.decide()
    assert not table.plan.whole and not table.plan.starts
    assert table.engine.wake_us == 30 * S
    table.later(29)
    assert table.starts() == ["j2"]
