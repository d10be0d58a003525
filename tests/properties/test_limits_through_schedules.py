"""Whatever happens to a running service, no start exceeds a limit at any level, and the ledger is the sum it claims.


Schedules draw submissions, ends, lost nodes, other quotas, tenants that go, restarts from a checkpoint and time that
passes; every start is then judged by a plain reading of the rules, which knows nothing of ledgers and columns.
"""

from fractions import Fraction

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine import Engine, invariants
from scheduler.engine.image import decode, encode
from scheduler.errors import DualtrackError
from scheduler.model.allocations import Allocation
from scheduler.model.cluster import NodeState
from scheduler.model.events import Actor, Allocated
from scheduler.model.jobs import Option
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.rules import Price, Rules
from scheduler.model.tenants import JobClass, Quota, Tenants, UserLimits
from scheduler.policies import POLICIES
from scheduler.quota.ledger import Ledger
from tests.support.builders import QUICK, S, cluster, configured, job, pool
from tests.support.harness import Table
from tests.support.plain_quota import CHIPS, NAMES, RESOURCES, Held, Plain, trees

HOUR = 3600 * S
DAY = 24 * HOUR
FLEET = cluster(
    [pool("h200", 2, 4, shareable=True), pool("h20-96", 1, 4)],
    [pool("h20-141", 1, 4), pool("h200", 1, 2, name="other")],
)
NODES = [FLEET.node_name(n) for n in range(FLEET.node_count())]

counts = st.integers(1, 4) | st.sampled_from([0.3, 0.5])
asked = st.tuples(
    st.just("submit"),
    st.sampled_from(NAMES),
    st.lists(st.tuples(st.sampled_from(CHIPS), counts), min_size=1, max_size=2, unique_by=lambda o: o[0]),
    st.sampled_from(JobClass),
    st.sampled_from(["ann", "bob"]),
)
gone = st.sampled_from([(), ("blue/search",), ("blue", "blue/search"), ("red/text",)])
most = st.none() | st.integers(1, 5)
limited = st.tuples(trees, gone, most, most, st.none() | st.integers(0, 3), st.none() | st.integers(0, 600))
others = st.one_of(
    st.tuples(st.just("end"), st.integers(0, 9), st.sampled_from([AttemptEnd.EXITED, AttemptEnd.LOST])),
    st.tuples(st.just("pass"), st.integers(1, 40)),
    st.tuples(st.just("node"), st.sampled_from(NODES), st.sampled_from([NodeState.DOWN, NodeState.READY])),
    st.tuples(st.just("quota"), limited),
    st.tuples(st.just("restart")),
    st.tuples(st.just("pass"), st.integers(4, 40)),
)
PRICES = tuple(
    Price(of=chip, fen_per_device_hour=fen, from_us=hours * HOUR)
    for chip, fen, hours in (
        ("h200", 100, 0),
        ("h20-96", 30, 0),
        ("h200", 170, 6),
        ("h20-141", 45, 12),
        ("h200", 60, 20),
    )
)
schedules = st.lists(asked | others, min_size=4, max_size=20)


def tree(drawn: tuple) -> Tenants:
    """The drawn tree without those that go, with limits on the users of red and of one below it, and a daily budget of
    red's on h200, and what it may spend an hour."""
    tenants, without, most, within, budget, fen = drawn
    kept = [t for t in tenants.tenants if t.name not in without]
    kept[0] = msgspec.structs.replace(kept[0], per_user=UserLimits(max_devices=most))
    kept[1] = msgspec.structs.replace(kept[1], per_user=UserLimits(max_devices=within))
    if budget is not None:
        spent = Quota(resource="h200", budget=1000 * budget, budget_period_us=DAY)
        others_ = tuple(q for q in kept[0].quotas if q.resource != "h200")
        kept[0] = msgspec.structs.replace(kept[0], quotas=(*others_, spent))
    if fen is not None:
        ceiling = Quota(resource="money", ceiling=fen)
        kept[0] = msgspec.structs.replace(kept[0], quotas=(*kept[0].quotas, ceiling))
    return Tenants(tenants=tuple(kept), shortfall=tenants.shortfall)


