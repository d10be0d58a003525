"""Rules at work: what they close, hold and price, in single cycles."""

import msgspec
import numpy as np
import pytest

from scheduler.engine.explain import explain
from scheduler.engine.image import decode, encode
from scheduler.errors import ConflictError, DeniedError
from scheduler.model.cluster import Cell, Cluster, Pool
from scheduler.model.events import Actor
from scheduler.model.jobs import JobType, Work
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.reasons import ReasonCode
from scheduler.model.rules import DomesticShare, Eligibility, Licence, Lot, Measure, Mode, Rules, ShareBasis, Use
from scheduler.model.units import US_PER_S
from tests.support.builders import job, options, pool
from tests.support.harness import Table
from tests.support.ruled import HOUR_US
from tests.support.ruled import ruled as table


def a_fleet(*cells: tuple[str, str, tuple[Pool, ...]]) -> Cluster:
    named = tuple(
        Cell(name="abcdef"[i], site=site, entity=entity, pools=pools) for i, (site, entity, pools) in enumerate(cells)
    )
    return Cluster(name="test", cells=named)


def lot(id_: str = "l", **more: object) -> Lot:
    values: dict = {"accelerator": "h200", **more}
    return Lot(id=id_, **values)


TWO_LOTS = a_fleet(
    ("north", "acme", (pool("h200", 1, 8, name="x", lot="l"), pool("h200", 1, 8, name="y", lot="free"))),
)


def nodes_of(held) -> set[int]:
    return {grant.node for grant in held.attempts[-1].allocation.grants}


# lots and licences


@pytest.mark.parametrize("use", [Use.DRAIN, Use.FORBIDDEN])
def test_a_lot_that_takes_nothing_new_leaves_the_rest_of_the_cell(use):
    at = table(TWO_LOTS, Rules(lots=(lot(use=use), lot("free"))))
    jobs = [at.submit(job(f"j{n}", *options(h200=4))) for n in range(3)]
    at.decide()
    assert [nodes_of(j) for j in jobs[:2]] == [{1}, {1}]
    assert jobs[2].state is JobState.WAITING


@pytest.mark.parametrize("use", [Use.DRAIN, Use.FORBIDDEN])
def test_a_job_all_of_whose_options_are_forbidden_is_refused_for_ever(use):
    fleet = a_fleet(("north", "", (pool("h200", 2, 8, lot="l"),)))
    at = table(fleet, Rules(lots=(lot(use=use),)))
    with pytest.raises(DeniedError, match=r"the rules `l` never let `j` run: h200: lot forbidden") as caught:
        at.submit(job("j", *options(h200=8)))
    assert caught.value.exit_code == 5


def test_a_job_with_another_option_takes_it():
    fleet = a_fleet(("north", "", (pool("h200", 1, 8, lot="l"), pool("h20-96", 1, 8))))
    at = table(fleet, Rules(lots=(lot(use=Use.FORBIDDEN),)))
    both = at.submit(job("j", *options(h200=8, h20_96=8)))
    at.decide()
    assert both.attempts[-1].allocation.chosen[0].accelerator == "h20-96"
    excluded = at.state.rows_of[both.number].excluded
    assert [(c.accelerator, r.code, r.need, r.have, r.who) for c, r in excluded] == [
        ("h200", ReasonCode.LOT_FORBIDDEN, 8, 0, "l")
    ]


def test_what_runs_on_a_lot_goes_on_when_its_licence_ends_and_nothing_new_starts_there():
    licence = Licence(ref="x", valid_until_us=100 * US_PER_S)
    fleet = a_fleet(("north", "", (pool("h200", 1, 8, lot="l"),)))
    at = table(fleet, Rules(lots=(lot(licence=licence),)))
    early, late = at.submit(job("early", *options(h200=4))), at.submit(job("late", *options(h200=8)))
    at.run_all(early)
    assert early.state is JobState.RUNNING
    at.later(200)
    at.decide()
    assert early.state is JobState.RUNNING
    reasons = [reason.code for report in explain(at.state, late.number, at.now_us) for reason in report.reasons]
    assert ReasonCode.LICENCE in reasons, "why says so, whatever else is in the way"
    at.end(early)
    at.decide()
    assert late.state is JobState.WAITING
    assert late.reason is not None
    assert (late.reason.code, late.reason.who) == (ReasonCode.LICENCE, "l")


