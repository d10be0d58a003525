"""Jobs that share devices, lose nodes and meet the rules of a vendor's tools, from submission to the end."""

import msgspec
import pytest

from scheduler.engine.explain import explain
from scheduler.engine.usage import account
from scheduler.errors import InfeasibleError
from scheduler.model.cluster import NodeState
from scheduler.model.commands import Start
from scheduler.model.jobs import Job, Option, Retries
from scheduler.model.lifecycle import AttemptEnd, JobState
from scheduler.model.reasons import ReasonCode
from scheduler.model.rules import DomesticShare, Measure, Price, Rules, ShareBasis
from scheduler.model.tenants import Quota, Tenant, Tenants, UserLimits
from scheduler.placement import STRATEGIES
from scheduler.service.tenant_views import tenants_view
from tests.support.builders import QUICK, S, cluster, configured, job, options, pool
from tests.support.harness import Table

SHARED = pool("h20-96", 1, 2, shareable=True)


def share(name: str, thousandths: int, **more: object) -> Job:
    return job(name, Option(accelerator="h20-96", counts=(1,), thousandths=thousandths), **more)


def table(*pools: object, placement: str = "best-fit") -> Table:
    policy = msgspec.structs.replace(QUICK, placement=placement)
    return Table(configured(cluster(pools), policy=policy))


def devices_of(table: Table) -> dict[str, list[int]]:
    """Bits of the devices that each job holds."""
    return {j.spec.name: [g.devices for g in j.attempts[-1].allocation.grants] for j in table.state.holding()}


def test_jobs_share_a_device_and_pay_for_their_share():
    desk = table(SHARED)
    first, second = desk.submit(share("first", 300)), desk.submit(share("second", 700))
    assert desk.starts() == ["first", "second"]
    assert devices_of(desk) == {"first": [1], "second": [1]}
    assert [j.attempts[-1].allocation.charge for j in (first, second)] == [300, 700]
    starts = [c for c in desk.commands if isinstance(c, Start)]
    assert [c.tasks[0].hbm_gib for c in starts] == [pytest.approx(28.8), pytest.approx(67.2)]
    desk.up(first, second)
    desk.end(first)
    assert desk.state.room.left.tolist() == [[300, 1000]]
    desk.end(second)
    assert desk.state.room.free.tolist() == [3]
    assert not desk.state.ledger.used.any()


def test_shares_fill_the_devices_within_a_few_cycles_and_one_too_many_waits():
    desk = table(SHARED)
    for n in range(7):
        desk.submit(share(f"part-{n}", 300))
    started = [name for _ in range(4) for name in desk.starts()]
    assert len(started) == 6
    assert sorted(bits for devices in devices_of(desk).values() for bits in devices) == [1, 1, 1, 2, 2, 2]
    (waiting,) = [j for j in desk.state.jobs if j.state is JobState.WAITING]
    assert waiting.reason is not None


def test_a_share_runs_at_its_part_of_the_devices_rate():
    desk = table(SHARED)
    part, whole = desk.submit(share("part", 250)), desk.submit(job("whole", *options(h20_96=1)))
    desk.decide()
    assert part.attempts[-1].allocation.rate == pytest.approx(whole.attempts[-1].allocation.rate / 4)


def test_a_share_of_devices_that_are_granted_whole_is_refused_at_once():
    desk = table(pool("h20-96", 1, 2))
    with pytest.raises(InfeasibleError, match="not shareable"):
        desk.submit(share("part", 300))


def test_a_job_that_lost_its_node_goes_elsewhere_and_may_take_the_spare():
    desk = table(pool("h200", 3, 4, domain_nodes=3, spare_nodes=1))
    work = desk.submit(job("train", *options(h200=4), retries=Retries(limit=3, backoff_us=S)))
    other = desk.submit(job("other", *options(h200=4)))
    desk.submit(job("third", *options(h200=4)))
    assert desk.starts() == ["train", "other"], "the last idle node of the rack is kept"
    desk.up(work, other)
    desk.end(work, AttemptEnd.LOST)
    desk.node("h200-0", NodeState.DOWN)
    desk.later(2)
    assert desk.starts() == ["train"]
    assert work.attempts[-1].allocation.grants[0].node == 2


def test_a_job_avoids_the_node_on_which_it_failed_while_another_has_room():
    desk = table(pool("h200", 2, 4))
    work = desk.submit(job("train", *options(h200=1), retries=Retries(limit=3, backoff_us=S)))
    for node in (0, 1, 0):
        desk.later(60)
        desk.run_all(work)
        assert work.attempts[-1].allocation.grants[0].node == node
        desk.end(work, AttemptEnd.LOST)