def option(chip: str, count: float) -> Option:
    if count >= 1:
        return Option(accelerator=chip, counts=(int(count),))
    return Option(accelerator=chip, counts=(1,), thousandths=int(1000 * count))


def step(at: Table, number: int, what: tuple) -> None:
    held = list(at.state.holding())
    if what[0] == "submit":
        _, tenant, wanted, job_class, user = what
        spec = job(f"j{number}", *(option(*o) for o in wanted), tenant=tenant, job_class=job_class)
        try:
            at.submit(spec, Actor(user, tenant, True))
        except DualtrackError:
            return  # it could never start, or its tenant is gone
    elif what[0] == "end" and held:
        at.end(held[what[1] % len(held)], what[2])
    elif what[0] == "pass":
        at.later(900 * what[1])
    elif what[0] == "node":
        at.node(what[1], what[2])
    elif what[0] == "quota":
        at.tell(msgspec.structs.replace(at.state.config, tenants=tree(what[1])))
    elif what[0] == "restart":
        at.engine = Engine(decode(encode(at.state)))


def decide(at: Table) -> None:
    """Decide, and judge each start by what was held just before it."""
    decision = at.engine.decide(at.now_us)
    entitled = at.state.ledger.entitled
    for event in decision.events:
        if isinstance(event, Allocated):
            before = holdings(at)
            at.tell(event)
            judge(at, entitled, before, at.state.jobs[event.job].number)
        else:
            at.tell(event)


def holdings(at: Table) -> Held:
    return [(found.spec.tenant, found.attempts[-1].allocation) for found in at.state.holding()]


def judge(at: Table, entitled: np.ndarray, before: Held, number: int) -> None:
    found, tenants = at.state.jobs[number], at.state.config.tenants
    mine = found.attempts[-1].allocation
    for resource in RESOURCES:
        column = at.state.tree.resource_index[resource]
        here = {name: int(entitled[i, column]) for i, name in enumerate(at.state.tree.names)}
        now = Plain(tenants, resource, here, [*before, (found.spec.tenant, mine)])
        if now.counts(mine):
            for name in [n for n in here if n and (found.spec.tenant + "/").startswith(n + "/")]:
                judge_level(now, name, mine.job_class)
    judge_user(at, found, mine)
    judge_money(at, found)
    judge_budget(at, found, mine)


def judge_level(now: Plain, name: str, job_class: JobClass) -> None:
    quota, tenant = now.quota(name), now.tenants.get(name)
    ceiling = next((q.ceiling for q in tenant.quotas if q.resource == now.resource), None) if tenant else None
    if quota is not None and quota.budget is None and job_class is JobClass.PRODUCTION:
        assert now.use(name, JobClass.PRODUCTION) <= now.entitled[name]
    if quota is not None and quota.budget is None and job_class is not JobClass.OPPORTUNISTIC:
        firm = now.use(name, JobClass.PRODUCTION, JobClass.STANDARD)
        assert firm <= quota.nominal + (quota.borrowing_limit or 0)
    if ceiling is not None:
        assert now.use(name, *JobClass) <= ceiling


def judge_user(at: Table, found, mine: Allocation) -> None:
    """What a user holds in a tenant and all below it stays within the limit, at every level."""
    for tenant in at.state.config.tenants.tenants:
        if tenant.per_user.max_devices is None or not lies_in(found, tenant.name):
            continue
        own = [other for other in at.state.holding() if lies_in(other, tenant.name)]
        own = [other for other in own if other.actor.user == found.actor.user]
        devices = sum(devices_of(other.attempts[-1].allocation) for other in own)
        assert devices <= tenant.per_user.max_devices, mine