def test_a_licence_closes_sites_that_it_does_not_cover_and_jobs_whose_label_it_excludes():
    licence = Licence(ref="x", sites=("north",), excluded_labels={"end-use": "government"})
    pools = (pool("h200", 1, 8, name="n", lot="l"),), (pool("h200", 1, 8, name="s", lot="l"),)
    fleet = a_fleet(("north", "", pools[0]), ("south", "", pools[1]))
    at = table(fleet, Rules(lots=(lot(licence=licence),)))
    first, second = at.submit(job("a", *options(h200=8))), at.submit(job("b", *options(h200=8)))
    at.decide()
    assert nodes_of(first) == {0}
    assert second.state is JobState.WAITING
    with pytest.raises(DeniedError, match="labels exclude"):
        at.submit(job("c", *options(h200=8), labels={"end-use": "government"}))


# eligibility


def test_a_job_goes_only_where_the_rules_about_it_let_it():
    fleet = a_fleet(("north", "acme", (pool("h200", 1, 8, name="n"),)), ("south", "acme", (pool("h200", 2, 8),)))
    rule = Eligibility(id="stays-north", jobs={"data": "personal"}, sites=("north",), mode=Mode.HOLD)
    at = table(fleet, Rules(eligibility=(rule,)))
    jobs = [at.submit(job(f"p{n}", *options(h200=8), labels={"data": "personal"})) for n in range(2)]
    plain = at.submit(job("plain", *options(h200=8)))
    at.decide()
    assert nodes_of(jobs[0]) == {0}
    assert jobs[1].state is JobState.WAITING
    assert nodes_of(plain) <= {1, 2}
    with pytest.raises(DeniedError, match=r"`stays-north` never let `big` run: h200: eligibility \(needs 16, at most"):
        at.submit(job("big", *options(h200=16), labels={"data": "personal"}))


def test_one_node_may_be_set_apart_by_its_own_labels():
    from scheduler.model.cluster import NodeChange

    fleet = msgspec.structs.replace(
        a_fleet(("north", "", (pool("h200", 3, 8),))), changes=(NodeChange(node="h200-1", labels={"vault": "yes"}),)
    )
    rule = Eligibility(id="vault", data_classes=("secret",), nodes={"vault": "yes"}, mode=Mode.HOLD)
    at = table(fleet, Rules(eligibility=(rule,)))
    secret = at.submit(job("s", *options(h200=8), labels={"data-class": "secret"}))
    at.decide()
    assert nodes_of(secret) == {1}


def test_a_rule_that_only_observes_closes_nothing():
    rule = Eligibility(id="e", sites=("mars",))
    at = table(TWO_LOTS, Rules(eligibility=(rule,)))
    free = at.submit(job("j", *options(h200=8)))
    at.decide()
    assert free.state is JobState.STARTING


# the domestic share of what is used

MIXED = a_fleet(
    ("north", "", (pool("h200", 4, 8),)),
    ("south", "", (pool("ascend-910c", 4, 8),)),
)
DUAL = options(h200=8, ascend_910c=8)


def share(mode: Mode, target: float = 0.5, **more: object) -> DomesticShare:
    values: dict = {"basis": ShareBasis.USED, "measure": Measure.DEVICE_HOURS, "window_us": 24 * HOUR_US, **more}
    return DomesticShare(id="used", target=target, mode=mode, **values)


def accelerators(*jobs) -> list[str]:
    return [j.attempts[-1].allocation.chosen[0].accelerator if j.attempts else "" for j in jobs]


def test_without_a_rule_everybody_takes_the_h200():
    at = table(MIXED, Rules())
    jobs = [at.submit(job(f"j{n}", *DUAL)) for n in range(4)]
    at.decide()
    assert accelerators(*jobs) == ["h200"] * 4


def test_a_rule_that_observes_never_changes_a_plan():
    plain, watched = table(MIXED, Rules()), table(MIXED, Rules(domestic_shares=(share(Mode.OBSERVE),)))
    for at in (plain, watched):
        for n in range(6):
            at.submit(job(f"j{n}", *DUAL))
        at.decide()
    assert msgspec.json.encode(plain.plan) == msgspec.json.encode(watched.plan)


def test_a_price_sends_so_many_jobs_to_domestic_devices_that_the_forecast_meets_the_target():
    at = table(MIXED, Rules(domestic_shares=(share(Mode.PRICE, 0.5),)))
    jobs = [at.submit(job(f"j{n}", *DUAL)) for n in range(4)]
    at.decide()
    found = accelerators(*jobs)
    assert found == ["h200", "h200", "ascend-910c", "ascend-910c"], "of equal jobs no more turn than have to"
    assert dict(at.plan.prices)["rule:used"] > 0
    assert at.state.prices == at.plan.prices, "the multiplier is recorded with the decision"


