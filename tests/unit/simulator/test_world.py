"""The simulated executor: time, progress, saves, notices and losses."""

from collections.abc import Sequence

import pytest

from scheduler.model.commands import Release, Start, Stop, Task
from scheduler.model.events import AttemptEnded, AttemptProgressed, AttemptStarted
from scheduler.model.jobs import Checkpoint, Job, JobType, Role, Work
from scheduler.model.lifecycle import AttemptEnd
from scheduler.model.workload import Truth
from scheduler.ports import Report
from scheduler.simulator.event_queue import EventQueue
from scheduler.simulator.execution import Happening, Overheads, Timer
from scheduler.simulator.world import World

S = 1_000_000


class Stage:
    """A world with a clock that is moved by hand; rates are 1 unit per second."""

    def __init__(self, overheads: Overheads | None = None, rate: float = 1.0) -> None:
        self.queue: EventQueue[Happening] = EventQueue()
        self.told: list[tuple[int, Report]] = []
        self.now_us = 0
        self.world = World(self.queue, overheads or Overheads(), lambda _: rate, self._hear)

    def _hear(self, report: Report) -> None:
        self.told.append((self.now_us, report))

    def until(self, time_us: int) -> None:
        while (due_us := self.queue.next_us()) is not None and due_us <= time_us:
            self.now_us, timer = self.queue.pop()
            assert isinstance(timer, Timer)
            self.world.on_timer(timer, self.now_us)
        self.now_us = time_us

    def ends(self) -> list[tuple[int, AttemptEnd, int]]:
        return [(t, r.how, r.exit_code) for t, r in self.told if isinstance(r, AttemptEnded)]

    def progress(self) -> list[tuple[int, float, float]]:
        return [(t, r.done, r.saved) for t, r in self.told if isinstance(r, AttemptProgressed)]


def job(work: float | None = 100.0, checkpoint: Checkpoint | None = None, no_progress_us: int | None = None) -> Job:
    return Job(
        name="j",
        type=JobType.TRAINING,
        roles=(Role(entrypoint=("x",)),),
        work=Work(amount=work),
        checkpoint=checkpoint,
        no_progress_timeout_us=no_progress_us,
    )


def task(node: int = 0, accelerator: str = "h200") -> Task:
    return Task(
        node=f"n-{node}",
        node_index=node,
        role="main",
        accelerator=accelerator,
        adapter="cpu",
        emulated=False,
        devices=(0,),
        world=0,
        world_size=1,
        first_rank=0,
        local_ranks=1,
        entrypoint=("x",),
    )


def start(attempt: int = 1, tasks: Sequence[Task] = (task(),), epoch: int = 1) -> Start:
    return Start(
        job=0,
        attempt=attempt,
        epoch=epoch,
        job_id="id",
        name="j",
        tenant="t",
        user="u",
        cell="c",
        tasks=tuple(tasks),
    )


def stop(notice_us: int, attempt: int = 1, epoch: int = 1) -> Stop:
    return Stop(job=0, attempt=attempt, epoch=epoch, job_id="id", cell="c", notice_us=notice_us, cause="preempt")


def release(attempt: int = 1) -> Release:
    return Release(job=0, attempt=attempt, epoch=1, job_id="id", cell="c")


def running(spec: Job, truth: Truth | None = None, overheads: Overheads | None = None) -> Stage:
    stage = Stage(overheads)
    stage.world.learn(0, spec, truth or Truth())
    stage.world.start(start(), 0)
    return stage


def test_a_job_starts_after_the_overhead_and_ends_when_its_work_is_done():
    stage = running(job(), overheads=Overheads(start_us=5 * S))
    stage.until(1000 * S)
    assert isinstance(stage.told[0][1], AttemptStarted)
    assert stage.told[0][0] == 5 * S
    assert stage.ends() == [(105 * S, AttemptEnd.EXITED, 0)]


def test_the_real_rate_is_the_forecast_times_the_truth_of_the_slowest_accelerator():
    stage = Stage()
    stage.world.learn(0, job(), Truth(rate_factor={"h200": 2.0, "h20-96": 0.5}))
    stage.world.start(start(tasks=(task(0, "h200"), task(1, "h20-96"))), 0)
    stage.until(1000 * S)
    assert stage.ends() == [(200 * S, AttemptEnd.EXITED, 0)]


def test_a_job_without_declared_work_runs_as_long_as_the_truth_says():
    stage = running(job(work=None), Truth(run_us=7 * S))
    stage.until(1000 * S)
    assert stage.ends() == [(7 * S, AttemptEnd.EXITED, 0)]


def test_a_service_without_a_run_time_never_ends_by_itself():
    stage = running(job(work=None))
    stage.until(10**15)
    assert stage.ends() == []
    assert stage.world.is_endless(0)


def test_a_failure_to_come_ends_the_ranks_with_a_code():
    stage = running(job(), Truth(fails_at=0.25))
    stage.until(1000 * S)
    assert stage.ends() == [(25 * S, AttemptEnd.EXITED, 1)]


def test_a_notice_long_enough_saves_everything():
    stage = running(job(checkpoint=Checkpoint(path="c", save_us=10 * S)))
    stage.until(40 * S)
    stage.world.stop(stop(60 * S), stage.now_us)
    stage.until(1000 * S)
    assert stage.ends() == [(50 * S, AttemptEnd.PREEMPTED, 0)]
    assert stage.progress() == [(50 * S, 40.0, 40.0)]
    assert stage.world.accounts[0].lost == 0


