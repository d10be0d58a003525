"""Seconds that groups of devices talk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.profiles.collectives import (
    all_gather_s,
    all_reduce_s,
    all_to_all_s,
    bandwidth,
    members_per_node,
    point_to_point_s,
)

GROUPS = st.integers(1, 4096)
SIZES = st.floats(1, 1e12)
RATES = st.floats(1e8, 1e12)
DELAYS = st.floats(0, 1e-3)


@given(GROUPS, SIZES, RATES, DELAYS)
def test_a_ring_all_reduce_is_a_scatter_and_a_gather_unless_a_tree_is_faster(group, size, rate, delay):
    ring = 2 * all_gather_s(size, group, rate, delay)
    assert all_reduce_s(size, group, rate, delay) <= ring * (1 + 1e-12)
    assert all_reduce_s(size, group, rate, 0.0) == pytest.approx(2 * all_gather_s(size, group, rate))


@given(SIZES, RATES, DELAYS)
def test_nobody_talks_alone(size, rate, delay):
    for alone in (all_gather_s, all_reduce_s, all_to_all_s):
        assert alone(size, 1, rate, delay) == 0


@given(GROUPS, SIZES, RATES)
def test_more_bytes_take_longer_and_faster_links_less(group, size, rate):
    for talk in (all_gather_s, all_reduce_s, all_to_all_s):
        assert talk(2 * size, group, rate) >= talk(size, group, rate) >= talk(size, group, 2 * rate)


def test_eight_devices_gather_seven_eighths_of_what_they_do_not_have():
    assert all_gather_s(8e9, 8, 1e9, 0.001) == pytest.approx(7 + 7 * 0.001)
    assert point_to_point_s(1e9, 1e9, 0.5) == pytest.approx(1.5)


def test_many_small_messages_are_sent_as_a_tree():
    assert all_reduce_s(1.0, 1024, 1e9, 1e-5) == pytest.approx(20e-5, rel=1e-3)


def test_a_group_within_a_node_uses_the_link_and_one_across_nodes_all_ports_together():
    assert bandwidth(8, 1, 8, 450e9, 50e9) == 450e9
    assert bandwidth(16, 1, 8, 450e9, 50e9) == 400e9  # eight ports
    assert bandwidth(16, 4, 8, 450e9, 50e9) == 100e9  # two members a node
    assert bandwidth(16, 8, 8, 450e9, 50e9) == 50e9  # one
    assert bandwidth(16, 1, 8, 100e9, 50e9) == 100e9  # the link is the slower


def test_members_of_a_node_are_at_least_one_and_at_most_all():
    assert list(members_per_node(np.array([2.0, 64.0, 64.0]), np.array([1.0, 4.0, 16.0]), 8.0)) == [2, 2, 1]
