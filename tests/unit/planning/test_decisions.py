"""Every allocation of a history is made again from the history alone."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from scheduler.engine.image import decode, encode
from scheduler.engine.state import State
from scheduler.journal.memory import MemoryJournal
from scheduler.model.events import Allocated, EpochStarted, Event, Record
from scheduler.model.jobs import Option
from scheduler.model.policy import Policy
from scheduler.model.workload import Arrival
from scheduler.planning import decisions_of
from scheduler.simulator.driver import Driver
from scheduler.simulator.execution import Overheads
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool, tenants
from tests.support.harness import Table

FLEET = cluster([pool("h200", 2, 8), pool("h20-96", 2, 8)], [pool("ascend-910c", 2, 8)])
OVERHEADS = Overheads(start_us=3 * S, stop_us=S, restart_us=2 * S, report_us=60 * S)


LIMITED = {"red": {"h200": 12}, "blue": {"h200": 4}}


BY_PRIORITY = structs.replace(QUICK, name="priority")


def lived(jobs: list[Arrival], policy: Policy = BY_PRIORITY, quota: dict[str, dict] = LIMITED) -> list[Record]:
    """The journal of a simulated run."""
    config = configured(FLEET, tenants(**quota), policy)
    journal = MemoryJournal()
    journal.lead()
    journal.append([Record(1, 1, 0, config)])
    seq = 1

    def note(event: Event, now_us: int) -> None:
        nonlocal seq
        seq += 1
        journal.append([Record(seq, 1, now_us, event)])

    driver = Driver(State.new(config), OVERHEADS, note)
    driver.feed(EpochStarted(1))
    driver.expect(jobs)
    driver.run(200_000 * S)
    return list(journal.read())


ARRIVALS = st.lists(
    st.tuples(
        st.integers(0, 500), st.sampled_from(["h200", "h20-96", "ascend-910c"]), st.sampled_from([1, 2, 4, 8, 16]),
        st.integers(1, 30), st.sampled_from([100, 500, 900]), st.booleans(),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=ARRIVALS, policy=st.sampled_from(["priority", "fifo-best-type", "balanced", "throughput", "las"]))
def test_all_decisions_of_a_simulated_run_are_made_again_from_its_journal(
    drawn: list[tuple[int, str, int, int, int, bool]], policy: str
) -> None:
    arrivals = [
        Arrival(
            at_us=at * S,
            job=job(
                f"j{n}", Option(accelerator=name, counts=(count,)), Option(accelerator="h20-96", counts=(count,)),
                priority=priority, tenant="blue" if blue else "red",
                work=structs.replace(job().work, amount=100.0 * steps),
            ),
        )
        for n, (at, name, count, steps, priority, blue) in enumerate(drawn)
        if name != "h20-96"
    ]  # fmt: skip
    records = lived(arrivals, structs.replace(QUICK, name=policy))
    allocated = [record.seq for record in records if isinstance(record.event, Allocated)]
    traces = list(decisions_of(records))
    assert [trace.seq for trace in traces] == allocated
    assert all(trace.same for trace in traces)


def crowd() -> list[Record]:
    wide = [Arrival(at_us=n * S, job=job(f"j{n}", *options(h200=8, h20_96=16), priority=100 * n)) for n in range(4)]
    return lived(wide)


def test_a_trace_tells_the_options_as_the_cycle_saw_them() -> None:
    trace = next(iter(decisions_of(crowd())))
    assert (trace.job, trace.attempt, trace.policy, trace.together) == (0, 1, "priority", 1)
    chosen = next(option for option in trace.options if option.chosen)
    assert chosen.report.chosen == trace.allocation.chosen
    assert (chosen.share, chosen.worth, chosen.paid) == (1.0, None, 0.0)
    assert len(trace.options) == 2


def test_under_prices_no_other_option_leaves_more_than_the_chosen_one_by_more_than_the_gap() -> None:
    jobs = [Arrival(at_us=0, job=job(f"j{n}", *options(h200=4, h20_96=4), tenant="red")) for n in range(8)]
    records = lived(jobs, structs.replace(QUICK, name="balanced"), {"red": {}})
    traces = list(decisions_of(records))
    assert all(trace.same for trace in traces)
    first = [trace for trace in traces if trace.time_us == 0]
    assert any(trace.prices for trace in first)
    for trace in first:
        left = {option.chosen: (option.worth or 0.0) - option.paid for option in trace.options}
        assert left[True] >= left[False] - 0.01 * max(option.worth or 0.0 for option in trace.options)


def test_one_decision_is_found_by_its_record_and_from_a_later_state_as_well() -> None:
    records = crowd()
    wanted = [record.seq for record in records if isinstance(record.event, Allocated)][1]
    (whole,) = decisions_of(records, seqs={wanted})
    driver = Driver(State.new(records[0].event), OVERHEADS)
    for record in records[1:3]:
        driver.engine.fold(record.event, record.time_us)
    (part,) = decisions_of(records[3:], decode(encode(driver.state)), {wanted})
    assert part == whole
    assert whole.same


def test_an_allocation_that_the_engine_would_not_make_is_told() -> None:
    records = crowd()
    place = next(i for i, record in enumerate(records) if isinstance(record.event, Allocated))
    event = records[place].event
    other = structs.replace(event.allocation, grants=tuple(structs.replace(g, node=1) for g in event.allocation.grants))
    forged = [*records[:place], structs.replace(records[place], event=structs.replace(event, allocation=other))]
    (trace,) = decisions_of(forged)
    assert not trace.same
    assert trace.allocation == other


def test_victims_are_told_with_the_decision_that_they_made_room_for() -> None:
    t = Table(configured(cluster([pool("h200", 1, 8)]), tenants(red={}), BY_PRIORITY))
    weak = t.submit(job("weak", *options(h200=8), priority=1))
    t.run_all(weak)
    t.later(10)
    t.submit(job("strong", *options(h200=8), priority=900))
    t.decide()
    t.later(1)
    t.end(weak)
    t.decide()
    history = [Record(n + 2, 1, time_us, event) for n, (event, time_us) in enumerate(t.events)]
    traces = list(decisions_of([Record(1, 1, 0, t.config), *history]))
    assert [(trace.job, trace.victims) for trace in traces] == [(0, ()), (1, (0,))]
    assert all(trace.same for trace in traces)


def test_a_history_that_begins_in_the_middle_is_refused() -> None:
    from scheduler.errors import NotFoundError

    with pytest.raises(NotFoundError, match="not with a configuration"):
        list(decisions_of([Record(5, 1, 0, EpochStarted(1))]))
