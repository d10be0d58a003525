"""Which nodes are slow: named when enough speaks against them, and never for what another node has done."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.profiles.slow_nodes import NodeRun, slow_nodes

USUAL = -0.1  # of modelled: that all run below it is the model's fault


def runs(*places, slow=(), factor=0.7, noise=0.02, seed=0):
    """One run on each of `places`; as slow as its slowest node."""
    rng = np.random.default_rng(seed)
    return [
        NodeRun(nodes, USUAL + noise * float(rng.standard_normal()) + math.log(factor) * bool(set(slow) & set(nodes)))
        for nodes in places
    ]


def named(*groups):
    return {found.node: found for found in slow_nodes(groups)}


def test_a_slow_node_is_named_and_its_neighbours_are_not():
    found = named(runs((0,), (1,), (2,), (3,), (4,), slow=[3]))
    assert list(found) == [3]
    assert found[3].ratio == pytest.approx(0.7, abs=0.05)
    assert (found[3].runs, found[3].peers, found[3].among) == (1, 4, 1)


def test_a_little_slower_takes_more_runs_to_tell():
    """One run in a group says too little; one in each of three kinds of job says enough."""
    assert named(runs((0,), (1,), (2,), (3,), slow=[1], factor=0.82)) == {}
    three = [runs((0,), (1,), (2,), (3,), slow=[1], factor=0.8, seed=seed) for seed in range(3)]
    assert list(named(*three)) == [1]


def test_fewer_than_three_others_are_no_comparison():
    assert named(runs((0,), (1,), (2,), slow=[1], factor=0.3)) == {}
    assert named(runs((0,), (1,), (0,), (0,), slow=[1], factor=0.3)) == {}


def test_a_kind_that_is_slow_everywhere_speaks_against_no_node():
    assert named(runs((0,), (1,), (2,), (3,), (4,), slow=[0, 1, 2, 3, 4], factor=0.2)) == {}


def test_of_a_gang_the_node_is_blamed_that_is_slow_elsewhere_too():
    gangs = runs((0, 1), (2, 3), (4, 5), (6, 7), (8, 9), slow=[1])
    alone = runs((1,), (2,), (4,), (6,), (8,), slow=[1], seed=1)
    assert list(named(gangs, alone)) == [1]


def test_of_a_gang_of_which_nothing_else_is_known_either_may_be_meant():
    found = named(runs((0, 1), (2, 3), (4, 5), (6, 7), slow=[1]))
    assert {node: one.among for node, one in found.items()} == {0: 2, 1: 2}


def test_a_node_that_was_mended_is_cleared_by_its_next_runs():
    others = [(1,), (2,), (3,), (4,)]
    before, after = runs((0,), *others, slow=[0]), runs((0,), *others, seed=1)
    assert list(named(before)) == [0]
    assert named(before, after, after, after) == {}


def test_one_group_that_ran_amok_outvotes_nobody():
    """Half of the others are far too fast, as with another input: the median stays with the rest."""
    odd = [NodeRun((node,), 2.0) for node in (5, 6)]
    assert named([*runs((0,), (1,), (2,), (3,), (4,)), *odd]) == {}


@given(st.integers(0, 10_000), st.integers(4, 20), st.integers(1, 8))
def test_chance_alone_names_nobody(seed, count, kinds):
    assert named(*(runs(*((n,) for n in range(count)), seed=seed + 7 * kind) for kind in range(kinds))) == {}


@given(st.integers(0, 10_000), st.integers(5, 12), st.integers(1, 4), st.floats(0.4, 0.7))
def test_whoever_is_slow_is_found_whatever_gangs_it_was_in(seed, count, size, factor):
    rng = np.random.default_rng(seed)
    groups = []
    for kind in range(3):
        order = [int(node) for node in rng.permutation(count * size)]
        groups.append(runs(*(tuple(sorted(order[i * size : (i + 1) * size])) for i in range(count)), slow=[0],
                           factor=factor, seed=seed + kind))  # fmt: skip
    found = named(*groups)
    assert 0 in found
    assert all(one.among > 1 for node, one in found.items() if node != 0)