def test_a_notice_too_short_loses_what_came_after_the_last_save():
    checkpoint = Checkpoint(path="c", every_us=15 * S, save_us=10 * S)
    stage = running(job(checkpoint=checkpoint))
    stage.until(45 * S)
    stage.world.stop(stop(5 * S), stage.now_us)
    stage.until(1000 * S)
    assert stage.ends() == [(50 * S, AttemptEnd.KILLED, 0)]
    # saves began at 15, 30 and 45 s; by the kill, progress had stopped at 45 s and the save of 30 s was safe
    assert stage.progress() == [(50 * S, 45.0, 30.0)]
    assert stage.world.accounts[0].lost == pytest.approx(15.0)


def test_without_a_checkpoint_a_notice_is_left_at_once_and_all_is_lost():
    stage = running(job())
    stage.until(30 * S)
    stage.world.stop(stop(60 * S), stage.now_us)
    stage.until(31 * S)
    assert stage.ends() == [(30 * S, AttemptEnd.PREEMPTED, 0)]
    assert stage.world.accounts[0].lost_us == 30 * S


def test_a_stop_without_notice_kills_at_once():
    stage = running(job(checkpoint=Checkpoint(path="c", save_us=1 * S)))
    stage.until(30 * S)
    stage.world.stop(stop(0), stage.now_us)
    assert stage.ends() == [(30 * S, AttemptEnd.KILLED, 0)]


def test_the_next_attempt_resumes_from_what_was_saved_after_the_restart_cost():
    checkpoint = Checkpoint(path="c", save_us=0, restart_us=20 * S)
    stage = running(job(checkpoint=checkpoint), overheads=Overheads(restart_us=3 * S))
    stage.until(40 * S)
    stage.world.stop(stop(60 * S), stage.now_us)
    stage.until(50 * S)
    stage.world.stop(release(), stage.now_us)
    stage.world.start(start(attempt=2), stage.now_us)
    stage.until(1000 * S)
    assert stage.ends()[-1] == (50 * S + 23 * S + 60 * S, AttemptEnd.EXITED, 0)


def test_repeated_starts_and_stops_are_one():
    stage = running(job())
    stage.world.start(start(), 0)
    stage.until(10 * S)
    stage.world.stop(stop(5 * S), stage.now_us)
    stage.world.stop(stop(9 * S), stage.now_us)
    stage.until(1000 * S)
    assert len(stage.ends()) == 1
    stage.world.stop(stop(5 * S), stage.now_us)
    assert len(stage.ends()) == 1


def test_a_stop_that_overtakes_its_start_fences_it():
    stage = Stage()
    stage.world.learn(0, job(), Truth())
    stage.world.stop(stop(0), 0)
    stage.world.start(start(), 0)
    stage.until(1000 * S)
    assert stage.told == []


def test_a_command_of_an_older_epoch_has_no_effect():
    stage = Stage()
    stage.world.learn(0, job(), Truth())
    stage.world.start(start(epoch=3), 0)
    stage.until(10 * S)
    stage.world.stop(stop(0, epoch=2), stage.now_us)
    assert stage.ends() == []


def test_a_released_attempt_is_gone_from_the_list_and_its_reports_with_it():
    stage = running(job())
    stage.until(1000 * S)
    assert [status.ended for status in stage.world.statuses(["c"])["c"]] == [True]
    assert [report.seq for report in stage.world.reports({("id", 1): 1})] == [2]
    stage.world.stop(release(), stage.now_us)
    stage.world.stop(stop(0), stage.now_us)
    assert stage.world.statuses(["c", "d"]) == {"c": (), "d": ()}
    assert stage.world.reports({}) == ()


def test_a_lost_node_takes_every_attempt_with_ranks_there():
    stage = Stage()
    stage.world.learn(0, job(), Truth())
    stage.world.start(start(tasks=(task(0), task(1))), 0)
    stage.until(10 * S)
    stage.world.lose_node(1, stage.now_us)
    assert stage.ends() == [(10 * S, AttemptEnd.LOST, 0)]
    stage.world.stop(release(), stage.now_us)
    stage.world.start(start(attempt=2, tasks=(task(1),)), stage.now_us)
    assert stage.ends()[-1] == (10 * S, AttemptEnd.LOST, 0)


def test_hung_ranks_are_deaf_to_a_notice_and_lose_what_was_not_saved():
    stage = running(job(checkpoint=Checkpoint(path="c", every_us=10 * S)))
    stage.until(25 * S)
    execution = stage.world.executions[0, 1]
    stage.world.hang(execution, stage.now_us)
    stage.until(500 * S)
    assert stage.ends() == []
    stage.world.stop(stop(30 * S), stage.now_us)
    stage.until(600 * S)
    assert stage.ends() == [(530 * S, AttemptEnd.KILLED, 0)]
    assert stage.progress() == [(530 * S, 25.0, 20.0)]


def test_progress_is_told_at_the_interval_or_often_enough_not_to_count_as_hung():
    stage = running(job(work=50.0), overheads=Overheads(report_us=20 * S))
    stage.until(1000 * S)
    assert [t for t, _, _ in stage.progress()] == [20 * S, 40 * S]
    stage = running(job(work=50.0, no_progress_us=40 * S))
    stage.until(1000 * S)
    assert [t for t, _, _ in stage.progress()] == [10 * S, 20 * S, 30 * S, 40 * S]


def test_reports_of_an_attempt_are_numbered_from_one_without_gaps():
    stage = running(job(work=50.0), overheads=Overheads(report_us=9 * S))
    stage.until(1000 * S)
    assert [report.seq for _, report in stage.told] == list(range(1, len(stage.told) + 1))
