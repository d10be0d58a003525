"""A cell's executor behind its link: order, unknown outcomes, refusals, silence."""

import threading
import time

import pytest

from backends.executors.fake import FakeExecutor, FakeWorld, Faults, Unknown
from scheduler.errors import ExecutorError
from scheduler.model.commands import Release, Start, Stop, Task
from scheduler.model.events import AttemptEnded, AttemptStarted
from scheduler.service.links import CellLink, Listed, Received, StartFailed
from scheduler.service.wallclock import WallClock
from tests.support.waiting import until

TASK = Task(
    node="n-0", node_index=0, role="main", accelerator="h200", adapter="cpu", emulated=True, devices=(0,), world=0,
    world_size=1, first_rank=0, local_ranks=1, entrypoint=("x",),
)  # fmt: skip


def start(job_id="one", attempt=1, work=None):
    return Start(
        job=0,
        attempt=attempt,
        epoch=1,
        job_id=job_id,
        name=job_id,
        tenant="t",
        user="u",
        cell="c",
        tasks=(TASK,),
        work=work,
    )


def stop(job_id="one", attempt=1):
    return Stop(job=0, attempt=attempt, epoch=1, job_id=job_id, cell="c", notice_us=0, cause="cancel")


def release(job_id="one", attempt=1):
    return Release(job=0, attempt=attempt, epoch=1, job_id=job_id, cell="c")


class Bench:
    """A link to a fake world, and the news that came through it."""

    def __init__(self, executor):
        self.executor = executor
        self.news = []
        self.link = CellLink("c", executor, self.news.append, lambda job: "one")

    def of(self, kind):
        return [item for item in self.news if isinstance(item, kind)]

    def reports(self):
        return [report for item in self.of(Received) for report in item.reports]


@pytest.fixture
def bench():
    made = []

    def make(executor=None, **faults):
        bench = Bench(executor or FakeExecutor(FakeWorld(WallClock(), faults=Faults(**faults)), sleep=time.sleep))
        made.append(bench)
        return bench

    yield make
    for bench in made:
        bench.link.close()


def test_a_start_goes_out_and_its_reports_come_in(bench):
    b = bench()
    b.link.open({})
    b.link.send([start(work=0.01)])
    until(lambda: any(isinstance(r, AttemptEnded) for r in b.reports()), what="the end")
    assert isinstance(b.reports()[0], AttemptStarted)


def test_reports_that_are_on_record_are_not_asked_for_again(bench):
    b = bench()
    b.executor.start(start())
    b.link.open({("one", 1): 1})
    until(lambda: b.link.silent_s() < 0.5 and b.reports(), timeout_s=10)
    assert min(report.seq for report in b.reports()) == 2


@pytest.mark.parametrize("fault", list(Unknown))
def test_a_start_of_unknown_outcome_ends_in_one_running_attempt(bench, fault):
    b = bench(starts=(fault,))
    b.link.send([start()])
    until(lambda: [s.attempt for s in b.executor.list()] == [1], what="the attempt")
    assert b.of(StartFailed) == []


@pytest.mark.parametrize("fault", list(Unknown))
def test_a_stop_of_unknown_outcome_ends_the_attempt(bench, fault):
    b = bench(stops=(fault,))
    b.link.send([start(), stop()])
    until(lambda: [s.ended for s in b.executor.list()] == [True], what="the end")


def test_commands_of_one_attempt_keep_their_order(bench):
    b = bench(starts=(Unknown.NOT_DONE,))
    b.link.send([start(), stop(), release()])
    until(lambda: b.executor.world.attempts and not b.executor.list(), what="the release")


class Stubborn(FakeExecutor):
    """Refuses every start, answers nothing else, or blocks, as told."""

    def __init__(self, *, refuse="", deaf=False):
        super().__init__(FakeWorld(WallClock()), sleep=time.sleep)
        self.refuse = refuse
        self.deaf = deaf
        self.gate = threading.Event()

    def start(self, command):
        if self.refuse:
            raise ExecutorError(self.refuse)
        super().start(command)

    def list(self):
        if self.deaf:
            raise ExecutorError("nobody home")
        return super().list()

    def reports(self, seen, wait_s):
        if self.deaf:
            raise ExecutorError("nobody home")
        return super().reports(seen, wait_s)


def test_a_refused_start_is_told_with_its_reason(bench):
    b = bench(Stubborn(refuse="no such image"))
    b.link.send([start()])
    until(lambda: b.of(StartFailed))
    assert b.of(StartFailed)[0].problem == "no such image"


def test_an_executor_that_fails_in_an_unforeseen_way_does_not_silence_its_cell(bench):
    executor = Stubborn()
    b = bench(executor)
    failures = iter([RuntimeError("a defect")])
    whole = executor.reports

    def reports(seen, wait_s):
        for failure in failures:
            raise failure
        return whole(seen, wait_s)

    executor.reports = reports
    b.link.open({})
    b.link.send([start()])
    until(b.reports)


def test_a_silent_executor_is_listed_once_it_answers_again(bench):
    executor = Stubborn(deaf=True)
    b = bench(executor)
    b.link.open({})
    b.link.relist()
    until(lambda: b.link.silent_s() > 0.3)
    assert b.of(Listed) == []
    executor.deaf = False
    until(lambda: b.of(Listed))
    assert b.link.silent_s() < 2
