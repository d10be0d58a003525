"""The life of a job, told as a user would tell it."""

import math

import pytest

from scheduler.config import load_catalog
from scheduler.errors import ConflictError, DeniedError, InfeasibleError, NotFoundError
from scheduler.model.cluster import NodeState
from scheduler.model.commands import Start, Stop
from scheduler.model.events import AttemptEnded, AttemptProgressed, AttemptStarted, JobAction
from scheduler.model.jobs import (
    Array,
    Checkpoint,
    Dependency,
    DependsOn,
    ModelShape,
    Moves,
    Resources,
    Retries,
    RetryOn,
    Role,
    Work,
    WorkUnit,
)
from scheduler.model.lifecycle import AttemptEnd, JobState, StopCause
from scheduler.model.rates import layout_parts
from scheduler.model.reasons import ReasonCode
from scheduler.model.tenants import JobClass
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool, tenants
from tests.support.harness import Table, kinds

PORTABLE = Checkpoint(path="ckpt", save_us=S, portable=True)


@pytest.fixture
def table() -> Table:
    return Table(configured(cluster([pool("h200", 2, 4), pool("h20-96", 2, 8)], [pool("ascend-910c", 2, 8)])))


def test_a_job_starts_runs_and_succeeds(table: Table) -> None:
    work = table.submit(job())
    assert table.starts() == ["train"]
    assert work.state is JobState.STARTING
    table.up(work)
    assert work.state is JobState.RUNNING
    assert kinds(table.end(work)) == ["release"]
    assert (work.state, work.exit_code, table.state.active) == (JobState.SUCCEEDED, 0, [])


def test_a_job_takes_its_fastest_option_that_has_room(table: Table) -> None:
    table.submit(job("first", *options(h20_96=8, h200=8)))
    second = table.submit(job("second", *options(h20_96=8, h200=8)))
    assert table.starts() == ["first", "second"]
    assert second.attempts[0].allocation.chosen[0].accelerator == "h20-96"


def test_nothing_starts_twice(table: Table) -> None:
    table.submit(job())
    assert table.starts() == ["train"]
    assert table.starts() == []


def test_a_rank_that_fails_fails_the_job_with_its_code(table: Table) -> None:
    work = table.submit(job())
    table.run_all(work)
    table.end(work, exit_code=3)
    assert (work.state, work.exit_code) == (JobState.FAILED, 3)


def test_an_interrupted_attempt_is_retried_after_a_back_off_that_doubles(table: Table) -> None:
    work = table.submit(job(retries=Retries(limit=2, backoff_us=10 * S)))
    for pause in (10, 20):
        table.run_all(work)
        table.end(work, AttemptEnd.LOST)
        assert work.state is JobState.WAITING
        assert table.starts() == []
        assert work.reason is not None and work.reason.code is ReasonCode.BACKOFF
        table.later(pause - 1)
        assert table.starts() == []
        table.later(1)
    table.run_all(work)
    table.end(work, AttemptEnd.LOST)
    assert work.state is JobState.FAILED
    assert len(work.attempts) == 3


def test_the_engine_asks_to_be_woken_when_a_back_off_is_over(table: Table) -> None:
    work = table.submit(job(retries=Retries(backoff_us=10 * S)))
    table.run_all(work)
    table.end(work, AttemptEnd.LOST)
    table.decide()
    assert table.engine.wake_us == 10 * S


def test_a_failed_attempt_is_retried_only_if_the_job_says_so(table: Table) -> None:
    work = table.submit(job(retries=Retries(limit=1, on=(RetryOn.FAILED,), backoff_us=0)))
    for expected in (JobState.WAITING, JobState.FAILED):
        table.run_all(work)
        table.end(work, exit_code=1)
        assert work.state is expected


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_when_it_has_left(table: Table) -> None:
    waiting, running = table.submit(job("w", *options(h200=8))), table.submit(job("r", *options(h20_96=1)))
    table.run_all(running)
    table.end(waiting)
    other = table.submit(job("other", *options(h200=8), tenant="blue"))
    table.ask(other, JobAction.CANCEL)
    assert other.state is JobState.CANCELLED
    commands = table.ask(running, JobAction.CANCEL)
    assert isinstance(commands[0], Stop) and running.state is JobState.STOPPING
    table.end(running, AttemptEnd.PREEMPTED)
    assert running.state is JobState.CANCELLED


