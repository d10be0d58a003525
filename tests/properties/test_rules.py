"""Whatever happens: held rules are never exceeded by starts, observed ones change nothing, and replays are exact."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine import Engine
from scheduler.engine.image import decode, encode
from scheduler.model.cluster import Cell, Cluster, NodeChange
from scheduler.model.jobs import Work
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.rules import DomesticShare, Eligibility, Licence, Lot, Measure, Mode, Rules, ShareBasis, Use
from scheduler.model.units import US_PER_S
from scheduler.placement import place
from scheduler.quota.domestic_share import share_coefficients
from tests.support.builders import QUICK, job, options, pool, tenants
from tests.support.harness import Table
from tests.support.ruled import HOUR_US, ruled

FLEET = Cluster(
    name="mixed",
    cells=(
        Cell(
            name="a",
            site="north",
            entity="acme",
            pools=(
                pool("h200", 2, 8, name="x", lot="one", labels={"zone": "p"}),
                pool("h200", 1, 8, name="y", lot="two"),
                pool("h20-96", 1, 8),
            ),
        ),
        Cell(name="b", site="south", entity="other", pools=(pool("ascend-910c", 3, 8),)),
    ),
    changes=(NodeChange(node="x-1", labels={"zone": "q"}),),
)

OPTIONS = st.sampled_from(
    [
        options(h200=8),
        options(h200=8, ascend_910c=8),
        options(h200=4, ascend_910c=8),
        options(h200=8, h20_96=8, ascend_910c=16),
        options(ascend_910c=4),
        options(h20_96=4, ascend_910c=4),
        options(h200=16, ascend_910c=24),
    ]
)
LABELS = st.sampled_from([{}, {}, {"data": "personal"}, {"data-class": "secret"}, {"end-use": "government"}])
SPECS = st.tuples(OPTIONS, LABELS, st.sampled_from(["red", "blue"]))
SUBMITS = st.tuples(st.just("submit"), SPECS)
OTHERS = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 20_000)),
    st.tuples(st.just("progress"), st.integers(0, 30)),
    st.tuples(st.just("end"), st.integers(0, 30)),
    st.tuples(st.just("quota"), st.sampled_from([{}, {"h200": 8}, {"h200": 8, "ascend-910c": 8}])),
    st.tuples(st.just("restart"), st.none()),
)
STEPS = st.builds(
    lambda first, pairs: [*first, *(step for pair in pairs for step in pair)],
    st.lists(SUBMITS, min_size=3, max_size=6),
    st.lists(st.tuples(OTHERS, SUBMITS), min_size=2, max_size=10),
)
MODES = st.sampled_from(list(Mode))


@st.composite
def shares(draw, mode=MODES) -> DomesticShare:
    return DomesticShare(
        id="used",
        basis=ShareBasis.USED,
        measure=draw(st.sampled_from([Measure.DEVICE_HOURS, Measure.COMPUTE_UNIT_HOURS])),
        target=draw(st.sampled_from([0.1, 0.3, 0.5, 0.8])),
        window_us=draw(st.sampled_from([4, 24, 240])) * HOUR_US,
        scope=draw(st.sampled_from(["", "red"])),
        exempt=draw(st.sampled_from([(), ("blue",)])),
        min_volume=draw(st.sampled_from([0.0, 10.0])),
        mode=draw(mode),
    )


@st.composite
def rulebooks(draw) -> Rules:
    licence = Licence(
        ref="x",
        valid_until_us=draw(st.sampled_from([None, 5 * HOUR_US])),
        sites=draw(st.sampled_from([(), ("north",), ("south",)])),
        excluded_labels={"end-use": "government"},
    )
    return Rules(
        lots=(
            Lot(id="one", accelerator="h200", licence=licence, use=draw(st.sampled_from(list(Use)))),
            Lot(id="two", accelerator="h200", use=draw(st.sampled_from(list(Use)))),
        ),
        eligibility=(
            Eligibility(id="north", jobs={"data": "personal"}, sites=("north",), mode=draw(st.sampled_from(EITHER))),
            Eligibility(id="zone", data_classes=("secret",), nodes={"zone": "q"}, mode=draw(st.sampled_from(EITHER))),
        ),
        domestic_shares=(draw(shares()),),
    )


EITHER = [Mode.OBSERVE, Mode.HOLD]


POLICIES = st.sampled_from(["priority", "balanced", "fifo-best-type"])


def a_table(rules: Rules, policy: str = "priority") -> Table:
    return ruled(FLEET, rules, msgspec.structs.replace(QUICK, name=policy))


def do(at: Table, what: str, amount, number: int) -> None:
    """One step; jobs that the rules refuse are left out."""
    from scheduler.errors import DualtrackError

    live = [j for j in at.state.jobs if j.state is JobState.RUNNING]
    if what == "submit":
        wanted, labels, tenant = amount
        work = Work(amount=1e6, measured=job("x").work.measured)
        spec = job(f"j{number}", *wanted, labels=labels, tenant=tenant, work=work)
        try:
            at.submit(spec)
        except DualtrackError:
            return
    elif what == "wait":
        at.later(amount)
    elif what == "quota":
        at.tell(msgspec.structs.replace(at.state.config, tenants=tenants(red=amount, blue={})))
    elif what == "restart":
        at.engine = Engine(decode(encode(at.state)))
    elif live:
        chosen = live[amount % len(live)]
        if what == "progress":
            at.progress(chosen, chosen.attempts[-1].done + 100.0 * (1 + amount))
        else:
            at.end(chosen, AttemptEnd.EXITED, exit_code=amount % 2)


def up(at: Table) -> None:
    at.up(*(j for j in at.state.jobs if j.state is JobState.STARTING))


def idle_domestic_option(at: Table, rule: DomesticShare) -> bool:
    """Whether a waiting job that counts could start on domestic devices now: tried option by option."""
    state = at.state
    for found in state.jobs:
        counted = state.book.shares[0].counts(found.spec.tenant)
        if found.state is not JobState.WAITING or not counted or found.not_before_us > at.now_us:
            continue
        for row in state.rows_of[found.number].rows:
            domestic = all(part.accelerator == "ascend-910c" for part in row.option.chosen)
            option, tenant = row.option, state.tenant_of(found)
            free = not state.ledger.shortages(tenant, found.actor.user, option.chosen, option.charge)
            if domestic and free and place(state.room, row.cell, row.demands) is not None:
                return True
    return False


@settings(max_examples=60, deadline=None)
@given(STEPS, shares(st.just(Mode.HOLD)), POLICIES)
def test_a_rule_that_holds_is_never_exceeded_by_starts(steps, rule, policy):
    at = a_table(Rules(domestic_shares=(rule,)), policy)
    for number, (what, amount) in enumerate(steps):
        do(at, what, amount, number)
        share = at.state.book.shares[0]
        standing, idle = share.standing(at.now_us), idle_domestic_option(at, rule)
        at.decide()
        used = 0.0
        for start in at.plan.starts:
            if share.counts(at.state.jobs[start.job].spec.tenant):
                amounts = share.amounts(start.allocation, *at.state.book.amounts(start.allocation))
                record = at.state.jobs[start.job]
                seconds = (record.spec.work.amount - record.done) / start.allocation.rate
                seconds = min(seconds, rule.window_us / 4 / US_PER_S)
                used += max(0.0, float(share_coefficients(*amounts, rule.target))) * seconds
        if standing.judged and idle:
            assert used <= max(0.0, standing.slack) * (1 + 1e-9) + 1e-6
        if policy != "balanced" and "quota" not in [step for step, _ in steps]:
            assert at.plan.stops == (), "it never preempts: only what is promised is reclaimed"
        up(at)


@settings(max_examples=60, deadline=None)
@given(STEPS, shares(st.just(Mode.OBSERVE)), POLICIES)
def test_a_rule_that_observes_never_changes_a_plan(steps, rule, policy):
    watching = Rules(domestic_shares=(rule,), eligibility=(Eligibility(id="e", sites=("mars",)),))
    plain, watched = a_table(Rules(), policy), a_table(watching, policy)
    for number, (what, amount) in enumerate(steps):
        for at in (plain, watched):
            do(at, what, amount, number)
            at.decide()
            up(at)
        assert msgspec.json.encode(plain.plan) == msgspec.json.encode(watched.plan)


@settings(max_examples=60, deadline=None)
@given(STEPS, rulebooks(), POLICIES)
def test_nothing_starts_where_a_rule_does_not_let_it(steps, rules, policy):
    at = a_table(rules, policy)
    for number, (what, amount) in enumerate(steps):
        do(at, what, amount, number)
        at.decide()
        closed = set(at.state.book.closures(at.now_us))
        for start in at.plan.starts:
            spec = at.state.jobs[start.job].spec
            barred = set(at.state.book.barred(spec))
            used = {int(at.state.fleet.group[grant.node]) for grant in start.allocation.grants}
            assert not used & (closed | barred)
        waiting = [j for j in at.state.jobs if j.state is JobState.WAITING]
        assert all(j.reason is not None for j in waiting)
        up(at)


@settings(max_examples=40, deadline=None)
@given(STEPS, rulebooks(), POLICIES)
def test_a_replay_and_a_checkpoint_find_the_same_accounts(steps, rules, policy):
    at = a_table(rules, policy)
    for number, (what, amount) in enumerate(steps):
        do(at, what, amount, number)
        at.decide()
        up(at)
    image = encode(at.state)
    assert encode(decode(image)) == image
    assert [s.running for s in decode(image).book.shares] == [s.running for s in at.state.book.shares]
    again = Table(at.config)
    for event, time_us in at.events[1:]:
        again.now_us = time_us
        again.tell(event)
    assert encode(again.state) == image
