"""What runs tells how fast its kind is, and later choices follow."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from scheduler.config import load_catalog, parse_jobs
from scheduler.engine.engine import Engine
from scheduler.engine.explain import explain
from scheduler.engine.image import decode, encode
from scheduler.engine.node_speeds import slow_nodes_of
from scheduler.engine.records import JobRecord
from scheduler.engine.state import State
from scheduler.model.accelerators import Provenance
from scheduler.model.cluster import NodeState
from scheduler.model.events import AttemptProgressed, NodeStateChanged
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
from scheduler.service.fleet_views import fleet_view
from scheduler.service.rate_views import observed_ratios, rates_view, slow_node_counts
from scheduler.simulator.forecast import forecast
from tests.support.builders import S, cluster, configured, job, options, pool
from tests.support.harness import Table

MODELLED = Work(amount=36_000.0, measured=(Measured(accelerator="h20-96", count=8, rate=1.0),))
PORTABLE = Checkpoint(path="ckpt", save_us=S, portable=True)
SHAPES = options(h20_96=8, ascend_910c=8)


@pytest.fixture
def table() -> Table:
    return Table(configured(cluster([pool("h20-96", 4, 8)], [pool("ascend-910c", 4, 8)])))


SERVED = """schema: dualtrack/v1
kind: job
type: inference
name: chat
entrypoint: [python, serve.py]
service:
  model: llama-3.1-8b
  objectives: {ttft_ms_p99: 4000, tpot_ms_p99: 80}
  load: {requests_per_s: LOAD, prompt_tokens: 1000, output_tokens: 300}
  max_replicas: 8