@pytest.mark.parametrize("how", list(AttemptEnd))
def test_cancel_is_final_however_the_attempt_ends(table: Table, how: AttemptEnd) -> None:
    work = table.submit(job())
    table.run_all(work)
    table.ask(work, JobAction.CANCEL)
    table.end(work, how)
    assert work.state is JobState.CANCELLED


def test_a_cancel_replaces_a_weaker_cause_on_an_attempt_that_is_already_stopping(table: Table) -> None:
    work = table.submit(job())
    table.run_all(work)
    table.ask(work, JobAction.SUSPEND)
    table.ask(work, JobAction.CANCEL)
    table.end(work, AttemptEnd.PREEMPTED)
    assert work.state is JobState.CANCELLED


def test_a_suspended_job_holds_nothing_until_it_is_resumed(table: Table) -> None:
    work = table.submit(job())
    table.run_all(work)
    table.progress(work, done=40, saved=30)
    table.ask(work, JobAction.SUSPEND)
    table.end(work, AttemptEnd.PREEMPTED)
    assert work.state is JobState.SUSPENDED
    assert table.starts() == []
    table.ask(work, JobAction.RESUME)
    assert table.starts() == ["train"]
    assert (work.done, work.attempts[-1].done_at_start, work.lost_work) == (30, 30, 10)


def test_an_action_that_means_nothing_in_the_state_is_refused(table: Table) -> None:
    work = table.submit(job())
    with pytest.raises(ConflictError):
        table.ask(work, JobAction.RESUME)


def test_a_higher_priority_displaces_and_the_victim_resumes_on_another_type(table: Table) -> None:
    victim = table.submit(job("victim", *options(h200=8, ascend_910c=8), moves=Moves.ANY, checkpoint=PORTABLE))
    table.run_all(victim)
    table.progress(victim, done=50, saved=50)
    urgent = table.submit(job("urgent", *options(h200=8), priority=900))
    assert table.stops() == [("victim", "preempt")]
    assert urgent.reason is not None and urgent.reason.code is ReasonCode.WAITING_FOR_PREEMPTED
    table.end(victim, AttemptEnd.PREEMPTED)
    assert table.starts() == ["urgent", "victim"]
    assert victim.attempts[-1].allocation.chosen[0].accelerator == "ascend-910c"
    assert victim.retries_used == 0


def test_a_victim_that_may_not_move_waits_for_its_own_type(table: Table) -> None:
    victim = table.submit(job("victim", *options(h200=8, ascend_910c=8), checkpoint=PORTABLE))
    table.run_all(victim)
    table.progress(victim, done=50, saved=50)
    urgent = table.submit(job("urgent", *options(h200=8), priority=900))
    table.decide()
    table.end(victim, AttemptEnd.PREEMPTED)
    assert table.starts() == ["urgent"]
    table.up(urgent)
    table.end(urgent)
    assert table.starts() == ["victim"]
    assert victim.attempts[-1].allocation.chosen[0].accelerator == "h200"


def test_equal_priority_never_displaces(table: Table) -> None:
    table.run_all(table.submit(job("first", *options(h200=8))))
    table.submit(job("second", *options(h200=8)))
    assert table.stops() == []


def test_production_is_never_displaced(table: Table) -> None:
    work = table.submit(job("serving", *options(h200=8), job_class=JobClass.PRODUCTION, priority=0))
    table.run_all(work)
    table.submit(job("urgent", *options(h200=8), priority=1000, job_class=JobClass.PRODUCTION))
    assert table.stops() == []


def test_opportunistic_work_yields_first_and_only_as_much_as_is_needed(table: Table) -> None:
    low = table.submit(job("low", *options(h200=4), priority=100))
    idle = table.submit(job("idle", *options(h200=4), job_class=JobClass.OPPORTUNISTIC, priority=900))
    table.run_all(low, idle)
    table.submit(job("urgent", *options(h200=4), priority=900))
    assert table.stops() == [("idle", "preempt")]


def test_a_young_attempt_is_spared_until_it_has_run_its_minimum() -> None:
    patient = configured(cluster([pool("h200", 1, 4)]), policy=_with(min_run_us=100 * S))
    table = Table(patient)
    work = table.submit(job("young", *options(h200=4)))
    table.run_all(work)
    table.submit(job("urgent", *options(h200=4), priority=900))
    assert table.stops() == []
    assert table.engine.wake_us == 100 * S
    table.later(100)
    assert table.stops() == [("young", "preempt")]


def _with(**changes: int):
    import msgspec

    return msgspec.structs.replace(QUICK, **changes)


