"""Where each strategy puts a job."""

import numpy as np
import pytest

from scheduler.model.allocations import Grant
from scheduler.model.jobs import Level, PerDevice
from scheduler.model.reasons import ReasonCode
from scheduler.placement import STRATEGIES, Demand, Fleet, Room, place, strategy_named
from scheduler.placement.verdict import whole_room, why_never
from tests.support.builders import CATALOG, cluster, pool

FLEET = Fleet(cluster([pool("h200", 8, 4, domain_nodes=4)]), CATALOG)


def room_with(*idle: int, fleet: Fleet = FLEET) -> Room:
    """A room whose nodes have so many idle devices each."""
    room = Room(fleet)
    width = [int(mask).bit_count() for mask in fleet.devices]
    room.take([Grant(n, 0, (1 << width[n] - left) - 1, 0, 0) for n, left in enumerate(idle) if left < width[n]])
    return room


def h200(count: int, **more: object) -> Demand:
    return Demand(role=0, accelerator="h200", count=count, **more)


def nodes_of(room: Room, demand: Demand, strategy: str) -> list[int]:
    grants = place(room, 0, [demand], strategy_named(strategy, room.fleet))
    assert grants is not None
    return [grant.node for grant in grants]


def test_best_fit_takes_the_fullest_node_that_still_has_enough():
    assert nodes_of(room_with(4, 1, 3, 2, 2), h200(2), "best-fit") == [3]


def test_spread_takes_the_emptiest_node():
    assert nodes_of(room_with(3, 2, 4, 4, 1, 1, 1, 1), h200(1), "spread") == [2]


def test_a_gang_of_several_nodes_takes_whole_nodes_first_so_that_it_spans_few():
    assert nodes_of(room_with(1, 4, 2, 4, 0, 0, 0, 0), h200(10), "best-fit") == [1, 3, 2]


def test_topology_breaks_ties_towards_the_fuller_rack():
    room = room_with(4, 4, 2, 4, 0, 2, 4, 0)
    assert nodes_of(room, h200(2), "best-fit") == [2]
    assert nodes_of(room, h200(2), "topology") == [5]


def test_topology_puts_a_gang_into_the_rack_where_least_is_left_over():
    room = room_with(4, 4, 4, 4, 4, 4, 0, 0)
    assert nodes_of(room, h200(8), "topology") == [4, 5]
    assert nodes_of(room, h200(8), "best-fit") == [0, 1]


