"""What is stranded, against the definition written out; and the compiled form against the plain one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.model.jobs import PerDevice
from scheduler.placement import Demand, Fleet, Target
from scheduler.placement.fragmentation import fastest, graded, increases, stranded
from scheduler.placement.target import Left
from tests.support.builders import CATALOG, cluster, pool

FLEET = Fleet(cluster([pool("h200", 2, 4, shareable=True), pool("h20-96", 1, 4, shareable=True)]), CATALOG)

shapes = st.builds(
    lambda count, share, cpu, also: Demand(
        role=0,
        accelerator="h200",
        count=count,
        thousandths=share if count == 1 else 1000,
        per_device=PerDevice(cpu_milli=cpu, memory_mib=0),
        also=("h20-96",) if also else (),
    ),
    st.integers(0, 4),
    st.sampled_from([100, 250, 500, 1000]),
    st.sampled_from([0, 8_000, 40_000]),
    st.booleans(),
)
rows = st.lists(st.sampled_from([0, 100, 300, 500, 900, 1000]), min_size=4, max_size=4)


def by_definition(left: list[int], cpu_milli: int, kind: str, target: list[Demand]) -> float:
    """The mean over the jobs of the target of what each could not use."""
    lost = 0
    for demand in target:
        useful = [amount for amount in left if amount >= demand.thousandths]
        fits = demand.count and len(useful) >= demand.count and kind in (demand.accelerator, *demand.also)
        fits = fits and cpu_milli >= demand.per_device.cpu_milli * demand.count
        lost += sum(left) - (sum(useful) if fits else 0)
    return lost / len(target)


def arrays(left, cpu_milli, kinds):
    numbers = [FLEET.accelerator_index[kind] for kind in kinds]
    return Left(*(np.array(values, dtype=np.int64) for values in (left, cpu_milli, numbers)))


nodes = st.tuples(rows, st.sampled_from([0, 10_000, 64_000]), st.sampled_from(["h200", "h20-96"]))


@given(nodes, st.lists(shapes, min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_what_is_stranded_is_what_the_definition_says(node, target):
    known = Target.of(target, FLEET)
    if len(known.weight) < len({(d.count, d.thousandths if d.count else 0, d.per_device, d.also) for d in target}):
        return  # the rarest are left out
    left, cpu_milli, kind = node
    found = stranded(arrays([left], [cpu_milli], [kind]), known)[0]
    assert found == pytest.approx(by_definition(left, cpu_milli, kind, target))


@given(st.lists(nodes, min_size=1, max_size=5), st.lists(shapes, min_size=1, max_size=8), st.data())
@settings(max_examples=150, deadline=None)
def test_the_compiled_form_agrees_with_the_plain_one(found, target, data):
    known = Target.of(target, FLEET)
    left = arrays(*zip(*found, strict=True))
    if data.draw(st.booleans()):
        count, share = 1, data.draw(st.sampled_from([100, 500, 900]))
        able = (left.devices >= share).any(axis=1)
    else:
        count, share = data.draw(st.integers(0, 4)), 1000
        able = (left.devices == 1000).sum(axis=1) >= count
    if not able.any():
        return
    asked = (count, share, np.full(int(able.sum()), 500, dtype=np.int64))
    left = Left(*(values[able] for values in left))
    plain, compiled = increases(left, asked, known), fastest()(left, asked, known)
    assert compiled[0] == pytest.approx(plain[0], abs=1e-9)
    assert compiled[1].tolist() == plain[1].tolist()


def test_the_share_goes_to_the_device_where_it_strands_least():
    target = Target.of([Demand(role=0, accelerator="h200", count=1)], FLEET)
    left = arrays([[1000, 600, 1000, 0]], [64_000], ["h200"])
    rise, device = increases(left, (1, 500, np.zeros(1, dtype=np.int64)), target)
    assert device.tolist() == [1]
    assert rise.tolist() == [-500.0]  # what was stranded for whole devices already is put to use


def test_small_differences_are_one_grade():
    rises = np.array([-100.0, -1.0, 0.0, 1.0, 39.0, 41.0, 900.0])
    grades = graded(rises, np.zeros(7))
    assert grades.tolist() == sorted(grades)
    assert grades[3] == grades[4] < grades[5]
    assert grades[1] == grades[2] < grades[3]


def test_among_equals_the_fullest_node_is_best_and_no_emptier_one_of_a_better_grade_is_missed():
    scores = graded(np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.25, 0.0]))
    assert scores[1] < scores[0] < scores[2]


def test_the_target_leaves_out_the_rarest_shapes_and_its_weights_sum_to_one():
    demands = [Demand(role=0, accelerator="h200", count=1)] * 96 + [Demand(role=0, accelerator="h200", count=2)] * 4
    target = Target.of(demands, FLEET)
    assert target.count.tolist() == [1]
    assert target.weight.sum() == pytest.approx(1.0)


def test_a_gang_beyond_one_node_counts_with_all_devices_of_a_node():
    target = Target.of([Demand(role=0, accelerator="h200", count=64)], FLEET)
    assert target.count.tolist() == [4]


def test_without_recent_jobs_nothing_is_stranded():
    left = arrays([[1000, 0, 0, 0]], [0], ["h200"])
    assert stranded(left, Target.of([], FLEET)).tolist() == [0.0]