def test_the_notice_is_twice_the_save_time_within_bounds(table: Table) -> None:
    checkpoint = Checkpoint(path="c", save_us=3 * S)
    work = table.submit(job("victim", *options(h200=8), checkpoint=checkpoint))
    table.run_all(work)
    table.submit(job("urgent", *options(h200=8), priority=900))
    stop = next(c for c in table.decide() if isinstance(c, Stop))
    assert stop.notice_us == 6 * S


def test_an_elastic_job_grows_into_what_is_idle_and_shrinks_for_who_comes(table: Table) -> None:
    work = table.submit(job("elastic", *options(h20_96=(4, 8, 16)), elastic=True, checkpoint=PORTABLE))
    table.run_all(work)
    assert work.attempts[-1].allocation.chosen[0].count == 16
    table.submit(job("guest", *options(h20_96=8)))
    assert table.stops() == [("elastic", "resize")]
    table.end(work, AttemptEnd.PREEMPTED)
    assert set(table.starts()) == {"elastic", "guest"}
    assert work.attempts[-1].allocation.chosen[0].count == 8
    guest = table.state.jobs[1]
    table.up(work, guest)
    table.end(guest)
    assert table.stops() == [("elastic", "resize")]
    table.end(work, AttemptEnd.PREEMPTED)
    table.decide()
    assert work.attempts[-1].allocation.chosen[0].count == 16


def test_a_lost_node_interrupts_and_the_job_starts_elsewhere(table: Table) -> None:
    work = table.submit(job("w", *options(h200=4), retries=Retries(backoff_us=0)))
    table.run_all(work)
    table.node("h200-0", NodeState.DOWN)
    assert table.stops() == [("w", "node_down")]
    table.end(work, AttemptEnd.LOST)
    assert table.starts() == ["w"]
    assert table.state.fleet.cluster.node_name(work.attempts[-1].allocation.grants[0].node) == "h200-1"


def test_an_attempt_on_a_lost_node_that_nobody_hears_of_is_given_up_after_the_grace(table: Table) -> None:
    work = table.submit(job("w", *options(h200=4), retries=Retries(backoff_us=0)))
    table.run_all(work)
    table.node("h200-0", NodeState.DOWN)
    table.decide()
    table.later(6)
    assert table.plan is not None
    table.decide()
    assert work.attempts[0].how is AttemptEnd.LOST
    assert table.starts() == ["w"]


def test_an_attempt_that_will_not_stop_is_told_again(table: Table) -> None:
    work = table.submit(job())
    table.run_all(work)
    table.ask(work, JobAction.CANCEL)
    table.later(1 + 5)
    stop = next(c for c in table.decide() if isinstance(c, Stop))
    assert stop.notice_us == 0
    assert work.state is JobState.STOPPING


def test_draining_moves_work_away_and_takes_nothing_new(table: Table) -> None:
    work = table.submit(job("w", *options(h200=4)))
    table.run_all(work)
    table.node("h200-0", NodeState.DRAINING)
    assert table.stops() == [("w", "drain")]
    table.end(work, AttemptEnd.PREEMPTED)
    assert table.starts() == ["w"]
    assert table.state.fleet.cluster.node_name(work.attempts[-1].allocation.grants[0].node) == "h200-1"


@pytest.mark.parametrize(
    ("work", "done", "state"),
    [
        (Work(amount=100.0), 99.0, JobState.WAITING),
        (Work(amount=100.0), 100.0, JobState.SUCCEEDED),
        (Work(amount=100.0), 101.0, JobState.SUCCEEDED),
        (Work(amount=100.0), 120.0, JobState.WAITING),
        (Work(unit=WorkUnit.SAMPLES, amount=1000.0, global_batch=64), 1050.0, JobState.SUCCEEDED),
        (Work(unit=WorkUnit.SAMPLES, amount=1000.0, global_batch=64), 1080.0, JobState.WAITING),
        (Work(unit=WorkUnit.TOKENS, amount=1e6), 1e6 + 900, JobState.SUCCEEDED),
    ],
)
def test_who_is_stopped_past_what_it_declared_has_declared_too_little_and_goes_on(table, work, done, state) -> None:
    found = table.submit(job("w", *options(h200=4), work=work, checkpoint=PORTABLE))
    table.run_all(found)
    table.ask(found, JobAction.REQUEUE)
    table.progress(found, done, saved=done)
    table.end(found, AttemptEnd.PREEMPTED)
    assert found.state is state
    assert found.done == (done if state is JobState.WAITING else max(done, work.amount))


