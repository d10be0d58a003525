"""When a job will start, how sure that is, who comes first, and what one device more is worth."""

import pytest
from msgspec import structs

from scheduler.engine.image import encode
from scheduler.model.jobs import Work
from scheduler.model.policy import Policy
from scheduler.planning import outlook, outlooks, price_intervals, queue_position
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool, tenants
from tests.support.harness import Table

CALM = structs.replace(QUICK, name="priority", preemption=False)


def table(policy: Policy = CALM) -> Table:
    return Table(configured(cluster([pool("h200", 1, 8)]), tenants(red={}), policy))


def crowded(policy: Policy = CALM) -> Table:
    t = table(policy)
    for n, priority in enumerate((500, 100, 900, 500)):
        work = structs.replace(job().work, amount=10_000.0)
        t.submit(job(f"j{n}", *options(h200=8), priority=priority, work=work))
    t.run_all(t.state.jobs[2])
    return t


def test_the_band_of_a_start_holds_what_is_expected_and_widens_with_each_job_before_it() -> None:
    t = crowded()
    found = outlooks(t.state, t.now_us)
    running, next_, last = found[2], found[0], found[1]
    assert running.start_us == running.start_low_us == running.start_high_us == 0
    for told in (next_, last):
        assert told.start_low_us < told.start_us < told.start_high_us
        assert told.finish_low_us < told.finish_us < told.finish_high_us
    assert last.start_high_us - last.start_low_us > next_.start_high_us - next_.start_low_us


def test_one_outlook_is_that_of_all() -> None:
    t = crowded()
    every = outlooks(t.state, t.now_us)
    for number in range(4):
        one = outlook(t.state, number, t.now_us)
        assert one is not None
        assert (one.start_us, one.start_low_us, one.start_high_us) == (
            every[number].start_us,
            every[number].start_low_us,
            every[number].start_high_us,
        )
    assert outlook(t.state, 0, t.now_us).basis == "declared_work"


def test_behind_a_job_without_an_end_no_start_is_promised() -> None:
    from scheduler.model.jobs import JobType, Service

    t = table()
    t.run_all(t.submit(job("served", *options(h200=8), type=JobType.INFERENCE, service=Service(), work=Work())))
    t.submit(job("behind", *options(h200=8)))
    found = outlook(t.state, 1, t.now_us)
    assert found is not None
    assert (found.start_us, found.start_high_us, found.finish_us) == (None, None, None)


def test_the_position_follows_the_order_of_the_policy() -> None:
    by_priority = crowded()
    assert [queue_position(by_priority.state, n, 0) for n in (0, 3, 1)] == [(1, 3), (2, 3), (3, 3)]
    assert queue_position(by_priority.state, 2, 0) is None, "it runs"
    by_arrival = crowded(structs.replace(CALM, name="fifo-best-type"))
    assert [queue_position(by_arrival.state, n, 0) for n in (1, 2, 3)] == [(1, 3), (2, 3), (3, 3)]


def test_asking_for_position_and_prices_leaves_the_state_as_it_was() -> None:
    t = crowded()
    before = encode(t.state)
    queue_position(t.state, 0, 5 * S)
    assert price_intervals(t.state, 0, 5 * S) == (), "this policy sets no prices"
    assert encode(t.state) == before


@pytest.mark.parametrize("policy", ["throughput", "balanced"])
def test_a_policy_with_prices_tells_what_one_device_more_and_one_less_are_worth(policy: str) -> None:
    t = Table(configured(cluster([pool("h200", 1, 8), pool("h20-96", 1, 8)]), tenants(red={})))
    t.tell(structs.replace(t.config, policy=structs.replace(QUICK, name=policy)))
    for n in range(12):
        t.submit(job(f"j{n}", *options(h200=2, h20_96=4)))
    found = {interval.row: interval for interval in price_intervals(t.state, 0, t.now_us)}
    assert set(found) == {"a/h200", "a/h20-96"}
    assert found["a/h200"].price > 0
    for interval in found.values():
        assert 0 <= interval.low <= interval.price <= interval.high
