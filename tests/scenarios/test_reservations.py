"""Windows that are reserved: who would still run when one begins does not start there, and says so."""

import pytest
from msgspec import structs

from scheduler.engine.explain import explain
from scheduler.engine.image import decode, encode
from scheduler.model.events import ReservationCancelled, ReservationMade
from scheduler.model.jobs import Moves, Work
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.reasons import ReasonCode
from scheduler.model.reservations import Reservation
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool, tenants
from tests.support.harness import ANN, Table

ENDLESS = Work()
BY_PRIORITY = structs.replace(QUICK, name="priority")


@pytest.fixture
def table() -> Table:
    return Table(configured(cluster([pool("h200", 2, 8)]), tenants(red={}, red__vision={}, blue={}), BY_PRIORITY))


def reserve(t: Table, *nodes: str, begin: int, end: int, tenant: str = "", id_: str = "r-1") -> None:
    window = Reservation(id=id_, nodes=nodes, from_us=begin * S, until_us=end * S, tenant=tenant)
    t.tell(ReservationMade(window, ANN))


def test_a_job_whose_limit_crosses_the_window_starts_on_other_nodes(table: Table) -> None:
    reserve(table, "h200-0", begin=1_000, end=2_000)
    long = table.submit(job("long", *options(h200=8), work=ENDLESS, time_limit_us=5_000 * S))
    assert table.starts() == ["long"]
    assert [grant.node for grant in long.attempts[0].allocation.grants] == [1]


def test_with_no_other_node_it_waits_says_why_and_starts_when_the_window_is_over(table: Table) -> None:
    reserve(table, "h200-0", "h200-1", begin=1_000, end=2_000)
    long = table.submit(job("long", *options(h200=8), work=ENDLESS, time_limit_us=5_000 * S))
    assert table.starts() == []
    assert long.reason is not None
    assert (long.reason.code, long.reason.who, long.reason.until_us) == (ReasonCode.RESERVED, "r-1", 2_000 * S)
    told = [reason.code for report in explain(table.state, 0, table.now_us) for reason in report.reasons]
    assert told == [ReasonCode.RESERVED]
    assert table.engine.wake_us == 2_000 * S, "nothing happens then but that the window ends"
    table.later(1_999)
    assert table.starts() == []
    table.later(1)
    assert table.starts() == ["long"]


def test_a_job_that_ends_before_the_window_may_start_and_one_of_unknown_length_may_not(table: Table) -> None:
    reserve(table, "h200-0", "h200-1", begin=1_000, end=2_000)
    table.submit(job("endless", *options(h200=4), work=ENDLESS))
    table.submit(job("limited", *options(h200=4), work=ENDLESS, time_limit_us=900 * S))
    table.submit(job("declared", *options(h200=4)))  # 100 steps of a tenth of a second or so
    assert table.starts() == ["limited", "declared"]


def test_a_limit_is_counted_with_the_notice_that_its_end_is_given(table: Table) -> None:
    reserve(table, "h200-0", "h200-1", begin=1_000, end=2_000)
    table.submit(job("tight", *options(h200=4), work=ENDLESS, time_limit_us=1_000 * S))
    table.submit(job("just", *options(h200=4), work=ENDLESS, time_limit_us=999 * S))
    assert table.starts() == ["just"]


def test_a_window_of_a_tenant_lets_it_and_those_below_it_in(table: Table) -> None:
    reserve(table, "h200-0", "h200-1", begin=0, end=10_000, tenant="red")
    table.submit(job("own", *options(h200=4), tenant="red", work=ENDLESS))
    table.submit(job("below", *options(h200=4), tenant="red/vision", work=ENDLESS))
    other = table.submit(job("other", *options(h200=4), tenant="blue", work=ENDLESS))
    assert table.starts() == ["own", "below"]
    assert other.reason is not None and other.reason.code is ReasonCode.RESERVED