"""


def serving(table: Table, name: str, requests_per_s: float = 1.0) -> JobRecord:
    (spec,) = parse_jobs(SERVED.replace("LOAD", str(requests_per_s)), "job.yaml", table.state.config.catalog)
    return table.submit(structs.replace(spec, name=name, tenant="red"))


def answer(table: Table, work: JobRecord, per_s: float, came_per_s: float, minutes: int = 6) -> None:
    """The first replica tells once a minute what it has answered and what has come."""
    attempt, done, came = work.attempts[-1], 0.0, 0.0
    for _ in range(minutes):
        table.later(60)
        done, came = done + 60 * per_s, came + 60 * came_per_s
        table.tell(
            AttemptProgressed(work.number, attempt.n, attempt.epoch, attempt.seq + 1, done, rate=per_s, came=came)
        )


@pytest.fixture
def served() -> Table:
    return Table(configured(cluster([pool("h200", 2, 8)]), catalog=load_catalog()))


def each(work: JobRecord) -> float:
    """What the model expects of one replica, in requests a second."""
    held = work.attempts[-1].allocation
    return held.modelled / len({grant.replica for grant in held.grants})


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


def test_a_service_that_answers_all_that_comes_is_not_taken_for_a_slow_one(served: Table) -> None:
    """A tenth of what the model expects, and nothing waits: that tells of the load, not of the replica."""
    first = serving(served, "first")
    served.run_all(first)
    answer(served, first, 0.1 * each(first), 0.1 * each(first))
    rate = rate_on(served, serving(served, "second"), "h200")
    assert rate.learned == pytest.approx(1.0, abs=0.03)
    assert rate.provenance is not Provenance.MEASURED


def test_a_service_that_answers_more_than_modelled_raises_the_rate_of_its_kind(served: Table) -> None:
    first = serving(served, "first")
    served.run_all(first)
    before = rate_on(served, serving(served, "early"), "h200")
    answer(served, first, 1.5 * each(first), 1.5 * each(first))
    after = rate_on(served, serving(served, "later"), "h200")
    assert after.low > before.low
    assert after.learned >= 1.4
    (shown,) = rates_view(served.state, lambda tenant: True)["rates"]
    assert (shown["model"], shown["attempts"], shown["bounds"]) == ("llama-3.1-8b", 0, 1)
    assert observed_ratios(served.state) == {}


def test_a_service_to_which_more_comes_than_it_answers_tells_what_it_can(served: Table) -> None:
    first = serving(served, "first")
    served.run_all(first)
    answer(served, first, 0.5 * each(first), 0.9 * each(first))
    after = rate_on(served, serving(served, "later"), "h200")
    assert after.learned == pytest.approx(0.5, rel=0.1)
    assert after.provenance is Provenance.MEASURED
    assert (after.high / after.low) < 1.3
    assert list(observed_ratios(served.state)) == [("h200", "decode")]


def test_a_service_that_turned_out_slow_gets_the_replicas_that_its_load_needs(served: Table) -> None:
    """Counted by the lower end of what was seen."""
    first = serving(served, "first")
    served.run_all(first)
    load = 2.5 * rate_on(served, first, "h200").low
    needed = [row.option for row in served.state.rows_of[serving(served, "naive", load).number].rows]
    answer(served, first, 0.25 * each(first), each(first))
    wiser = [row.option for row in served.state.rows_of[serving(served, "wiser", load).number].rows]
    assert max(option.chosen[0].count for option in needed) < max(option.chosen[0].count for option in wiser)
    assert max(option.weighed for option in wiser) >= load


def test_a_service_that_tells_nothing_of_what_comes_teaches_nothing(served: Table) -> None:
    first = serving(served, "first")
    served.run_all(first)
    answer(served, first, 2.0 * each(first), 0.0)
    assert list(served.state.learned.told()) == []


def test_what_services_showed_survives_a_restart(served: Table) -> None:
    first, second = serving(served, "first"), serving(served, "second")
    served.run_all(first)
    served.run_all(second)
    answer(served, first, 0.5 * each(first), each(first))
    answer(served, second, 0.4 * each(second), 0.4 * each(second))
    image = encode(served.state)
    restored = decode(image)
    assert list(restored.learned.told()) == list(served.state.learned.told()) != []
    assert encode(restored) == image


def on_each_node(table: Table, count: int) -> dict[str, JobRecord]:
    """A running job of one kind on each of the nodes of ascend-910c, by name."""
    found = {}
    for n in range(count):
        work = running(table, f"part{n}", *options(ascend_910c=8))
        (node,) = {grant.node for grant in work.attempts[-1].allocation.grants}
        found[table.state.config.cluster.node_name(node)] = work
    return found


@pytest.fixture
def five() -> Table:
    return Table(configured(cluster([pool("h20-96", 1, 8)], [pool("ascend-910c", 5, 8)])))


def test_a_node_on_which_running_jobs_lag_behind_their_kind_is_shown_as_slow(five: Table) -> None:
    parts = on_each_node(five, 5)
    slow = sorted(parts)[2]
    for name, work in parts.items():
        report(five, work, 0.5 if name == slow else 0.9)
    (row,) = rates_view(five.state, lambda tenant: True)["slow_nodes"]
    assert (row["node"], row["accelerator"], row["runs"], row["peers"]) == (slow, "ascend-910c", 1, 4)
    assert row["ratio"] == pytest.approx(0.5 / 0.9, rel=0.02)
    speeds = {node["name"]: node["speed"] for node in fleet_view(five.state)["nodes"]}
    assert [name for name, speed in speeds.items() if speed] == [slow]
    assert sum(slow_node_counts(five.state).values()) == 1
    assert list(slow_nodes_of(decode(encode(five.state)))) == list(slow_nodes_of(five.state))


def test_nothing_is_kept_off_a_slow_node_until_somebody_cordons_it(five: Table) -> None:
    parts = on_each_node(five, 5)
    slow = sorted(parts)[0]
    for name, work in parts.items():
        report(five, work, 0.5 if name == slow else 0.9)
    five.end(parts[slow])
    again = running(five, "again", *options(ascend_910c=8))
    assert [five.state.config.cluster.node_name(grant.node) for grant in again.attempts[-1].allocation.grants] == [slow]
    five.end(again)
    number = five.state.config.cluster.node_index(slow)
    five.tell(NodeStateChanged(node=number, state=NodeState.CORDONED))
    waiting = five.submit(job("waiting", *options(ascend_910c=8), work=MODELLED))
    five.decide()
    assert waiting.state is JobState.WAITING
    assert sum(slow_node_counts(five.state).values()) == 0


def test_a_dip_of_a_moment_makes_no_slow_node(five: Table) -> None:
    parts = on_each_node(five, 5)
    for _ in range(30):
        five.later(60)
        for work in parts.values():
            attempt = work.attempts[-1]
            rate = 0.9 * attempt.allocation.modelled
            done = attempt.done + 60 * rate
            five.tell(AttemptProgressed(work.number, attempt.n, attempt.epoch, attempt.seq + 1, done, rate=rate))
    dipped = parts[min(parts)]
    attempt = dipped.attempts[-1]
    five.tell(AttemptProgressed(dipped.number, attempt.n, attempt.epoch, attempt.seq + 1, attempt.done + 1, rate=0.001))
    assert slow_nodes_of(five.state) == ()


numbers = st.floats(0, 1e6, allow_nan=False)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4000), numbers, numbers), max_size=25))
def test_whatever_services_tell_the_history_alone_says_what_was_learned(told: list) -> None:
    """Counts that fall back, requests that were never told, silence for an hour: a replay learns the same."""
    table = Table(configured(cluster([pool("h200", 2, 8)]), catalog=load_catalog()))
    services = [serving(table, "first"), serving(table, "second", 2.0)]
    table.run_all(*services)
    for which, seconds, done, came in told:
        work = services[which]
        attempt = work.attempts[-1]
        table.later(seconds)
        table.tell(AttemptProgressed(work.number, attempt.n, attempt.epoch, attempt.seq + 1, done, rate=1.0, came=came))
    again = Engine(State.new(table.config))
    for event, now_us in table.events:
        again.fold(event, now_us)
    assert encode(again.state) == encode(table.state) == encode(decode(encode(table.state)))
    assert list(again.state.learned.told()) == list(table.state.learned.told())
    assert list(decode(encode(table.state)).learned.told()) == list(table.state.learned.told())
