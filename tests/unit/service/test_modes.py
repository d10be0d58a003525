"""Observe and advise decide and explain, and act on nothing that they chose themselves."""

from scheduler.model.allocations import Allocation, Chosen, Grant
from scheduler.model.events import Allocated, DependencyBroken, ReasonsChanged, StopOrdered
from scheduler.model.lifecycle import StopCause
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.service.modes import RunMode, permitted

GRANT = Grant(node=0, role=0, devices=1, cpu_milli=1, memory_mib=1)
ALLOCATION = Allocation(chosen=(Chosen("h200", 1),), grants=(GRANT,), rate=1.0, charge=1)
START = Allocated(0, 1, 1, ALLOCATION)
PREEMPT = StopOrdered(1, 1, 1, StopCause.PREEMPT, 0)
CANCEL = StopOrdered(2, 1, 1, StopCause.CANCEL, 0)
LIMIT = StopOrdered(3, 1, 1, StopCause.TIME_LIMIT, 0)
NO_ROOM = Reason(code=ReasonCode.NO_ROOM, accelerator="h200", need=1)
OBSERVING = Reason(code=ReasonCode.OBSERVING)


def test_enforce_lets_everything_happen():
    events = (START, PREEMPT, CANCEL)
    assert permitted(RunMode.ENFORCE, events, lambda _: None) == events


def test_observe_holds_back_its_own_starts_and_preemptions_and_nothing_else():
    kept = permitted(RunMode.OBSERVE, (PREEMPT, START, CANCEL, LIMIT, DependencyBroken(4)), lambda _: None)
    assert kept == (CANCEL, LIMIT, DependencyBroken(4), ReasonsChanged(((0, OBSERVING),)))


def test_a_start_held_back_is_told_once():
    assert permitted(RunMode.ADVISE, (START,), lambda _: OBSERVING) == ()


def test_reasons_of_other_jobs_are_kept():
    told = ReasonsChanged(((0, NO_ROOM), (5, NO_ROOM)))
    kept = permitted(RunMode.OBSERVE, (START, told), lambda _: NO_ROOM)
    assert kept == (ReasonsChanged(((5, NO_ROOM),)), ReasonsChanged(((0, OBSERVING),)))
