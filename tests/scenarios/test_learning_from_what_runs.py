"""What runs tells how fast its kind is, and later choices follow."""

import math

import pytest

from scheduler.config import load_catalog
from scheduler.engine.explain import explain
from scheduler.engine.image import decode, encode
from scheduler.engine.records import JobRecord
from scheduler.model.accelerators import Provenance
from scheduler.model.events import AttemptProgressed
from scheduler.model.jobs import (
    Checkpoint,
    Measured,
    ModelShape,
    Moves,
    Resources,
    Retries,
    RetryOn,
    Role,
    Work,
    WorkUnit,
)
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.reasons import ReasonCode
from scheduler.service.rate_views import observed_ratios, rates_view
from scheduler.simulator.forecast import forecast
from tests.support.builders import S, cluster, configured, job, options, pool
from tests.support.harness import Table

MODELLED = Work(amount=36_000.0, measured=(Measured(accelerator="h20-96", count=8, rate=1.0),))
PORTABLE = Checkpoint(path="ckpt", save_us=S, portable=True)
SHAPES = options(h20_96=8, ascend_910c=8)


@pytest.fixture
def table() -> Table:
    return Table(configured(cluster([pool("h20-96", 4, 8)], [pool("ascend-910c", 4, 8)])))


def report(table: Table, work: JobRecord, ratio: float, times: int = 4) -> None:
    """The attempt reports so many times that it runs at `ratio` of its modelled rate."""
    attempt = work.attempts[-1]
    rate = ratio * attempt.allocation.modelled
    for _ in range(times):
        table.later(60)
        done = attempt.done + 60 * rate
        table.tell(
            AttemptProgressed(work.number, attempt.n, attempt.epoch, attempt.seq + 1, done, saved=done, rate=rate)
        )


def rate_on(table: Table, work: JobRecord, accelerator: str):
    rows = table.state.rows_of[work.number].rows
    return next(row.option.rate for row in rows if row.option.chosen[0].accelerator == accelerator)


def running(table: Table, name: str, *wanted, **more) -> JobRecord:
    work = table.submit(job(name, *(wanted or SHAPES), work=MODELLED, **more))
    table.run_all(work)
    return work


def test_a_kind_that_runs_slower_than_modelled_is_expected_to(table: Table) -> None:
    first = running(table, "first", *options(ascend_910c=8))
    report(table, first, 0.6)
    second = table.submit(job("second", *SHAPES, work=MODELLED))
    shown = rate_on(table, second, "ascend-910c")
    assert shown.learned == pytest.approx(0.6, rel=0.08)
    assert shown.provenance is Provenance.MEASURED
    assert rate_on(table, second, "h20-96").learned == pytest.approx(1.0, abs=0.05)


def test_the_next_of_the_kind_goes_where_it_really_is_fastest(table: Table) -> None:
    for n in range(3):
        naive = running(table, f"naive{n}")
        assert naive.attempts[-1].allocation.chosen[0].accelerator == "ascend-910c"
    for naive in table.state.jobs:
        report(table, naive, 0.2)
    assert running(table, "wiser").attempts[-1].allocation.chosen[0].accelerator == "h20-96"


def test_other_kinds_learn_nothing_from_it(table: Table) -> None:
    report(table, running(table, "first", *options(ascend_910c=8)), 0.6)
    other = Work(amount=36_000.0, measured=(Measured(accelerator="h20-96", count=8, rate=2.0),))
    for more in ({"work": other}, {"work": MODELLED, "tenant": "blue"}):
        stranger = table.submit(job(f"s{len(table.state.jobs)}", *SHAPES, **more))
        assert rate_on(table, stranger, "ascend-910c").learned == 1.0


def test_the_first_reports_are_warm_up_and_do_not_count(table: Table) -> None:
    first = running(table, "first", *options(ascend_910c=8))
    report(table, first, 0.1, times=1)
    assert rate_on(table, first, "ascend-910c").learned == 1.0


def test_an_emulated_device_follows_the_model_and_teaches_nothing() -> None:
    emulated = pool("ascend-910c", 4, 8, emulated=True)
    table = Table(configured(cluster([pool("h20-96", 4, 8)], [emulated])))
    report(table, running(table, "first", *options(ascend_910c=8)), 0.5)
    assert list(table.state.learned.told()) == []


