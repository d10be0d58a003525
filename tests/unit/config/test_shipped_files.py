"""What ships: every file loads, in any combination, and the catalog says where each figure comes from."""

from pathlib import Path

import msgspec
import pytest

from scheduler.config import (
    load_any,
    load_catalog,
    load_cluster,
    load_scenario,
    load_tenants,
    load_workload,
    shipped,
    shipped_names,
)
from scheduler.model.accelerators import Figure, Provenance, Track, WorkClass

ROOT = Path(__file__).resolve().parents[3] / "cluster_configs"
FILES = sorted(ROOT.rglob("*.yaml"))
FOLDER_OF_KIND = {"cluster": "clusters", "policy": "policies", "workload": "workloads", "scenario": "scenarios"}
WANTED = [
    "h200", "h20-96", "h20-141", "h100", "h800", "a800", "l20", "b200", "ascend-910b2", "ascend-910b3",
    "ascend-910b4", "ascend-910c", "ascend-950pr", "hygon-k100-ai", "hygon-bw1000", "cambricon-mlu590",
    "mthreads-s5000", "kunlun-p800", "metax-c550", "k80", "p100", "v100", "t4", "a10", "a100", "rtx-2080-ti",
    "quadro-rtx-6000", "cpu",
]  # fmt: skip
CATALOG = load_catalog()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shipped_file_loads_and_lies_in_the_folder_of_its_kind(path):
    kind, _ = load_any(path, CATALOG)
    assert path.parent.name == FOLDER_OF_KIND.get(kind, kind)


@pytest.mark.parametrize("cluster", shipped_names("cluster"))
@pytest.mark.parametrize("tenants", shipped_names("tenants"))
def test_every_cluster_loads_with_every_tree_of_tenants(cluster, tenants):
    assert load_cluster(shipped("cluster", cluster), CATALOG).device_count() > 0
    assert load_tenants(shipped("tenants", tenants), CATALOG).tenants


@pytest.mark.parametrize("name", shipped_names("scenario"))
def test_every_scenario_refers_to_shipped_files(name):
    scenario = load_scenario(shipped("scenario", name))
    for kind in ("cluster", "workload", "tenants", "rules", "policy"):
        if reference := getattr(scenario, kind):
            assert shipped(kind, reference).is_file()


def test_the_catalog_holds_every_accelerator_that_is_promised():
    assert set(WANTED) <= set(CATALOG.names)


def figures(accelerator) -> list[tuple[str, Figure]]:
    fields = [(field, getattr(accelerator, field)) for field in accelerator.__struct_fields__]
    named = [(field, value) for field, value in fields if isinstance(value, Figure)]
    return named + [(f"rates.{work}", figure) for work, figure in accelerator.rates.items()]


@pytest.mark.parametrize("accelerator", CATALOG.accelerators, ids=lambda accelerator: accelerator.name)
def test_every_figure_has_a_band_a_provenance_and_a_source(accelerator):
    assert len(figures(accelerator)) >= 8
    for name, figure in figures(accelerator):
        assert 0 < figure.low <= figure.value <= figure.high, name
        assert figure.source, name
        if figure.source.startswith("recalled"):
            assert figure.provenance is Provenance.MODELLED, name


@pytest.mark.parametrize("accelerator", CATALOG.accelerators, ids=lambda accelerator: accelerator.name)
def test_every_accelerator_has_a_rate_for_every_class_of_work(accelerator):
    assert set(accelerator.rates) == set(WorkClass)


def test_the_unit_of_rates_is_one():
    unit = CATALOG.get("h20-96")
    assert unit is not None
    assert unit.compute_units == 1000
    assert {(figure.low, figure.value, figure.high) for figure in unit.rates.values()} == {(1.0, 1.0, 1.0)}


def test_the_h200_gains_six_times_in_training_and_a_fifth_in_decode():
    h200 = CATALOG.get("h200")
    assert h200 is not None
    assert h200.rates[WorkClass.DENSE_TRAINING].value == 6.0
    assert h200.rates[WorkClass.DECODE].value == 1.2


def test_a_910c_is_one_device_of_two_dies():
    package = CATALOG.get("ascend-910c")
    assert package is not None
    assert (package.dies, package.devices_per_node, package.grants) == (2, 8, (1, 2, 4, 8))
    assert package.track is Track.DOMESTIC


def test_both_h20_are_one_family():
    assert {a.name for a in CATALOG if a.family == "h20"} == {"h20-96", "h20-141"}


def test_the_large_clusters_have_the_sizes_of_their_names():
    assert load_cluster(shipped("cluster", "dual-track-1000"), CATALOG).node_count() == 1000
    large = load_cluster(shipped("cluster", "tenant-300k"), CATALOG)
    assert large.device_count() == 300_000
    h200 = sum(pool.nodes * pool.devices_per_node for pool in large.pools if pool.accelerator == "h200")
    assert h200 > 200_000


def test_a_large_cluster_stays_small():
    assert len(msgspec.json.encode(load_cluster(shipped("cluster", "tenant-300k"), CATALOG))) < 20_000


@pytest.mark.parametrize(
    ("workload", "tenants"), [("small", "demo"), ("demo", "demo"), ("dual-track-day", "dual-track")]
)
def test_the_tenants_of_a_shipped_workload_are_those_of_its_tree(workload, tenants):
    known = {tenant.name for tenant in load_tenants(shipped("tenants", tenants), CATALOG).tenants}
    arrivals = load_workload(shipped("workload", workload), CATALOG).arrivals
    assert {arrival.job.tenant for arrival in arrivals} <= known