def test_a_cordoned_node_keeps_its_work_and_takes_nothing_new(table: Table) -> None:
    work = table.submit(job("w", *options(h200=4)))
    table.run_all(work)
    table.node("h200-0", NodeState.CORDONED)
    table.node("h200-1", NodeState.CORDONED)
    other = table.submit(job("other", *options(h200=4)))
    assert table.stops() == [] and other.state is JobState.WAITING
    assert other.reason is not None and other.reason.code is ReasonCode.NO_ROOM


def test_a_time_limit_ends_the_job_as_failed(table: Table) -> None:
    work = table.submit(job(time_limit_us=30 * S))
    table.run_all(work)
    assert table.engine.wake_us == 30 * S
    table.later(30)
    assert table.stops() == [("train", "time_limit")]
    table.end(work, AttemptEnd.KILLED)
    assert (work.state, work.detail) == (JobState.FAILED, "the time limit was reached")


def test_a_hung_attempt_is_killed_and_retried(table: Table) -> None:
    work = table.submit(job(no_progress_timeout_us=10 * S, retries=Retries(backoff_us=0)))
    table.run_all(work)
    table.later(8)
    table.progress(work, done=1)
    table.later(8)
    assert table.stops() == []
    table.later(2)
    assert table.stops() == [("train", "hung")]
    table.end(work, AttemptEnd.KILLED)
    assert (work.state, work.retries_used) == (JobState.WAITING, 1)


def test_an_attempt_that_never_comes_up_is_interrupted(table: Table) -> None:
    work = table.submit(job())
    table.decide()
    table.later(60)
    assert table.stops() == [("train", "start_timeout")]
    table.end(work, AttemptEnd.KILLED)
    assert work.state is JobState.WAITING


def test_reports_of_an_older_attempt_change_nothing(table: Table) -> None:
    work = table.submit(job(retries=Retries(backoff_us=0)))
    table.run_all(work)
    table.end(work, AttemptEnd.LOST)
    table.run_all(work)
    before = table.state.image()
    table.tell(
        AttemptProgressed(0, 1, 1, 99, done=80.0, saved=80.0),
        AttemptEnded(0, 1, 1, 100, AttemptEnd.EXITED, 0),
        AttemptStarted(0, 2, 0, 50),
    )
    after = table.state.image()
    assert (after.jobs, work.state) == (before.jobs, JobState.RUNNING)


def test_repeated_and_reordered_reports_count_once(table: Table) -> None:
    work = table.submit(job())
    table.decide()
    for seq, done in ((3, 30.0), (2, 20.0), (3, 30.0)):
        table.tell(AttemptProgressed(0, 1, 1, seq, done))
    assert work.state is JobState.RUNNING
    assert work.attempts[0].done == 30
    table.tell(AttemptEnded(0, 1, 1, 1, AttemptEnd.EXITED, 0))
    assert work.state is JobState.SUCCEEDED


def test_a_job_comes_after_the_one_that_it_depends_on(table: Table) -> None:
    first = table.submit(job("first"))
    table.submit(job("second", after=(Dependency(job="first"),)))
    assert table.starts() == ["first"]
    table.up(first)
    table.end(first)
    assert table.starts() == ["second"]


def test_a_dependency_that_cannot_be_met_any_more_cancels(table: Table) -> None:
    first = table.submit(job("first"))
    on_success = table.submit(job("s", after=(Dependency(job="first"),)))
    on_failure = table.submit(job("f", after=(Dependency(job="first", on=DependsOn.FAILURE),)))
    table.run_all(first)
    table.end(first, exit_code=1)
    assert table.starts() == ["f"]
    assert on_success.state is JobState.CANCELLED
    assert on_failure.state is JobState.STARTING


def test_an_array_runs_at_most_so_many_at_once(table: Table) -> None:
    table.submit(job("sweep", *options(h20_96=1), array=Array(first=0, last=4, max_running=2)))
    members = table.state.jobs
    assert len(members) == 5
    table.run_all(*members)
    assert [m.state for m in members].count(JobState.RUNNING) == 2
    table.end(members[0])
    starts = [c for c in table.decide() if isinstance(c, Start)]
    assert [c.tasks[0].env["DUALTRACK_ARRAY_INDEX"] for c in starts] == ["2"]


def test_a_later_option_opens_when_the_job_has_waited(table: Table) -> None:
    import msgspec

    table.run_all(table.submit(job("long", *options(h200=8))))
    wanted = (*options(h200=8), msgspec.structs.replace(options(h20_96=8)[0], after_wait_us=60 * S))
    table.submit(job("patient", *wanted))
    assert table.starts() == []
    table.later(60)
    assert table.starts() == ["patient"]