def test_a_price_moves_the_job_that_loses_least():
    at = table(MIXED, Rules(domestic_shares=(share(Mode.PRICE, 0.45),)))
    needy = at.submit(job("needy", *options(h200=8, ascend_910c=1)))
    easy = at.submit(job("easy", *options(h200=8, ascend_910c=8)))
    at.decide()
    assert accelerators(needy, easy) == ["h200", "ascend-910c"]


def test_policies_that_weigh_options_are_told_what_rules_add_to_them():
    from scheduler.engine.problem import build, candidates
    from scheduler.engine.ruled import apply_rules
    from scheduler.engine.snapshot import take

    at = table(MIXED, Rules(domestic_shares=(share(Mode.PRICE, 0.5),)))
    at.submit(job("a", *options(h200=8, ascend_910c=8)))
    snapshot = take(at.state, 0)
    who = candidates(snapshot, 0)
    plain = build(snapshot, who, who.waiting, (), 0)
    ruled = apply_rules(snapshot, plain, 0)
    assert not len(plain.adders)
    imported, domestic = ruled.problem.adders.tolist()
    assert imported > 0 == domestic
    speed = plain.rate / plain.rate.max()
    assert speed[0] - imported <= speed[1] - domestic, "at this price the job prefers the domestic option"
    assert ruled.problem.rank.tolist() == [1, 0]
    assert ruled.strict() is ruled.problem, "a price forbids nothing"


def test_a_job_without_a_domestic_option_pays_no_price_and_none_costs_all_that_it_is_worth():
    from scheduler.engine.problem import build, candidates
    from scheduler.engine.ruled import apply_rules
    from scheduler.engine.snapshot import take

    at = table(MIXED, Rules(domestic_shares=(share(Mode.PRICE, 0.95),)))
    at.submit(job("needy", *options(h200=8, ascend_910c=1)))
    at.submit(job("only", *options(h200=8)))
    at.submit(job("sizes", *options(h200=(4, 8))))
    snapshot = take(at.state, 0)
    who = candidates(snapshot, 0)
    plain = build(snapshot, who, who.waiting, (), 0)
    ruled = apply_rules(snapshot, plain, 0).problem
    dear, cheap, only, *sizes = ruled.adders.tolist()
    assert (cheap, only) == (0, 0) and dear > 0
    assert sizes == [0, 0], "nor is it told to take fewer devices for longer"
    speed = plain.rate / np.repeat(np.maximum.reduceat(plain.rate, plain.ptr[:-1]), np.diff(plain.ptr))
    worth = speed - ruled.adders
    assert (worth > 0).all()
    assert worth[0] < worth[1], "but less than the job's own domestic option, however slow"


def test_a_price_never_leaves_an_imported_device_idle_for_want_of_a_domestic_one():
    at = table(a_fleet(("n", "", (pool("h200", 2, 8), pool("ascend-910c", 1, 8)))), Rules(
        domestic_shares=(share(Mode.PRICE, 0.9),)
    ))  # fmt: skip
    jobs = [at.submit(job(f"j{n}", *DUAL)) for n in range(3)]
    at.decide()
    assert sorted(accelerators(*jobs)) == ["ascend-910c", "h200", "h200"]


def test_a_hold_keeps_imported_devices_back_only_while_a_waiting_job_could_take_domestic_ones():
    fleet = a_fleet(("n", "", (pool("h200", 2, 8), pool("ascend-910c", 1, 8))))
    at = table(fleet, Rules(domestic_shares=(share(Mode.HOLD, 0.5),)))
    only = at.submit(job("only", *options(h200=8)))
    dual = at.submit(job("dual", *DUAL))
    at.decide()
    assert accelerators(only, dual) == ["", "ascend-910c"]
    assert only.reason is not None
    assert (only.reason.code, only.reason.who, only.reason.need) == (ReasonCode.DOMESTIC_SHARE_HOLD, "used", 8)
    told = {r.chosen[0].accelerator: [x.code for x in r.reasons] for r in explain(at.state, only.number, at.now_us)}
    assert told["h200"] == [ReasonCode.DOMESTIC_SHARE_HOLD]
    assert at.state.alarms.of(only.number) <= at.now_us + 60 * US_PER_S, "it is looked at again soon"
    at.later(60)
    at.decide()
    assert accelerators(only) == ["h200"], "no waiting job could take what is idle any more"