def lies_in(found, tenant: str) -> bool:
    return (found.spec.tenant + "/").startswith(tenant + "/")


def devices_of(allocation: Allocation) -> Fraction:
    return sum((part.count * Fraction(part.thousandths, 1000) for part in allocation.chosen), Fraction(0))


def judge_money(at: Table, found) -> None:
    """All that red and those below it hold costs no more an hour, each at the prices of its own grant."""
    red = at.state.config.tenants.get("red")
    ceiling = next((q.ceiling for q in red.quotas if q.resource == "money"), None) if red else None
    if ceiling is None or not lies_in(found, "red"):
        return
    spent = sum(cost_per_hour(other.attempts[-1]) for other in at.state.holding() if lies_in(other, "red"))
    assert spent <= ceiling or not cost_per_hour(found.attempts[-1])


def cost_per_hour(attempt) -> int:
    whole = 0
    for part in attempt.allocation.chosen:
        known = [(price.from_us, price.fen_per_device_hour) for price in PRICES if price.of == part.accelerator]
        fen = [price for from_us, price in sorted(known) if from_us <= attempt.allocated_us]
        whole += int(Fraction(part.count * part.thousandths, 1000) * (fen[-1] if fen else 0))
    return round(whole / 2) if attempt.allocation.job_class is JobClass.OPPORTUNISTIC else whole


def judge_budget(at: Table, found, mine: Allocation) -> None:
    """Nothing starts on h200 below red once it has used up its budget of the day."""
    red = at.state.config.tenants.get("red")
    budget = next((q.budget for q in red.quotas if q.budget is not None), None) if red else None
    on_h200 = [part for part in mine.chosen if part.accelerator == "h200"]
    if budget is None or not on_h200 or not (found.spec.tenant + "/").startswith("red/"):
        return
    since = at.now_us - at.now_us % DAY
    used = Fraction(0)
    for other in at.state.jobs:
        for attempt in other.attempts if (other.spec.tenant + "/").startswith("red/") else ():
            here = [part for part in attempt.allocation.chosen if part.accelerator == "h200"]
            ended = at.now_us if attempt.ended_us is None else attempt.ended_us
            hours = Fraction(max(0, ended - max(attempt.allocated_us, since)), HOUR)
            used += sum((part.count * part.thousandths for part in here), 0) * hours
    assert used < budget


@given(st.sampled_from(sorted(POLICIES)), limited, schedules)
@settings(max_examples=80, deadline=None)
def test_no_start_exceeds_a_limit_at_any_level_and_the_ledger_never_drifts(policy, first, schedule):
    at = Table(configured(FLEET, tree(first), msgspec.structs.replace(QUICK, name=policy)))
    at.tell(msgspec.structs.replace(at.state.config, rules=Rules(prices=PRICES)))
    for number, what in enumerate(schedule):
        step(at, number, what)
        decide(at)
        at.up(*(found for found in at.state.holding() if found.state is JobState.STARTING))
        for found in [found for found in at.state.holding() if found.state is JobState.STOPPING]:
            at.end(found, AttemptEnd.PREEMPTED)
        decide(at)
        recomputed(at)


def recomputed(at: Table) -> None:
    """Usage of every class, of users and of budgets is what the allocations on record add up to."""
    invariants.check(at.state)
    state, again = at.state, decode(encode(at.state))
    fresh = Ledger(state.tree)
    for found in state.holding():
        fresh.add(state.tenant_of(found), found.actor.user, found.attempts[-1].allocation)
    for ledger in (fresh, again.ledger):
        assert np.array_equal(ledger.held, state.ledger.held)
        assert ledger.user_devices == state.ledger.user_devices
    assert again.accounts.budgets.used(at.now_us) == state.accounts.budgets.used(at.now_us)
    assert np.array_equal(again.accounts.past.faded(at.now_us), state.accounts.past.faded(at.now_us))
