"""Events of every kind, by hand and by hypothesis, for tests that write and read histories."""

from collections.abc import Iterable

from hypothesis import strategies as st

from scheduler.model.accelerators import Accelerator, Catalog, Figure, Track, WorkClass
from scheduler.model.allocations import Allocation, Chosen, Grant
from scheduler.model.cluster import Cell, Cluster, Foreign, NodeState, Pool
from scheduler.model.events import (
    ActionRequested,
    Actor,
    Allocated,
    ArrayMember,
    AttemptEnded,
    AttemptProgressed,
    AttemptStarted,
    CarriedOver,
    CellReachability,
    Configured,
    DependencyBroken,
    EpochStarted,
    Event,
    ForeignChanged,
    JobAction,
    JobSubmitted,
    JobUpdated,
    NodeStateChanged,
    ReasonsChanged,
    Record,
    ReservationCancelled,
    ReservationMade,
    ResolvedDependency,
    StopOrdered,
)
from scheduler.model.jobs import DependsOn, Job, JobType, Moves, Option, Resources, Role, Work
from scheduler.model.lifecycle import AttemptEnd, StopCause
from scheduler.model.policy import Policy
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.model.reservations import Reservation
from scheduler.model.rules import Rules
from scheduler.model.tenants import Quota, Tenant, Tenants

ALICE = Actor("alice", "search", True)


def a_configuration() -> Configured:
    """Two H200 nodes in one cell, one tenant that may use them all."""
    h200 = Accelerator(
        name="h200",
        family="h200",
        vendor="nvidia",
        adapter="nvidia",
        track=Track.IMPORTED,
        compute_units=6000,
        hbm_gib=Figure(141.0, 141.0, 141.0),
        rates={WorkClass.DENSE_TRAINING: Figure(6.0, 5.0, 6.7)},
    )
    pool = Pool(name="big", accelerator="h200", nodes=2, devices_per_node=8, cpu_milli=96_000, memory_mib=2_000_000)
    return Configured(
        catalog=Catalog((h200,)),
        cluster=Cluster(name="small", cells=(Cell(name="one", pools=(pool,)),)),
        tenants=Tenants(tenants=(Tenant(name="search", quotas=(Quota(resource="h200", nominal=16),)),)),
        rules=Rules(),
        policy=Policy(),
    )


def a_job(name: str = "train") -> Job:
    role = Role(
        entrypoint=("python", "train.py"),
        env={"ZEBRA": "1", "ALPHA": "2"},
        resources=Resources(options=(Option(accelerator="h200", counts=(2, 4)),)),
    )
    return Job(name=name, type=JobType.TRAINING, roles=(role,), tenant="search", work=Work(amount=100.0))


def one_of_each_kind() -> tuple[Event, ...]:
    """All kinds, with values in every optional field somewhere. Not a story that an engine could fold."""
    allocation = Allocation(
        chosen=(Chosen("h200", 2),), grants=(Grant(0, 0, 0b11, 24_000, 500_000),), rate=1.5, charge=12
    )
    return (
        EpochStarted(1),
        a_configuration(),
        JobSubmitted(
            0, "job-a", a_job(), ALICE, "key", "digest", ArrayMember(0, 3), (ResolvedDependency(0, DependsOn.END),)
        ),
        JobUpdated(0, ALICE, priority=600, time_limit_us=5, deadline_us=None, moves=Moves.ANY),
        ActionRequested(0, JobAction.SUSPEND, ALICE),
        NodeStateChanged(1, NodeState.CORDONED, ALICE, "fan is loud"),
        ForeignChanged((Foreign(node="big-0", devices=1, owner="somebody"),)),
        CellReachability("one", False),
        ReservationMade(Reservation(id="r", nodes=("big-0",), from_us=1, until_us=2, tenant="a", why="fans"), ALICE),
        ReservationCancelled("r", ALICE),
        AttemptStarted(0, 1, 1, 1, ("127.0.0.1:80",)),
        AttemptProgressed(0, 1, 1, 2, 10.0, 5.0, 1.25, 2.75, 1),
        AttemptEnded(0, 1, 1, 3, AttemptEnd.EXITED, 0, "done"),
        Allocated(0, 1, 1, allocation),
        StopOrdered(0, 1, 1, StopCause.PREEMPT, 99, 4),
        DependencyBroken(7),
        ReasonsChanged(((0, Reason(code=ReasonCode.NO_ROOM, accelerator="h200", need=2, have=1)),)),
        CarriedOver((("h200", 0.1), ("h20-96", 1 / 3))),
    )


def numbered(events: Iterable[Event], epoch: int = 1, after: int = 0) -> list[Record]:
    """Records that continue a history after record `after`, one microsecond apart."""
    return [Record(seq, epoch, 1_000_000 + seq, event) for seq, event in enumerate(events, after + 1)]


_amounts = st.floats(min_value=0, max_value=1e300, allow_nan=False)
_words = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_actors = st.builds(Actor, _words, _words, st.booleans())
_numbers = st.integers(0, 2**40)

events: st.SearchStrategy[Event] = st.one_of(
    st.builds(EpochStarted, _numbers),
    st.builds(JobUpdated, _numbers, _actors, st.none() | _numbers, st.none() | _numbers, st.none() | _numbers),
    st.builds(ActionRequested, _numbers, st.sampled_from(JobAction), _actors),
    st.builds(NodeStateChanged, _numbers, st.sampled_from(NodeState), st.none() | _actors, _words),
    st.builds(
        AttemptProgressed, _numbers, _numbers, _numbers, _numbers, _amounts, _amounts, _amounts, st.none() | _amounts
    ),
    st.builds(CarriedOver, st.lists(st.tuples(_words, _amounts), max_size=3).map(tuple)),
    st.sampled_from(one_of_each_kind()),
)
"""Any event that a journal may be given, except that jobs and configurations come from a few examples."""

batches = st.lists(st.lists(events, max_size=5), max_size=8)
"""Histories as they are committed."""