def test_a_hold_lets_as_many_imported_devices_start_as_the_forecast_bears():
    at = table(MIXED, Rules(domestic_shares=(share(Mode.HOLD, 0.5),)))
    long = Work(amount=1e9, measured=job("x").work.measured)  # past every horizon
    home = [at.submit(job(f"d{n}", *options(ascend_910c=8), work=long)) for n in range(2)]
    at.decide()
    assert accelerators(*home) == ["ascend-910c"] * 2
    abroad = [at.submit(job(f"h{n}", *options(h200=8), work=long)) for n in range(3)]
    waiting = at.submit(job("w", *options(ascend_910c=8)))
    at.decide()
    assert accelerators(*abroad, waiting) == ["h200", "h200", "", "ascend-910c"]


def test_a_hold_never_preempts_what_runs():
    at = table(MIXED, Rules())
    jobs = [at.submit(job(f"j{n}", *options(h200=8))) for n in range(4)]
    at.run_all(*jobs)
    held = msgspec.structs.replace(at.config, rules=Rules(domestic_shares=(share(Mode.HOLD, 0.9),)))
    at.tell(held)
    at.submit(job("d", *DUAL))
    at.decide()
    assert all(j.state is JobState.RUNNING for j in jobs)
    assert at.plan.stops == ()


def test_tenants_out_of_scope_or_exempt_are_neither_counted_nor_held():
    rule = share(Mode.HOLD, 0.9, scope="red")
    at = table(MIXED, Rules(domestic_shares=(rule,)))
    blue = at.submit(job("b", *options(h200=8), tenant="blue"), Actor("bob", "blue", True))
    red = at.submit(job("r", *options(h200=8)))
    dual = at.submit(job("d", *DUAL))
    at.decide()
    assert accelerators(blue, red, dual) == ["h200", "", "ascend-910c"]
    assert at.state.book.shares[0].running == [0, 8000]


def test_a_window_with_less_than_the_least_volume_is_not_judged():
    at = table(MIXED, Rules(domestic_shares=(share(Mode.HOLD, 0.9, min_volume=1e6),)))
    jobs = [at.submit(job(f"j{n}", *DUAL)) for n in range(3)]
    at.decide()
    assert accelerators(*jobs) == ["h200"] * 3


# the account


def test_productive_time_counts_by_track_and_idle_time_does_not():
    at = table(MIXED, Rules(domestic_shares=(share(Mode.OBSERVE),)))
    work = Work(amount=1e9, measured=job("x").work.measured)
    abroad = at.submit(job("a", *options(h200=8), work=work))
    home = at.submit(job("h", *options(ascend_910c=8), work=work))
    asleep = at.submit(job("s", *options(ascend_910c=8), work=work))
    at.run_all(abroad, home, asleep)
    at.later(3600)
    at.progress(abroad, 3600 * 48.0)
    at.progress(home, 3600 * 27.0)
    standing = at.state.book.shares[0].standing(at.now_us)
    assert (standing.imported_hours, standing.domestic_hours) == (8.0, 8.0)
    assert (standing.running_imported, standing.running_domestic) == (8.0, 16.0)
    assert standing.share == 0.5
    at.end(asleep, AttemptEnd.EXITED, exit_code=1)
    standing = at.state.book.shares[0].standing(at.now_us)
    assert (standing.domestic_hours, standing.running_domestic) == (8.0, 8.0)


def test_a_job_that_computes_far_less_than_its_devices_could_counts_in_proportion():
    at = table(MIXED, Rules(domestic_shares=(share(Mode.OBSERVE),)))
    dummy = at.submit(job("a", *options(ascend_910c=8), work=Work(amount=1e9, measured=job("x").work.measured)))
    at.run_all(dummy)
    at.later(3600)
    rate = dummy.attempts[-1].allocation.rate
    at.progress(dummy, 3600 * rate * 0.01)
    assert at.state.book.shares[0].standing(at.now_us).domestic_hours == pytest.approx(0.8)


def test_a_job_that_never_says_when_it_ends_is_counted_on_only_while_it_works():
    at = table(MIXED, Rules(domestic_shares=(share(Mode.OBSERVE),)))  # a window of 24 h: silence counts 6 h
    sleeper = at.submit(job("s", *options(ascend_910c=8), work=Work()))
    worker = at.submit(job("w", *options(h200=8), work=Work()))
    at.run_all(sleeper, worker)
    assert at.state.book.shares[0].standing(at.now_us).forecast == 0.5
    for hour in range(1, 8):
        at.later(3600)
        at.progress(worker, 100.0 * hour)
    standing = at.state.book.shares[0].standing(at.now_us)
    assert (standing.running_imported, standing.running_domestic) == (8.0, 8.0)
    assert standing.forecast == 0, "seven hours of silence"
    again = decode(encode(at.state)).book.shares[0].standing(at.now_us)
    assert again == standing, "a restart finds the same forecast"