def test_what_was_learned_survives_a_restart(table: Table) -> None:
    first = running(table, "first", *options(ascend_910c=8))
    report(table, first, 0.6)
    table.end(first)
    image = encode(table.state)
    restored = decode(image)
    assert list(restored.learned.told()) == list(table.state.learned.told()) != []
    assert encode(restored) == image


def test_the_forecast_runs_at_what_was_seen(table: Table) -> None:
    first = running(table, "first", *options(ascend_910c=8))
    report(table, first, 0.5)
    table.end(first)
    second = running(table, "second", *options(ascend_910c=8))
    told = forecast(table.state, table.now_us).of(second.number)
    modelled_s = MODELLED.amount / second.attempts[-1].allocation.modelled
    assert told is not None
    assert told.finish_us is not None
    assert (told.finish_us - table.now_us) / S == pytest.approx(modelled_s / 0.5, rel=0.1)


def test_a_waiting_job_is_moved_to_what_was_learned_at_once(table: Table) -> None:
    blocking = [running(table, f"b{n}", *options(ascend_910c=8)) for n in range(4)]
    waiting = table.submit(job("waiting", *options(ascend_910c=8), work=MODELLED))
    table.decide()
    before = rate_on(table, waiting, "ascend-910c").value
    report(table, blocking[0], 0.7)
    assert math.log(rate_on(table, waiting, "ascend-910c").value / before) == pytest.approx(math.log(0.7), abs=0.1)


def test_a_running_job_is_weighed_by_what_it_shows(table: Table) -> None:
    first = running(table, "first", moves=Moves.ANY, checkpoint=PORTABLE)
    report(table, first, 0.6)
    columns, rows = table.state.columns, table.state.rows_of[first.number].rows
    held = int(columns.job("current")[first.number])
    assert rows[held].option.chosen == first.attempts[-1].allocation.chosen
    in_column = columns.option("rate")[columns.job("first")[first.number] + held]
    assert in_column == rows[held].option.rate.value < first.attempts[-1].allocation.modelled


def test_a_job_never_goes_back_to_so_few_devices_that_it_ran_out_of_memory_there(table: Table) -> None:
    retries = Retries(limit=3, on=(RetryOn.OUT_OF_MEMORY,), backoff_us=S)
    work = table.submit(job("large", *options(h20_96=(4, 8)), work=MODELLED, retries=retries, elastic=False))
    table.run_all(work)
    first = work.attempts[-1].allocation.chosen[0].count
    table.end(work, AttemptEnd.OUT_OF_MEMORY)
    table.later(60)
    table.decide()
    assert first == 8
    assert work.state is JobState.WAITING
    reports = explain(table.state, work.number, table.now_us)
    reasons = {reason.code for report in reports for reason in report.reasons}
    assert reasons == {ReasonCode.MEMORY_FLOOR}


def test_what_ran_out_of_memory_is_not_proposed_to_its_kind_again() -> None:
    fleet = cluster([pool("h100", 16, 8)])
    table = Table(configured(fleet, catalog=load_catalog()))
    shape = ModelShape(params=8.03e9, layers=32, hidden=4096, seq_len=8192)
    work = Work(amount=1e12, unit=WorkUnit.TOKENS, model=shape, global_batch=1024)
    roles = (Role(entrypoint=("python", "train.py"), resources=Resources()),)
    first = table.submit(job("first", work=work, roles=roles))
    table.run_all(first)
    count = first.attempts[-1].allocation.chosen[0].count
    table.end(first, AttemptEnd.OUT_OF_MEMORY)
    second = table.submit(job("second", work=work, roles=roles))
    offered = [row.option.chosen[0].count for row in table.state.rows_of[second.number].rows]
    assert offered
    assert min(offered) > count
    assert encode(decode(encode(table.state))) == encode(table.state)


def test_what_was_learned_is_shown_to_who_may_see_the_tenant(table: Table) -> None:
    report(table, running(table, "first", *options(ascend_910c=8)), 0.6)
    (row,) = rates_view(table.state, lambda tenant: tenant == "red")["rates"]
    assert (row["accelerator"], row["attempts"], row["class"]) == ("ascend-910c", 1, "dense_training")
    assert row["low"] < row["ratio"] < row["high"]
    assert row["ratio"] == pytest.approx(0.6, rel=0.08)
    assert rates_view(table.state, lambda tenant: tenant == "blue")["rates"] == []
    assert observed_ratios(table.state) == {("ascend-910c", "dense_training"): pytest.approx(row["ratio"])}
