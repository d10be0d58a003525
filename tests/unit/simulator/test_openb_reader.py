"""The reader of openb's lists, and the benchmark that places them."""

import gzip
import importlib.util
import json
import subprocess
import sys

import pytest

from scheduler.errors import ConfigError
from scheduler.placement import Fleet, Room, place
from scheduler.simulator.readers.openb import (
    demand_of,
    openb_catalog,
    openb_cluster,
    read_openb_nodes,
    read_openb_pods,
)
from tests.support.tree import ROOT

NODES = """sn,cpu_milli,memory_mib,gpu,model
n0,64000,262144,2,P100
n1,64000,262144,2,P100
n2,96000,393216,8,G2
n3,32000,262144,0,
"""
PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
whole,12000,16384,1,1000,,LS,Running,0,12537496,0
part,6000,12288,1,460,P100|T4,LS,Running,427061,12902960,427061
none,8000,30517,0,0,,BE,Running,11811762,11827364,11811762
many,16001,65536,8,1000,,LS,Running,2759674,12902960,
"""


@pytest.fixture
def nodes(tmp_path):
    (tmp_path / "nodes.csv").write_text(NODES)
    return tmp_path / "nodes.csv"


@pytest.fixture
def pods(tmp_path):
    (tmp_path / "pods.csv.gz").write_bytes(gzip.compress(PODS.encode()))
    return tmp_path / "pods.csv.gz"


def test_nodes_become_pools_whose_devices_are_shared_and_those_without_devices_are_left_out(nodes):
    found = openb_cluster(read_openb_nodes(nodes))
    shapes = [(p.accelerator, p.nodes, p.devices_per_node, p.cpu_milli, p.memory_mib, p.shareable) for p in found.pools]
    assert shapes == [("p100", 2, 2, 64_000, 262_144, True), ("g2", 1, 8, 96_000, 393_216, True)]


def test_pods_ask_for_whole_devices_shares_or_cpu_alone(nodes, pods):
    catalog = openb_catalog(read_openb_nodes(nodes))
    whole, part, none, many = (demand_of(pod, catalog) for pod in read_openb_pods(pods))
    assert (whole.count, whole.thousandths, {whole.accelerator, *whole.also}) == (1, 1000, {"g2", "p100"})
    assert (part.count, part.thousandths, part.accelerator, part.also) == (1, 460, "p100", ())
    assert (none.count, none.per_device.cpu_milli, none.per_device.memory_mib) == (0, 8_000, 30_517)
    assert (many.count, many.per_device.cpu_milli) == (8, 2_001), "what does not divide is rounded up"


def test_pods_are_placed_on_the_types_that_they_allow(nodes, pods):
    found = read_openb_nodes(nodes)
    room = Room(Fleet(openb_cluster(found), openb_catalog(found)))
    placed = []
    for pod in read_openb_pods(pods):
        grants = place(room, 0, [demand_of(pod, room.fleet.catalog)])
        room.take(grants)
        placed.append((grants[0].node, grants[0].count, grants[0].thousandths))
    assert placed[1][0] in (0, 1) and placed[3] == (2, 8, 1000)
    assert placed[2][1] == 0


def test_a_pod_whose_types_the_fleet_lacks_has_no_demand(nodes, pods):
    catalog = openb_catalog([node for node in read_openb_nodes(nodes) if node.accelerator == "g2"])
    assert demand_of(read_openb_pods(pods)[1], catalog) is None


@pytest.mark.parametrize(
    ("old", "new", "place_and_problem"),
    [
        ("whole,12000", "whole,many", "pods.csv:2: cpu_milli: a number is expected, not 'many'"),
        ("1,460", "1,1460", "pods.csv:3: gpu_milli: 1460 lies outside 0 to 1000"),
        ("1,460", "1,46.5", "pods.csv:3: gpu_milli: a whole number is expected"),
        ("8,1000", "8,500", "pods.csv:5: gpu_milli: 8 devices are asked for, and 500 thousandths of each"),
        ("0,0,,BE", "0,100,,BE", "pods.csv:4: gpu_milli: 100 thousandths of 0 devices mean nothing"),
        ("num_gpu", "gpus", "pods.csv:1: the heading lacks 'num_gpu'"),
    ],
)
def test_what_is_wrong_in_a_list_is_told_with_its_place(tmp_path, old, new, place_and_problem):
    path = tmp_path / "pods.csv"
    path.write_text(PODS.replace(old, new, 1))
    with pytest.raises(ConfigError) as refused:
        read_openb_pods(path)
    assert place_and_problem in str(refused.value)


def test_a_list_of_nodes_without_devices_is_refused(tmp_path):
    (tmp_path / "nodes.csv").write_text("sn,cpu_milli,memory_mib,gpu,model\nn3,32000,262144,0,\n")
    with pytest.raises(ConfigError, match="no node with a device"):
        read_openb_nodes(tmp_path / "nodes.csv")


def test_the_benchmark_prints_one_object_with_its_figures(nodes, pods):
    program = ROOT / "benchmarks" / "openb_placement.py"
    command = [sys.executable, str(program), "--nodes", str(nodes), "--pods", str(pods), "--seeds", "42:44"]
    done = subprocess.run(
        [*command, "--policies", "best-fit,fgd", "-o", "json"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert set(found) >= {"schema", "command", "machine", "versions", "results"}
    runs = found["results"]
    assert [(row["policy"], row["seed"]) for row in runs] == [
        ("best-fit", 42),
        ("best-fit", 43),
        ("fgd", 42),
        ("fgd", 43),
    ]
    for row in runs:
        assert len(row["allocated_percent_curve"]) >= 130
        assert row["allocated_percent_curve"][-1] <= row["allocated_percent"] + 0.01 <= 100.01
    assert [(mean["policy"], mean["runs"]) for mean in found["means"]] == [("best-fit", 2), ("fgd", 2)]


def test_pods_are_cloned_or_removed_until_they_ask_for_130_per_cent(pods):
    spec = importlib.util.spec_from_file_location("openb_placement", ROOT / "benchmarks" / "openb_placement.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    found = read_openb_pods(pods)
    for devices in (4, 12, 300):
        tuned = program.tuned(found, devices, seed=1)
        demand = sum(pod.demand for pod in tuned)
        assert 1300 * devices - 8000 <= demand <= 1300 * devices + 8000
        assert tuned == program.tuned(found, devices, seed=1)