def test_a_stream_of_small_jobs_never_starves_a_large_gang(table: Table) -> None:
    small = [table.submit(job(f"s{i}", *options(h200=1))) for i in range(8)]
    table.run_all(*small)
    gang = table.submit(job("gang", *options(h200=8)))
    for i, leaving in enumerate(small):
        table.submit(job(f"late{i}", *options(h200=1)))
        table.end(leaving)
        assert table.starts() == (["gang"] if i == 7 else [])
    assert gang.state is JobState.STARTING


def test_a_quota_holds_back_its_tenant_only() -> None:
    table = Table(configured(cluster([pool("h200", 2, 4)]), tenants(red={"h200": 4}, blue={})))
    table.run_all(table.submit(job("r1", *options(h200=4))))
    held = table.submit(job("r2", *options(h200=1)))
    table.submit(job("b", *options(h200=4), tenant="blue"))
    assert table.starts() == ["b"]
    assert held.reason is not None
    assert (held.reason.code, held.reason.who) == (ReasonCode.QUOTA_IN_USE, "red")


def test_a_child_is_bound_by_its_parents_quota() -> None:
    tree = tenants(red={"family__h20": 8}, red__vision={}, red__text={})
    table = Table(configured(cluster([pool("h20-96", 2, 8)]), tree))
    table.submit(job("v", *options(h20_96=8), tenant="red/vision"))
    table.submit(job("t", *options(h20_96=8), tenant="red/text"))
    assert table.starts() == ["v"]


def test_what_can_never_run_is_refused_with_the_reason(table: Table) -> None:
    for wanted, text in (
        (options(b200=1), "unknown accelerator"),
        (options(h200=9), "exceeds fleet"),
    ):
        with pytest.raises(InfeasibleError, match=text):
            table.submit(job("never", *wanted))


def test_a_count_that_the_vendor_cannot_grant_is_refused() -> None:
    table = Table(configured(cluster([pool("ascend-910c", 1, 8)])))
    with pytest.raises(InfeasibleError, match="granularity"):
        table.submit(job("odd", *options(ascend_910c=3)))


def test_a_gang_larger_than_any_cell_is_refused() -> None:
    table = Table(configured(cluster([pool("h200", 2, 4)], [pool("h200", 2, 4, name="other")])))
    with pytest.raises(InfeasibleError, match="exceeds cell"):
        table.submit(job("wide", *options(h200=12)))


def test_a_quota_of_zero_denies_at_once() -> None:
    table = Table(configured(cluster([pool("h200", 2, 4)]), tenants(red={"h200": 0})))
    with pytest.raises(DeniedError, match="may hold 0 of h200"):
        table.submit(job())


def test_names_keys_and_tenants_are_checked(table: Table) -> None:
    first = table.submit(job(), key="k", digest="d")
    assert table.engine.state.keys
    with pytest.raises(ConflictError, match="is the name of a job"):
        table.submit(job())
    with pytest.raises(ConflictError, match="was used for another job"):
        table.submit(job("other"), key="k", digest="e")
    with pytest.raises(NotFoundError, match="no tenant"):
        table.submit(job(tenant="green"))
    table.run_all(first)
    table.end(first)
    assert table.submit(job()).number == 1


def test_a_stop_cause_exists_for_every_way_an_attempt_is_told_to_leave() -> None:
    from scheduler.engine.transitions import STRENGTH

    assert set(STRENGTH) == set(StopCause)


def test_a_job_that_says_only_its_model_is_told_how_to_split_it() -> None:
    """Counts, accelerator and layout follow from the model of speed that comes with the catalog."""
    shape = ModelShape(params=8.03e9, layers=32, hidden=4096, seq_len=8192)
    work = Work(amount=1e12, unit=WorkUnit.TOKENS, model=shape, global_batch=1024)
    fleet = cluster([pool("h100", 4, 8)])
    table = Table(configured(fleet, catalog=load_catalog()))
    resources = Resources()
    roles = (Role(entrypoint=("python", "train.py"), resources=resources),)
    asked = table.submit(job("bare", work=work, roles=roles, job_class=JobClass.STANDARD))
    (start,) = [command for command in table.decide() if isinstance(command, Start)]
    parts = layout_parts(start.tasks[0].env["DUALTRACK_LAYOUT"])
    split = [int(parts.get(axis, "1")) for axis in ("tp", "pp", "dp", "cp")]
    assert math.prod(split) == asked.attempts[-1].allocation.chosen[0].count
    assert {task.accelerator for task in start.tasks} == {"h100"}