def test_topology_spans_as_few_racks_as_it_can():
    fleet = Fleet(cluster([pool("h200", 9, 4, domain_nodes=3)]), CATALOG)
    room = room_with(4, 0, 0, 4, 4, 4, 4, 4, 0, fleet=fleet)
    racks = {node // 3 for node in nodes_of(room, h200(16), "topology")}
    assert racks == {0, 1}


def test_random_draws_among_all_that_fit_and_the_seed_repeats_it():
    room = room_with(2, 0, 1, 4, 0, 0, 0, 3)
    drawn = [place(room, 0, [h200(2)], strategy_named("random", FLEET, seed)) for seed in range(60)]
    assert {grants[0].node for grants in drawn} == {0, 3, 7}
    assert drawn == [place(room, 0, [h200(2)], strategy_named("random", FLEET, seed)) for seed in range(60)]


def test_dot_product_takes_the_node_that_resembles_the_demand_least():
    small = Fleet(cluster([pool("h200", 2, 4), pool("h200", 1, 4, name="big", cpu_milli=640_000)]), CATALOG)
    demand = h200(1, per_device=PerDevice(cpu_milli=32_000, memory_mib=0))
    assert nodes_of(Room(small), demand, "dot-product") == [0]
    assert nodes_of(room_with(4, 1, 4, fleet=small), demand, "dot-product") == [1]


def test_fgd_keeps_whole_nodes_for_the_gangs_that_use_them():
    target = [h200(4)] * 3 + [h200(1)]
    room = room_with(4, 4, 3, 0, 0, 0, 0, 0)
    grants = place(room, 0, [h200(1)], strategy_named("fgd", FLEET, recent=target))
    assert grants is not None and grants[0].node == 2


def test_fgd_spares_the_node_with_the_cpu_that_others_need():
    fleet = Fleet(cluster([pool("h200", 1, 4, cpu_milli=8_000), pool("h200", 1, 4, name="big")]), CATALOG)
    hungry = h200(2, per_device=PerDevice(cpu_milli=32_000, memory_mib=0))
    modest = h200(1, per_device=PerDevice(cpu_milli=1_000, memory_mib=0))
    room = room_with(4, 4, fleet=fleet)
    grants = place(room, 0, [modest], strategy_named("fgd", fleet, recent=[hungry] * 3 + [modest]))
    assert grants is not None and grants[0].node == 0


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_respects_a_required_node_and_domain(strategy):
    room = room_with(2, 2, 2, 2, 4, 2, 2, 0)
    recent = [h200(1)]
    made = strategy_named(strategy, FLEET, recent=recent)
    on_node = place(room, 0, [h200(4, require=Level.NODE)], made)
    assert [grant.node for grant in on_node or ()] == [4]
    in_domain = place(room, 0, [h200(7, require=Level.DOMAIN)], made)
    assert len({int(FLEET.domain[grant.node]) for grant in in_domain or ()}) == 1
    assert place(room, 0, [h200(9, require=Level.DOMAIN)], made) is None


def test_a_preferred_domain_gives_way_where_none_is_large_enough():
    room = room_with(2, 2, 2, 2, 2, 2, 2, 2)
    assert len(nodes_of(room, h200(10, prefer=Level.DOMAIN), "best-fit")) == 5


def test_nodes_of_the_last_failure_are_taken_only_where_nothing_else_fits():
    room = room_with(2, 4, 4, 0, 0, 0, 0, 0)
    assert nodes_of(room, h200(2, avoid=(0,)), "best-fit") == [1]
    assert nodes_of(room, h200(4, avoid=(0, 1, 2)), "best-fit") == [1]
    assert nodes_of(room, h200(8, avoid=(0,)), "best-fit") == [1, 2]


def test_nodes_that_rules_close_to_the_job_are_never_taken():
    two = Fleet(cluster([pool("h200", 1, 4), pool("h200", 1, 4, name="other")]), CATALOG)
    assert nodes_of(Room(two), h200(1, barred=(0,)), "best-fit") == [1]
    assert place(Room(two), 0, [h200(5, barred=(0,))]) is None


def test_every_gang_goes_to_one_cell():
    fleet = Fleet(cluster([pool("h200", 1, 4, name="one")], [pool("h200", 1, 4, name="two")]), CATALOG)
    assert place(Room(fleet), 0, [h200(5)]) is None
    assert {grant.node for grant in place(Room(fleet), 1, [h200(4)]) or ()} == {1}


def test_a_cell_that_does_not_answer_takes_nothing():
    room = Room(FLEET)
    room.reachable[0] = False
    assert place(room, 0, [h200(1)]) is None


def test_a_supernode_of_384_devices_takes_its_gang_whole():
    fleet = Fleet(cluster([pool("ascend-910c", 96, 8, domain_nodes=48)]), CATALOG)
    room = Room(fleet)
    room.take([Grant(n, 0, 255, 0, 0) for n in (0, 1)])
    grants = place(room, 0, [Demand(role=0, accelerator="ascend-910c", count=384, require=Level.DOMAIN)])
    assert {grant.node for grant in grants or ()} == set(range(48, 96))


class TestSpares:
    fleet = Fleet(cluster([pool("h200", 6, 4, domain_nodes=3, spare_nodes=1)]), CATALOG)

    def test_the_last_idle_node_of_each_domain_is_kept(self):
        grants = place(Room(self.fleet), 0, [h200(16)], strategy_named("best-fit", self.fleet))
        assert [grant.node for grant in grants or ()] == [0, 1, 3, 4]
        assert place(Room(self.fleet), 0, [h200(17)]) is None

    def test_a_job_that_lost_a_node_may_take_it(self):
        room = Room(self.fleet)
        room.take([Grant(n, 0, 15, 0, 0) for n in (0, 1, 3, 4)])
        assert place(room, 0, [h200(1)]) is None
        assert nodes_of(room, h200(4, replaces=True), "best-fit") == [2]

    def test_a_gang_that_only_the_spares_would_complete_is_told_what_there_is_without_them(self):
        whole = whole_room(self.fleet)
        reason = why_never(whole, [0], [h200(20)])
        assert reason is not None
        assert (reason.code, reason.need, reason.have) == (ReasonCode.EXCEEDS_CELL, 20, 16)
        reason = why_never(whole, [0], [h200(12, require=Level.DOMAIN)])
        assert reason is not None
        assert (reason.code, reason.need, reason.have) == (ReasonCode.EXCEEDS_DOMAIN, 12, 8)

    def test_nodes_that_are_in_use_already_are_no_spares(self):
        room = Room(self.fleet)
        room.take([Grant(n, 0, 1, 0, 0) for n in range(6)])
        assert len(nodes_of(room, h200(18), "best-fit")) == 6


def test_whatever_the_strategy_each_job_of_a_crowd_holds_its_own_devices():
    fleet = Fleet(cluster([pool("h200", 6, 4, domain_nodes=2)]), CATALOG)
    for strategy in sorted(STRATEGIES):
        room = Room(fleet)
        made = strategy_named(strategy, fleet, recent=[h200(1), h200(4)])
        held = 0
        for count in (3, 1, 6, 2, 5, 4, 3):
            grants = place(room, 0, [h200(count)], made)
            if grants is not None:
                assert sum(grant.count for grant in grants) == count
                assert all(room.has(grant) for grant in grants)
                room.take(grants)
                held += count
        assert int(np.bitwise_count(room.free).sum()) == 24 - held
        assert held >= 20
