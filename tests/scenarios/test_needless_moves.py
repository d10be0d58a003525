"""Who runs is left alone where the newcomer finds as good a place in another cell."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.problem import build, candidates
from scheduler.engine.snapshot import take
from scheduler.engine.sparing import without_needless_moves
from scheduler.model.accelerators import Track
from scheduler.model.jobs import Moves
from scheduler.model.lifecycle import JobState
from scheduler.model.rules import DomesticShare, Measure, Mode, Rules, ShareBasis
from scheduler.model.tenants import JobClass
from scheduler.policies import NONE, POLICIES, Choice
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool
from tests.support.harness import Table

H200 = options(h200=4)


def cells(count: int, policy: str = "priority", **second: object) -> Table:
    """Cells of one node of four h200 each."""
    pools = [[pool("h200", 1, 4, name=f"p{n}", **(second if n else {}))] for n in range(count)]
    return Table(configured(cluster(*pools), policy=msgspec.structs.replace(QUICK, name=policy)))


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("job_class", [JobClass.STANDARD, JobClass.PRODUCTION])
def test_nobody_leaves_where_another_cell_has_the_same_devices_idle(policy, job_class):
    """A better class, which chooses first, does not see what it would cost a lesser one to leave."""
    at = cells(2, policy)
    idle = at.submit(job("idle", *H200, job_class=JobClass.OPPORTUNISTIC))
    at.run_all(idle)
    at.later(3600)
    asks = at.submit(job("asks", *H200, job_class=job_class))
    assert at.stops() == []
    assert (asks.state, asks.attempts[-1].cell) == (JobState.STARTING, "b")


def test_who_has_to_leave_leaves_where_no_cell_has_them():
    at = cells(2)
    at.run_all(*(at.submit(job(f"idle-{n}", *H200, job_class=JobClass.OPPORTUNISTIC)) for n in range(2)))
    at.later(3600)
    at.submit(job("asks", *H200))
    assert len(at.stops()) == 1


def test_a_place_that_a_rule_counts_otherwise_is_not_the_same():
    """The other cell's devices are told to be imported, and the share of the domestic is judged."""
    at = cells(2, track=Track.IMPORTED)
    hold = DomesticShare(
        id="s", basis=ShareBasis.USED, measure=Measure.DEVICE_HOURS, target=0.5, window_us=86_400 * S, mode=Mode.HOLD
    )
    first = msgspec.structs.replace(pool("h200", 1, 4, name="p0"), track=Track.DOMESTIC)
    fleet = cluster([first], [pool("h200", 1, 4, name="p1")])
    at.tell(msgspec.structs.replace(at.config, cluster=fleet, rules=Rules(domestic_shares=(hold,))))
    at.run_all(at.submit(job("idle", *H200, job_class=JobClass.OPPORTUNISTIC)))
    at.later(3600)
    at.submit(job("asks", *H200))
    assert at.stops() == [("idle", "preempt")]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_to_change_places_takes_the_same_of_each_row_and_moves_fewer(data):
    at = cells(3)
    running = [at.submit(job(f"r{n}", *options(h200=data.draw(st.integers(1, 4))), moves=Moves.ANY)) for n in range(3)]
    at.run_all(*running)
    at.later(10)
    for n in range(3):
        at.submit(job(f"w{n}", *options(h200=(1, 2, 4))))
    snapshot = take(at.state, at.now_us)
    who = candidates(snapshot, at.now_us)
    numbers = np.sort(np.concatenate((who.running, who.waiting)))
    problem = build(snapshot, who, numbers, (), at.now_us)
    spans = [range(int(a), int(b)) for a, b in zip(problem.ptr, problem.ptr[1:], strict=False)]
    option = np.array([data.draw(st.sampled_from([NONE, *(o for o in span if problem.open[o])])) for span in spans])
    choice = Choice(option, np.arange(len(numbers)), np.full(len(numbers), NONE), {})
    found = without_needless_moves(snapshot, problem, choice).option
    assert np.array_equal(_taken(problem, found), _taken(problem, option))
    assert np.array_equal(found == NONE, option == NONE)
    assert problem.open[found[found != NONE]].all()
    moves = [((o != NONE) & (problem.current != NONE) & (o != problem.current)).sum() for o in (option, found)]
    assert moves[1] <= moves[0]


def _taken(problem, option):
    taken = np.zeros(len(problem.available), dtype=np.int64)
    for o in option[option != NONE].tolist():
        uses = slice(int(problem.use_ptr[o]), int(problem.use_ptr[o + 1]))
        np.add.at(taken, problem.use_row[uses], problem.use_amount[uses])
    return taken
