"""Cluster files: cells of run-length pools, and what cannot be."""

import pytest

from scheduler.config import driven, load_catalog, read_text
from scheduler.errors import ConfigError
from scheduler.model.accelerators import Track
from scheduler.model.cluster import Cluster, NodeState

CLUSTER = """\
schema: dualtrack/v1
kind: cluster
name: mixed
emulation: {speedup: 60, memory_scale: 0.01}
cells:
  - name: north
    executor: ray
    site: bj-1
    entity: acme
    pools:
      - {accelerator: h200, nodes: 4, cpus: 96, memory_gib: 1024, lot: lot-1, emulated: true}
      - {name: h20, accelerator: h20-96, nodes: 100000, devices_per_node: 4, cpus: 0.5, memory_gib: 1, domain_nodes: 8,
         labels: {rack: a}, track: domestic, shareable: true}
nodes:
  - {node: h200-3, state: cordoned, labels: {fan: broken}}
foreign:
  - {node: h20-99999, devices: 3, cpus: 1, memory_gib: 2, owner: notebooks}
"""


def cluster(text: str = CLUSTER) -> Cluster:
    kind, found = read_text(text, "c.yaml", load_catalog())
    assert kind == "cluster"
    assert isinstance(found, Cluster)
    return found


def test_pools_stay_run_length_and_take_what_the_catalog_knows():
    found = cluster()
    h200, h20 = found.pools
    assert (h200.name, h200.devices_per_node, h200.emulated, h200.lot) == ("h200", 8, True, "lot-1")
    assert (h20.nodes, h20.cpu_milli, h20.memory_mib, h20.track) == (100_000, 500, 1024, Track.DOMESTIC)
    assert found.device_count() == 4 * 8 + 400_000
    assert found.emulation.speedup == 60
    assert found.changes[0].state is NodeState.CORDONED
    assert (found.foreign[0].node, found.foreign[0].devices) == ("h20-99999", 3)
    assert (found.cells[0].executor, found.cells[0].site) == ("ray", "bj-1")


def test_a_pool_may_keep_nodes_of_each_domain_as_spares():
    text = CLUSTER.replace("lot: lot-1,", "domain_nodes: 2, spare_nodes: 1,")
    assert cluster(text).pools[0].spare_nodes == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "accelerator: h200",
            "accelerator: h20",
            "c.yaml:11: cells[0].pools[0].accelerator: unknown accelerator `h20`",
        ),
        (
            "devices_per_node: 4",
            "devices_per_node: 64",
            "c.yaml:12: cells[0].pools[1].devices_per_node: `64` is out of",
        ),
        (
            "nodes: 100000",
            "nodes: 200001",
            "c.yaml:12: cells[0].pools[1].nodes: `200001` is out of range; 1 to 200,000",
        ),
        ("nodes: 4,", "nodes: 0,", "c.yaml:11: cells[0].pools[0].nodes: `0` is out of range"),
        ("name: h20,", "name: h200,", "c.yaml:12: cells[0].pools[1]: two pools are called `h200`"),
        ("executor: ray", "executor: slurm", "c.yaml:7: cells[0].executor: `slurm` is not allowed; one of ray, local"),
        ("node: h200-3", "node: h200-4", "c.yaml:15: nodes[0].node: no node is called `h200-4`"),
        ("node: h200-3", "node: h200-03", "c.yaml:15: nodes[0].node: no node is called `h200-03`"),
        ("devices: 3", "devices: 5", "c.yaml:17: foreign[0].devices: 5 devices of `h20-99999` are in foreign use"),
        ("state: cordoned", "state: broken", "c.yaml:15: nodes[0].state: `broken` is not allowed; one of ready"),
        ("speedup: 60", "speedup: 0", "c.yaml:4: emulation.speedup: `0` is out of range; more than 0"),
        ("memory_scale: 0.01", "memory_scale: 2", "c.yaml:4: emulation.memory_scale: `2` is out of range"),
        ("cpus: 96", "cpu: 96", "c.yaml:11: cells[0].pools[0].cpu: unknown field `cpu`; did you mean `cpus`?"),
        ("cpus: 96, ", "", "c.yaml:11: cells[0].pools[0]: the field `cpus` is missing"),
        (
            "domain_nodes: 8,",
            "domain_nodes: 8, spare_nodes: 1,",
            "c.yaml:12: cells[0].pools[1].spare_nodes: a pool whose devices are shared keeps no nodes",
        ),
        ("lot: lot-1,", "spare_nodes: 1,", "c.yaml:11: cells[0].pools[0].spare_nodes: `1` is out of range; 0 to 0"),
        ("track: domestic", "track: foreign", "c.yaml:13: cells[0].pools[1].track: `foreign` is not allowed"),
        ("name: mixed", "name: Mixed", "c.yaml:3: name: `Mixed` is not a name"),
    ],
)
def test_a_mistake_is_named_with_its_place(old, new, message):
    assert old in CLUSTER
    with pytest.raises(ConfigError) as caught:
        cluster(CLUSTER.replace(old, new, 1))
    assert str(caught.value).startswith(message)


def test_cells_and_overrides_may_not_repeat():
    again = CLUSTER[CLUSTER.index("  - name: north") : CLUSTER.index("nodes:\n")].replace("pools:", "pools: &no", 0)
    text = CLUSTER.replace("nodes:\n", again.replace("h200,", "h100,").replace("name: h20,", "name: h21,") + "nodes:\n")
    with pytest.raises(ConfigError, match="two cells are called `north`"):
        cluster(text)
    text = CLUSTER.replace("foreign:", "  - {node: h200-3}\nforeign:")
    with pytest.raises(ConfigError, match=r"nodes\[1\]: node `h200-3` is listed twice"):
        cluster(text)


def test_without_a_catalog_the_devices_of_a_node_must_be_said():
    with pytest.raises(ConfigError, match=r"cells\[0\]\.pools\[0\]: the field `devices_per_node` is missing"):
        read_text(CLUSTER, "c.yaml")


def test_what_a_fake_executor_drives_is_emulated_and_what_others_drive_is_as_stated():
    real, fake = cluster(), cluster(CLUSTER.replace("executor: ray", "executor: fake"))
    assert [pool.emulated for pool in real.pools] == [True, False]
    assert [pool.emulated for pool in fake.pools] == [True, True]
    assert driven(real.cells[0], "fake") == fake.cells[0]