def test_a_cancelled_window_keeps_nobody_out(table: Table) -> None:
    reserve(table, "h200-0", "h200-1", begin=0, end=10_000)
    table.submit(job("w", *options(h200=8), work=ENDLESS))
    assert table.starts() == []
    table.tell(ReservationCancelled("r-1", ANN))
    assert table.starts() == ["w"]


def test_windows_survive_a_restart_and_another_configuration(table: Table) -> None:
    reserve(table, "h200-1", "gone-7", begin=0, end=10_000)
    copy = decode(encode(table.state))
    assert encode(copy) == encode(table.state)
    assert copy.windows.reservations == table.state.windows.reservations
    table.tell(configured(cluster([pool("h20-96", 1, 8), pool("h200", 2, 8)]), tenants(red={}), BY_PRIORITY))
    table.submit(job("w", *options(h200=16), work=ENDLESS))
    assert table.starts() == [], "the node is found by its name, whatever its number"
    assert table.state.jobs[0].reason is not None
    assert table.state.jobs[0].reason.code is ReasonCode.RESERVED


def test_what_already_runs_is_left_alone(table: Table) -> None:
    work = table.submit(job("w", *options(h200=8), work=ENDLESS))
    table.run_all(work)
    reserve(table, "h200-0", "h200-1", begin=10, end=20)
    table.later(11)
    assert table.stops() == []
    assert work.state is JobState.RUNNING


def test_nobody_is_preempted_for_a_place_that_a_window_shuts(table: Table) -> None:
    weak = table.submit(job("weak", *options(h200=16), work=ENDLESS, priority=1))
    table.run_all(weak)
    reserve(table, "h200-0", "h200-1", begin=10, end=20)
    table.submit(job("strong", *options(h200=8), work=ENDLESS, priority=900))
    assert table.stops() == []
    assert weak.state is JobState.RUNNING


def test_a_job_with_progress_goes_on_elsewhere_once_its_moves_are_widened(table: Table) -> None:
    from scheduler.model.events import JobUpdated
    from scheduler.model.jobs import Checkpoint, Retries

    fleet = cluster([pool("h200", 1, 8), pool("h20-96", 1, 8)])
    t = Table(structs.replace(table.config, cluster=fleet))
    saves = Checkpoint(path="ckpt", portable=True)
    spec = job("w", *options(h200=8, h20_96=8), checkpoint=saves, retries=Retries(backoff_us=0), moves=Moves.NEVER)
    work = t.submit(spec)
    t.run_all(work)
    t.progress(work, 10.0, 10.0)
    t.end(work, AttemptEnd.LOST)
    reserve(t, "h200-0", begin=0, end=10_000)
    assert t.starts() == []
    t.tell(JobUpdated(work.number, ANN, moves=Moves.ANY))
    assert t.starts() == ["w"]
    assert work.attempts[-1].allocation.chosen[0].accelerator == "h20-96"


def test_nodes_of_the_last_failure_are_taken_before_reserved_ones_are(table: Table) -> None:
    from scheduler.model.jobs import Retries

    work = table.submit(
        job("w", *options(h200=8), work=ENDLESS, retries=Retries(backoff_us=0), time_limit_us=9_000 * S)
    )
    reserve(table, "h200-0", begin=5_000, end=10_000)
    table.run_all(work)
    table.end(work, AttemptEnd.LOST)
    assert table.starts() == ["w"]
    assert {grant.node for attempt in work.attempts for grant in attempt.allocation.grants} == {1}


def test_a_plan_that_would_start_a_job_into_a_window_is_refused(table: Table) -> None:
    from scheduler.engine.apply import decisions
    from scheduler.engine.cycle import cycle
    from scheduler.engine.snapshot import take
    from scheduler.errors import PlanRejectedError

    table.submit(job("w", *options(h200=16), work=ENDLESS))
    plan = cycle(take(table.state, 0), 0)
    reserve(table, "h200-1", begin=10, end=20)
    late = structs.replace(plan, version=table.state.version)
    with pytest.raises(PlanRejectedError, match="are reserved"):
        decisions(table.state, late)