def test_a_job_that_ends_well_with_its_declared_work_was_productive_to_the_end():
    at = table(MIXED, Rules(domestic_shares=(share(Mode.OBSERVE),)))
    told, silent = (
        at.submit(job("a", *options(ascend_910c=1))),
        at.submit(job("b", *options(ascend_910c=1), work=Work())),
    )
    at.run_all(told, silent)
    at.later(36)
    at.end(told)
    at.end(silent)
    assert at.state.book.shares[0].standing(at.now_us).domestic_hours == pytest.approx(0.01)


def test_what_a_hold_withholds_is_told_in_compute_units_and_h20_equivalents():
    fleet = a_fleet(("n", "", (pool("h200", 2, 8), pool("ascend-910c", 1, 8))))
    at = table(fleet, Rules(domestic_shares=(share(Mode.HOLD, 0.5),)))
    only = at.submit(job("only", *options(h200=8)))
    at.submit(job("dual", *DUAL))
    at.decide()
    at.later(60)
    units, h20 = at.state.book.shares[0].withheld(at.now_us)
    assert units == pytest.approx(48 / 60)
    assert 20 / 60 < h20 <= 48 / 60
    at.decide()
    assert only.state is JobState.STARTING
    at.later(600)
    assert at.state.book.shares[0].withheld(at.now_us)[0] == pytest.approx(48 / 60)


def test_the_account_survives_checkpoints_replays_and_a_new_target_but_not_a_new_measure():
    rules = Rules(domestic_shares=(share(Mode.HOLD, 0.5),))
    at = table(MIXED, rules)
    work = Work(amount=1e9, measured=job("x").work.measured)
    jobs = [at.submit(job(f"j{n}", *DUAL, work=work)) for n in range(3)]
    at.run_all(*jobs)
    for hour in (1, 2, 3):
        at.later(3600)
        for j in jobs:
            if j.state is JobState.RUNNING:
                at.progress(j, hour * 3600 * 48.0)
        at.decide()
    image = encode(at.state)
    assert encode(decode(image)) == image
    again = Table(at.config)
    for event, time_us in at.events[1:]:
        again.now_us = time_us
        again.tell(event)
    assert encode(again.state) == image
    before = at.state.book.shares[0].standing(at.now_us)
    softer = msgspec.structs.replace(rules.domestic_shares[0], target=0.2, mode=Mode.OBSERVE)
    at.tell(msgspec.structs.replace(at.config, rules=Rules(domestic_shares=(softer,))))
    after = at.state.book.shares[0].standing(at.now_us)
    assert (after.imported_hours, after.domestic_hours) == (before.imported_hours, before.domestic_hours)
    assert (after.running_imported, after.running_domestic) == (before.running_imported, before.running_domestic)
    other = msgspec.structs.replace(softer, measure=Measure.COMPUTE_UNIT_HOURS)
    at.tell(msgspec.structs.replace(at.config, rules=Rules(domestic_shares=(other,))))
    anew = at.state.book.shares[0].standing(at.now_us)
    assert (anew.imported_hours, anew.domestic_hours) == (0.0, 0.0)
    assert anew.running_domestic > after.running_domestic


def test_more_imported_devices_are_refused_by_a_rule_that_holds_what_is_installed():
    from scheduler.engine import intake

    rule = DomesticShare(
        id="installed", basis=ShareBasis.INSTALLED, measure=Measure.DEVICES, target=0.5, window_us=1, mode=Mode.HOLD
    )
    at = table(MIXED, Rules(domestic_shares=(rule,)))
    more = a_fleet(("north", "", (pool("h200", 5, 8),)), ("south", "", (pool("ascend-910c", 4, 8),)))
    with pytest.raises(ConflictError, match=r"`installed` keeps 50\.0% of the installed devices domestic"):
        intake.configured(at.state, msgspec.structs.replace(at.config, cluster=more))
    assert intake.configured(at.state, at.config)


def test_batches_and_services_count_as_well():
    at = table(MIXED, Rules(domestic_shares=(share(Mode.OBSERVE),)))
    batch = at.submit(job("b", *options(h200=1), type=JobType.BATCH))
    at.run_all(batch)
    at.later(36)
    at.progress(batch, 50.0)
    assert at.state.book.shares[0].standing(at.now_us).imported_hours == pytest.approx(0.01)
