"""What a vendor's tools can grant: counts, and rings of a sixteen-device box."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scheduler.config import decode_accelerators, load_catalog
from scheduler.errors import ConfigError
from scheduler.model.accelerators import Rings
from scheduler.placement.granting import Granting, devices_for, granting_of, largest
from tests.support.tree import ROOT

BOX = Granting((1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16), 8)
PACKAGES = Granting((1, 2, 4, 8))
ALL = (1 << 16) - 1
ASCEND = ROOT / "cluster_configs" / "accelerators" / "ascend.yaml"


def test_the_shipped_catalog_knows_boxes_of_sixteen_and_nodes_of_eight():
    kind = load_catalog().get("ascend-910b2")
    assert granting_of(kind, 16) == BOX
    assert granting_of(kind, 8) == PACKAGES


@pytest.mark.parametrize("count", [9, 11, 13, 15, 17])
def test_a_box_of_two_rings_never_grants_an_odd_count_above_one_ring(count):
    assert devices_for(BOX, ALL, count) == 0


def test_up_to_eight_devices_lie_within_the_fuller_ring_that_has_them():
    idle = 0b11111111 | 0b00001111 << 8
    assert devices_for(BOX, idle, 4) == 0b00001111 << 8
    assert devices_for(BOX, idle, 5) == 0b00011111


def test_eight_idle_devices_on_both_rings_are_no_eight_for_one_job():
    assert largest(BOX, 0b00001111 | 0b00001111 << 8, 8) == 4


def test_ten_devices_take_matching_places_in_both_rings():
    idle = 0b11111100 | 0b01111111 << 8
    assert devices_for(BOX, idle, 10) == 0b01111100 | 0b01111100 << 8
    assert devices_for(BOX, 0b11111000 | 0b00011111 << 8, 10) == 0  # five in each, but not the same five


def test_a_rule_of_counts_alone_rounds_down():
    assert largest(PACKAGES, 0b1110111, 8) == 4
    assert largest(PACKAGES, 0b1110111, 3) == 2


@given(st.integers(0, ALL), st.integers(1, 16))
def test_what_is_granted_is_idle_whole_and_within_the_rings(idle, count):
    devices = devices_for(BOX, idle, count)
    low, high = devices & 0xFF, devices >> 8
    if not devices:
        rings = max((idle & 0xFF).bit_count(), (idle >> 8).bit_count())
        matching = (idle & 0xFF & idle >> 8).bit_count()
        assert count not in BOX.counts or (rings < count if count <= 8 else matching < count // 2)
        return
    assert devices.bit_count() == count
    assert devices & ~idle == 0
    assert not low or not high if count <= 8 else low == high


@given(st.integers(0, ALL), st.integers(1, 16), st.sampled_from([BOX, PACKAGES, Granting()]))
def test_the_largest_grant_is_the_largest_of_all_that_can_be_granted(idle, most, rule):
    possible = [count for count in range(1, most + 1) if devices_for(rule, idle, count)]
    assert largest(rule, idle, most) == max(possible, default=0)


def written(ring: str) -> dict:
    (entry,) = [a for a in yaml.safe_load(ASCEND.read_text())["accelerators"] if a["name"] == "ascend-910b2"]
    form = yaml.safe_load(ASCEND.read_text())
    return {**form, "accelerators": [{**entry, "ring": yaml.safe_load(ring)}]}


def test_a_ring_is_read_from_the_file():
    (kind,) = decode_accelerators(written("{devices: 4, grants: [1, 2, 4, 8]}"), "a.yaml")
    assert kind.ring == Rings(4, (1, 2, 4, 8))


@pytest.mark.parametrize(
    ("ring", "message"),
    [
        ("{devices: 8, grants: [1, 9]}", "ring.grants: more devices than one ring has lie half in each of two"),
        ("{devices: 8, grants: [1, 18]}", "ring.grants: more devices than one ring has lie half in each of two"),
        ("{devices: 8, grants: [2, 1]}", "ring.grants: counts must ascend"),
        ("{devices: 1, grants: [1]}", "ring.devices: `1` is out of range"),
        ("{devices: 8, grant: [1]}", "ring.grant: unknown field `grant`; did you mean `grants`?"),
    ],
)
def test_a_ring_that_cannot_be_is_refused_with_its_place(ring, message):
    with pytest.raises(ConfigError) as refused:
        decode_accelerators(written(ring), "a.yaml")
    assert message in str(refused.value)