def test_jobs_that_share_go_on_when_their_pool_is_shared_no_longer():
    desk = table(SHARED)
    jobs = [desk.submit(share(name, 500)) for name in ("first", "second")]
    desk.decide()
    desk.up(*jobs)
    whole = msgspec.structs.replace(SHARED, shareable=False)
    desk.tell(configured(cluster([whole]), policy=QUICK))
    desk.end(jobs[0])
    assert desk.state.room.free.tolist() == [0b10], "the other still holds its device"
    desk.end(jobs[1])
    assert desk.state.room.free.tolist() == [0b11]


@pytest.mark.parametrize("placement", sorted(STRATEGIES))
def test_every_strategy_of_a_policy_file_places_a_crowd(placement):
    desk = table(pool("h200", 4, 4, domain_nodes=2), SHARED, placement=placement)
    for n in range(4):
        desk.submit(job(f"gang-{n}", *options(h200=4)))
        desk.submit(share(f"part-{n}", 400))
    for _ in range(3):
        desk.decide()
    held = devices_of(desk)
    assert len([name for name in held if name.startswith("gang")]) == 4
    assert len([name for name in held if name.startswith("part")]) == 4


def test_the_same_snapshot_gives_the_same_random_places():
    plans = []
    for _ in range(2):
        desk = table(pool("h200", 16, 4), placement="random")
        for n in range(6):
            desk.submit(job(f"job-{n}", *options(h200=2)))
        desk.decide()
        plans.append(devices_of(desk) | {"nodes": [j.attempts[-1].allocation.grants[0].node for j in desk.state.jobs]})
    assert plans[0] == plans[1]
    assert len(set(plans[0]["nodes"])) > 1


def test_a_share_is_charged_in_thousandths_of_the_quota_on_devices():
    one = Tenants(tenants=(Tenant(name="red", quotas=(Quota(resource="h20-96", nominal=1),)),))
    desk = Table(configured(cluster([SHARED]), one))
    jobs = [desk.submit(share(f"part-{n}", 400)) for n in range(3)]
    started = [name for _ in range(3) for name in desk.starts()]
    assert started == ["part-0", "part-1"], "800 of 1000 thousandths: a third share of 400 is too much"
    (reason,) = explain(desk.state, jobs[2].number, desk.now_us)[0].reasons
    assert (reason.code, reason.need, reason.have, reason.who) == (ReasonCode.QUOTA_IN_USE, 1, 0, "red")
    last = desk.submit(share("fits", 200))
    assert desk.starts() == ["fits"], "devices are idle, and 200 thousandths of the quota are left"
    (row,) = tenants_view(desk.state, lambda _: True, desk.now_us)[0]["quotas"]
    assert (row["used"], row["limit"], row["borrowed"]) == (1, 1, 0)
    desk.up(last)
    desk.end(last)
    (row,) = tenants_view(desk.state, lambda _: True, desk.now_us)[0]["quotas"]
    assert row["used"] == 0.8


def test_a_users_limit_counts_shares_in_thousandths():
    limited = Tenants(tenants=(Tenant(name="red", per_user=UserLimits(max_devices=1)),))
    desk = Table(configured(cluster([SHARED]), limited))
    jobs = [desk.submit(share(f"part-{n}", 500)) for n in range(3)]
    assert [name for _ in range(3) for name in desk.starts()] == ["part-0", "part-1"]
    (reason,) = explain(desk.state, jobs[2].number, desk.now_us)[0].reasons
    assert (reason.code, reason.need, reason.have) == (ReasonCode.USER_LIMIT_IN_USE, 1, 0)


def test_the_account_counts_a_share_of_a_device_as_that_share():
    desk = table(SHARED)
    rules = Rules(prices=(Price(of="h20-96", fen_per_device_hour=1000),))
    desk.tell(msgspec.structs.replace(desk.config, rules=rules))
    desk.submit(share("part", 250))
    desk.decide()
    desk.later(3600)
    use = account(desk.state, ("tenant",), 0, desk.now_us)[("red",)].hours()
    assert (use["device_hours"], use["compute_unit_hours"], use["cost_cny"]) == (0.25, 0.25, 2.5)
    assert use["h20_equivalent_hours"] == pytest.approx(0.25)


def test_a_rule_on_what_is_used_counts_a_share_as_that_share():
    hours = DomesticShare(id="s", basis=ShareBasis.USED, measure=Measure.DEVICE_HOURS, target=0.3, window_us=86_400 * S)
    desk = table(SHARED)
    desk.tell(msgspec.structs.replace(desk.config, rules=Rules(domestic_shares=(hours,))))
    desk.submit(share("part", 250))
    desk.decide()
    assert desk.state.book.shares[0].running == [250, 0]
