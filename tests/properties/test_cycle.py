"""What must hold of a cycle whatever the jobs are."""

import subprocess
import sys
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine import Engine, cycle, image
from scheduler.engine.progress import standing_of
from scheduler.engine.snapshot import take
from scheduler.model.commands import Start
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.tenants import JobClass
from scheduler.policies import POLICIES
from tests.support.builders import QUICK, cluster, configured, job, options, pool, tenants
from tests.support.harness import Table

FLEET = cluster([pool("h200", 2, 4), pool("h20-96", 1, 8)], [pool("ascend-910c", 2, 8)])
TREE = tenants(red={"h200": 6}, blue={})

wanted = st.sampled_from(
    [
        options(h200=1),
        options(h200=4, h20_96=8),
        options(h200=8),
        options(h20_96=(2, 4, 8)),
        options(ascend_910c=8, h200=2),
    ]
)
specs = st.tuples(wanted, st.sampled_from(["red", "blue"]), st.integers(0, 3), st.sampled_from(list(JobClass)))
moves = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["up", "ok", "lost", "left"])), max_size=10)


def drawn(number: int, spec: tuple) -> object:
    opts, tenant, priority, job_class = spec
    elastic = len(opts) == 1 and len(opts[0].counts) > 1
    return job(f"j{number}", *opts, tenant=tenant, priority=priority, job_class=job_class, elastic=elastic)


def play(policy: str, jobs: list, answers: list) -> Table:
    table = Table(configured(FLEET, TREE, msgspec.structs.replace(QUICK, name=policy)))
    for number, spec in enumerate(jobs):
        try:
            table.submit(drawn(number, spec))
        except Exception as problem:  # a job that can never run is refused, and that is all
            assert type(problem).__name__ in ("InfeasibleError", "DeniedError")
        table.decide()
    for pick, answer in answers:
        live = [table.state.jobs[n] for n in table.state.active if table.state.jobs[n].attempt]
        if not live:
            break
        work = live[pick % len(live)]
        if answer == "up" and work.state is JobState.STARTING:
            table.up(work)
        elif answer != "up":
            how = {"ok": AttemptEnd.EXITED, "lost": AttemptEnd.LOST, "left": AttemptEnd.PREEMPTED}[answer]
            table.end(work, how)
        table.later(1)
        table.decide()
    return table


@given(st.sampled_from(sorted(POLICIES)), st.lists(specs, min_size=1, max_size=8), moves)
@settings(max_examples=60, deadline=None)
def test_any_history_keeps_every_invariant_and_replays_to_the_same_bytes(
    policy: str, jobs: list, answers: list
) -> None:
    table = play(policy, jobs, answers)  # the table checks the invariants after every event
    replayed = Engine(type(table.state).new(table.config))
    for event, time_us in table.events:
        replayed.fold(event, time_us)
    assert image.encode(replayed.state) == image.encode(table.state)
    assert image.encode(image.decode(image.encode(table.state))) == image.encode(table.state)


@given(st.sampled_from(sorted(POLICIES)), st.lists(specs, min_size=1, max_size=8), moves)
@settings(max_examples=40, deadline=None)
def test_equal_states_give_equal_plans_and_a_second_cycle_changes_nothing(
    policy: str, jobs: list, answers: list
) -> None:
    table = play(policy, jobs, answers)
    copy = image.decode(image.encode(table.state))
    plans = [cycle(take(state, table.now_us), table.now_us) for state in (table.state, copy)]
    first, second = (msgspec.json.encode(msgspec.structs.replace(p, wake_us=None)) for p in plans)
    assert first == second
    assert not plans[0].starts and not plans[0].stops


@given(st.sampled_from(sorted(POLICIES)), st.lists(specs, min_size=1, max_size=8), moves)
@settings(max_examples=60, deadline=None)
def test_every_waiting_job_has_a_reason(policy: str, jobs: list, answers: list) -> None:
    table = play(policy, jobs, answers)
    for number in table.state.active:
        work = table.state.jobs[number]
        assert work.state is not JobState.WAITING or work.reason is not None


@given(st.lists(specs, min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_no_idle_device_is_left_that_the_first_waiting_job_could_use(jobs: list) -> None:
    table = play("fifo-best-type", jobs, [])
    waiting = [table.state.jobs[n] for n in table.state.active if table.state.jobs[n].state is JobState.WAITING]
    if waiting:
        first = waiting[0]
        from scheduler.engine.explain import explain

        assert all(report.reasons for report in explain(table.state, first.number, table.now_us))


def test_the_plan_does_not_depend_on_the_hash_seed() -> None:
    program = (
        "from tests.properties.test_cycle import play, options\n"
        "from scheduler.model.tenants import JobClass\n"
        "import hashlib, msgspec\n"
        "jobs = [(options(h200=4, h20_96=8), 'red', i % 3, JobClass.STANDARD) for i in range(6)]\n"
        "tables = [play(name, jobs, [(0, 'up'), (1, 'ok'), (0, 'lost')]) for name in ('priority', 'balanced')]\n"
        "print(hashlib.sha256(msgspec.json.encode([e for t in tables for e, _ in t.events])).hexdigest())\n"
    )
    root = Path(__file__).resolve().parents[2]
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=root,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(digests) == 1


def test_a_start_names_every_rank_once() -> None:
    table = Table(configured(FLEET, TREE))
    table.submit(job("wide", *options(ascend_910c=16)))
    start = next(c for c in table.decide() if isinstance(c, Start))
    ranks = [t.first_rank + i for t in start.tasks for i in range(t.local_ranks)]
    assert sorted(ranks) == list(range(32))  # 16 packages of two dies
    assert {t.world_size for t in start.tasks} == {32}


@settings(max_examples=40, deadline=None)
@given(st.lists(specs, min_size=1, max_size=6), moves)
def test_what_columns_keep_of_a_jobs_past_is_what_its_attempts_tell(jobs: list, answers: list) -> None:
    state = play("priority", jobs, answers).state
    for number in state.active:
        job = state.jobs[number]
        fresh = standing_of(job, state.tenant_of(job))
        for name in ("attained_s", "counted", "done", "saved", "held_us"):
            assert state.columns.job(name)[number] == fresh[name], name
