"""Numbers and names of nodes, groups that rules tell apart, and the one table of a job's life."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.model.cluster import Cell, Cluster, NodeChange, Pool
from scheduler.model.lifecycle import TERMINAL, TRANSITIONS, JobState, Trigger

SIZES = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3), min_size=1, max_size=3)


def cluster(sizes: list[list[int]], *changes: NodeChange) -> Cluster:
    """Pools p00, p01, ... of so many nodes of two devices; pool names are prefixes of each other on purpose."""
    cells = []
    for c, nodes_of in enumerate(sizes):
        pools = tuple(
            Pool(name=f"p{c}" + "-1" * p, accelerator="h200", nodes=n, devices_per_node=2, cpu_milli=1, memory_mib=1)
            for p, n in enumerate(nodes_of)
        )
        cells.append(Cell(name=f"c{c}", pools=pools))
    return Cluster(name="drawn", cells=tuple(cells), changes=changes)


@given(SIZES)
def test_every_node_has_one_name_and_the_name_gives_its_number_back(sizes):
    fleet = cluster(sizes)
    names = [fleet.node_name(n) for n in range(fleet.node_count())]
    assert len(set(names)) == len(names)
    assert [fleet.node_index(name) for name in names] == list(range(len(names)))
    assert fleet.device_count() == 2 * fleet.node_count()


@pytest.mark.parametrize("name", ["p0", "p0-", "p0-2", "p0-01", "p0--1", "q-0", "", "p0-x", "p0-٣"])
def test_what_names_no_node_has_no_number(name):
    assert cluster([[2]]).node_index(name) is None


def test_there_is_no_node_past_the_last():
    with pytest.raises(IndexError):
        cluster([[2]]).node_name(2)


@given(SIZES, st.data())
def test_groups_hold_every_node_once_and_a_labelled_node_is_a_group_of_its_own(sizes, data):
    plain = cluster(sizes)
    names = [plain.node_name(n) for n in range(plain.node_count())]
    picked = data.draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
    fleet = cluster(sizes, *(NodeChange(node=name, labels={"rack": "7"}) for name in [*picked, "gone-0"]))
    groups = fleet.groups()
    assert sum(group.nodes for group in groups) == fleet.node_count()
    assert len({group.number for group in groups}) == len(groups)
    alone = [group for group in groups if group.labels.get("rack") == "7"]
    assert [group.nodes for group in alone] == [1] * len(picked)


def test_nothing_leaves_a_state_in_which_a_job_has_ended():
    assert not {state for state, _ in TRANSITIONS} & TERMINAL


def test_every_state_can_be_reached_from_waiting_and_from_every_live_one_an_end_can():
    reached = {JobState.WAITING}
    while True:
        more = {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(JobState)
    for state in set(JobState) - TERMINAL:
        seen, ends = {state}, False
        while not ends:
            after = {to for (before, _), to in TRANSITIONS.items() if before in seen}
            ends = bool(after & TERMINAL)
            assert ends or not after <= seen
            seen |= after


@pytest.mark.parametrize("trigger", list(Trigger))
def test_every_trigger_is_legal_somewhere_and_illegal_somewhere(trigger):
    states = {state for state, wanted in TRANSITIONS if wanted is trigger}
    assert states
    assert states != set(JobState)


def test_only_an_end_lets_go_of_what_a_stopping_job_holds():
    ends = {trigger for state, trigger in TRANSITIONS if state is JobState.STOPPING} - {Trigger.STOP}
    assert ends == {trigger for trigger in Trigger if trigger.value.startswith("ended_")}
