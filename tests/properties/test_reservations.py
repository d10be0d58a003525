"""However jobs and windows are drawn: nobody starts on a reserved node whose limit crosses the window."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.engine import invariants
from scheduler.engine.image import decode, encode
from scheduler.engine.state import State
from scheduler.model.events import Allocated, EpochStarted, Event, ReservationMade
from scheduler.model.jobs import Work
from scheduler.model.reservations import Reservation
from scheduler.model.rules import within
from scheduler.model.workload import Arrival
from scheduler.simulator.driver import Driver
from scheduler.simulator.execution import Overheads
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool, tenants
from tests.support.harness import ANN

FLEET = cluster([pool("h200", 2, 8), pool("h20-96", 2, 8)])
NODES = ("h200-0", "h200-1", "h20-96-0", "h20-96-1")

WINDOWS = st.lists(
    st.builds(
        Reservation,
        id=st.sampled_from(["r-1", "r-2", "r-3"]),
        nodes=st.lists(st.sampled_from(NODES), min_size=1, max_size=3, unique=True).map(tuple),
        from_us=st.integers(0, 3_000).map(lambda s: s * S),
        until_us=st.integers(3_001, 6_000).map(lambda s: s * S),
        tenant=st.sampled_from(["", "red"]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda window: window.id,
)
JOBS = st.lists(
    st.tuples(
        st.integers(0, 3_000), st.sampled_from([1, 4, 8, 16]), st.integers(10, 3_000), st.sampled_from(["red", "blue"]),
        st.sampled_from([0, 500, 900]),
    ),
    min_size=1, max_size=10,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(windows=WINDOWS, jobs=JOBS)
def test_no_start_crosses_a_window_of_others_and_everybody_starts_in_the_end(windows, jobs):
    crossings: list[str] = []
    notice_us = QUICK.notice_min_us

    def watch(event: Event, now_us: int) -> None:
        invariants.check(driver.state)
        if not isinstance(event, Allocated):
            return
        record = driver.state.jobs[event.job]
        end_us = now_us + (record.time_limit_us or 0) - record.ran_us + notice_us
        names = {FLEET.node_name(grant.node) for grant in event.allocation.grants}
        for window in windows:
            own = bool(window.tenant) and within(record.spec.tenant, window.tenant)
            if not own and names & set(window.nodes) and now_us < window.until_us and end_us > window.from_us:
                crossings.append(record.spec.name)

    driver = Driver(State.new(configured(FLEET, tenants(red={}, blue={}))), Overheads(), watch)
    driver.feed(EpochStarted(1))
    for window in windows:
        driver.feed(ReservationMade(window, ANN))
    driver.expect(
        Arrival(
            at_us=at * S,
            job=job(
                f"j{n}", *options(h200=count, h20_96=count), tenant=tenant, priority=priority, work=Work(),
                time_limit_us=limit * S,
            ),
        )
        for n, (at, count, limit, tenant, priority) in enumerate(jobs)
    )  # fmt: skip
    driver.run(100_000 * S)
    assert crossings == []
    assert all(record.attempts for record in driver.state.jobs), "a window that has ended keeps nobody out"
    assert encode(decode(encode(driver.state))) == encode(driver.state)
