"""Every reason for each option, and what a restart makes of what the executors hold."""

from scheduler.engine.explain import explain
from scheduler.engine.reconcile import reconcile
from scheduler.model.cluster import NodeState
from scheduler.model.commands import Release, Start, Stop
from scheduler.model.events import AttemptEnded
from scheduler.model.jobs import Retries
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.reasons import ReasonCode
from scheduler.ports import AttemptStatus
from tests.support.builders import cluster, configured, job, options, pool, tenants
from tests.support.harness import Table

FLEET = cluster([pool("h200", 2, 4), pool("h20-96", 1, 8)], [pool("ascend-910c", 1, 8)])


def table(**quota: dict) -> Table:
    return Table(configured(FLEET, tenants(**(quota or {"red": {}}))))


def codes(t: Table, number: int) -> dict[str, list[ReasonCode]]:
    reports = explain(t.state, number, t.now_us)
    return {f"{r.chosen[0].accelerator}:{r.chosen[0].count}": [x.code for x in r.reasons] for r in reports}


def test_each_option_tells_all_that_blocks_it() -> None:
    t = table(red={"h200": 6})
    t.run_all(t.submit(job("first", *options(h200=4))))
    t.submit(job("second", *options(h200=(4, 8), h20_96=16, ascend_910c=8)))
    t.run_all(t.submit(job("third", *options(ascend_910c=8), priority=900)))
    found = codes(t, 1)
    assert found["h200:4"] == [ReasonCode.QUOTA_IN_USE]
    assert ReasonCode.EXCEEDS_QUOTA in found["h200:8"]
    assert found["h20-96:16"] == [ReasonCode.EXCEEDS_FLEET]
    assert found["ascend-910c:8"] == [ReasonCode.NO_ROOM]


def test_for_ever_and_not_now_are_told_apart() -> None:
    t = table()
    t.run_all(t.submit(job("first", *options(h200=8))))
    t.submit(job("second", *options(h200=(8, 9))))
    never = {r.chosen[0].count: r.never for r in explain(t.state, 1, 0)}
    assert never == {8: False, 9: True}


def test_nodes_that_are_cordoned_are_named_as_the_reason() -> None:
    t = table()
    t.node("h200-0", NodeState.CORDONED)
    t.submit(job("wide", *options(h200=8)))
    t.decide()
    assert codes(t, 0)["h200:8"] == [ReasonCode.NODES_UNAVAILABLE]


def test_idle_devices_that_are_scattered_are_told_as_fragmented() -> None:
    from scheduler.model.jobs import Level, Resources, Role, Topology

    t = table()
    t.run_all(*(t.submit(job(f"s{i}", *options(h200=3))) for i in range(2)))
    whole = Resources(options=options(h200=2), topology=Topology(require=Level.NODE))
    t.submit(job("whole", roles=(Role(entrypoint=("x",), resources=whole),)))
    t.decide()
    assert codes(t, 2)["h200:2"] == [ReasonCode.FRAGMENTED]


def test_sums_over_shelves_tell_what_looking_at_every_node_would_tell(monkeypatch) -> None:
    from scheduler.engine import explain as module

    t = table()
    t.run_all(t.submit(job("first", *options(h200=6, h20_96=6, ascend_910c=8))))
    t.node("h20-96-0", NodeState.DOWN)
    t.submit(job("second", *options(h200=(2, 3, 8), h20_96=(2, 8), ascend_910c=(1, 8))))
    quick = explain(t.state, 1, 0)
    monkeypatch.setattr(module._Totals, "too_few", lambda self, cells, demands: None)
    assert explain(t.state, 1, 0) == quick
    found = [r.code for report in quick for r in report.reasons]
    assert {ReasonCode.NO_ROOM, ReasonCode.NODES_UNAVAILABLE} <= set(found)


def test_what_lacks_devices_only_is_told_the_delivery_that_brings_enough() -> None:
    from msgspec import structs

    from scheduler.model.rules import Lot, Rules, Tranche, TrancheState

    lot = Lot(
        id="h200-first",
        accelerator="h200",
        tranches=(
            Tranche(count=8, expected_us=300, p90_us=400),
            Tranche(count=4, expected_us=100, state=TrancheState.SHIPPED),
            Tranche(count=64, expected_us=1, state=TrancheState.IN_SERVICE),
        ),
    )
    t = Table(structs.replace(configured(FLEET), rules=Rules(lots=(lot,))))
    t.submit(job("w", *options(h200=(8, 12, 16, 40), h20_96=16)))
    found = {r.chosen[0]: r.delivery for r in explain(t.state, 0, 0)}
    by_count = {chosen.count: delivery for chosen, delivery in found.items() if chosen.accelerator == "h200"}
    assert by_count[8] is None
    assert (by_count[12].lot, by_count[12].count, by_count[12].expected_us) == ("h200-first", 4, 100)
    assert (by_count[16].expected_us, by_count[16].p90_us) == (300, 400)
    assert by_count[40] is None, "not even all that is ordered is enough"
    assert all(d is None for chosen, d in found.items() if chosen.accelerator == "h20-96")


def status(work, *, ended: bool = False, epoch: int = 1) -> AttemptStatus:
    attempt = work.attempts[-1]
    return AttemptStatus(job_id=work.id, job=work.number, attempt=attempt.n, epoch=epoch, ended=ended)


def test_what_still_runs_is_adopted_by_leaving_it_alone() -> None:
    t = table()
    work = t.submit(job("w"))
    t.run_all(work)
    assert reconcile(t.state, {"a": [status(work)], "b": []}, 0) == ((), ())


def test_a_start_without_a_trace_is_sent_again_and_a_lost_attempt_is_retried() -> None:
    t = table()
    begun, fresh = t.submit(job("begun", retries=Retries(backoff_us=0))), t.submit(job("fresh"))
    t.decide()
    t.up(begun)
    events, commands = reconcile(t.state, {"a": []}, 0)
    assert [c.name for c in commands if isinstance(c, Start)] == ["fresh"]
    assert [type(e) for e in events] == [AttemptEnded]
    t.tell(*events)
    assert (begun.state, begun.attempts[0].how) == (JobState.WAITING, AttemptEnd.LOST)
    assert fresh.state is JobState.STARTING


def test_nothing_is_concluded_of_a_cell_that_does_not_answer() -> None:
    t = table()
    t.run_all(t.submit(job("w")))
    assert reconcile(t.state, {"b": []}, 0) == ((), ())


def test_what_nobody_asked_for_is_stopped_and_released() -> None:
    t = table()
    stray = AttemptStatus(job_id="stray", job=7, attempt=1, epoch=1, ended=False)
    _, commands = reconcile(t.state, {"a": [stray]}, 0)
    assert [type(c) for c in commands] == [Stop, Release]


def test_a_stop_that_may_not_have_arrived_is_sent_again() -> None:
    from scheduler.model.events import JobAction

    t = table()
    work = t.submit(job("w"))
    t.run_all(work)
    t.ask(work, JobAction.CANCEL)
    _, commands = reconcile(t.state, {"a": [status(work)]}, 0)
    assert [type(c) for c in commands] == [Stop]


def test_an_end_on_record_is_released_once_more() -> None:
    t = table()
    work = t.submit(job("w"))
    t.run_all(work)
    listed = status(work, ended=True)
    t.end(work)
    _, commands = reconcile(t.state, {"a": [listed]}, 0)
    assert [type(c) for c in commands] == [Release]
