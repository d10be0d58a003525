"""Every shipped adapter, and every emulation of one, passes the suite for devices."""

from pathlib import Path

import pytest

from backends.conformance.devices import DeviceContract
from backends.devices import Verified, adapter_names, describe_adapters, get_adapter

CATALOG = Path(__file__).resolve().parents[2] / "cluster_configs" / "accelerators"

VARIABLES = {
    "cpu": "",
    "nvidia": "CUDA_VISIBLE_DEVICES",
    "ascend": "ASCEND_RT_VISIBLE_DEVICES",
    "hygon": "HIP_VISIBLE_DEVICES",
    "cambricon": "MLU_VISIBLE_DEVICES",
    "mthreads": "MUSA_VISIBLE_DEVICES",
    "kunlun": "XPU_VISIBLE_DEVICES",
    "metax": "CUDA_VISIBLE_DEVICES",
}
TEXTS = {
    "cpu": ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",),
    "nvidia": ("CUDA out of memory", "CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
    "ascend": ("NPU out of memory", "aclrtMalloc failed, error code is 207001"),
    "hygon": ("HIP out of memory", "CUDA out of memory"),
    "cambricon": ("MLU out of memory",),
    "mthreads": ("MUSA out of memory",),
    "kunlun": (),
    "metax": ("CUDA out of memory",),
}


class TestCpu(DeviceContract):
    adapter, kind, variable = get_adapter("cpu"), "cpu", VARIABLES["cpu"]
    out_of_memory = TEXTS["cpu"]


class TestNvidia(DeviceContract):
    adapter, kind, variable = get_adapter("nvidia"), "nvidia", VARIABLES["nvidia"]
    out_of_memory = TEXTS["nvidia"]


class TestAscend(DeviceContract):
    adapter, kind, variable = get_adapter("ascend"), "ascend", VARIABLES["ascend"]
    out_of_memory = TEXTS["ascend"]


class TestHygon(DeviceContract):
    adapter, kind, variable = get_adapter("hygon"), "hygon", VARIABLES["hygon"]
    out_of_memory = TEXTS["hygon"]


class TestCambricon(DeviceContract):
    adapter, kind, variable = get_adapter("cambricon"), "cambricon", VARIABLES["cambricon"]
    out_of_memory = TEXTS["cambricon"]


class TestMooreThreads(DeviceContract):
    adapter, kind, variable = get_adapter("mthreads"), "mthreads", VARIABLES["mthreads"]
    out_of_memory = TEXTS["mthreads"]


class TestKunlunxin(DeviceContract):
    adapter, kind, variable = get_adapter("kunlun"), "kunlun", VARIABLES["kunlun"]
    out_of_memory = TEXTS["kunlun"]


class TestMetaX(DeviceContract):
    adapter, kind, variable = get_adapter("metax"), "metax", VARIABLES["metax"]
    out_of_memory = TEXTS["metax"]


class Emulation(DeviceContract):
    """What holds for an emulation on top."""

    module = "backends.devices.emulated"
    out_of_memory = TEXTS["cpu"]

    def test_it_computes_on_the_processor_and_says_so(self):
        assert (self.adapter.backend, self.adapter.device_string(3)) == ("gloo", "cpu")
        assert self.adapter.verified is Verified.EMULATED
        assert self.adapter.precision("h200").dtype == "float32"

    def test_a_rank_that_sees_its_own_devices_passes_its_self_check(self):
        seen = dict(self.adapter.visible_env((1, 2), 2))
        self.adapter.check_visible(seen, (1, 2), 2)


class TestEmulatedNvidia(Emulation):
    adapter, kind, variable = get_adapter("nvidia", emulated=True), "nvidia", VARIABLES["nvidia"]


class TestEmulatedAscend(Emulation):
    adapter, kind, variable = get_adapter("ascend", emulated=True), "ascend", VARIABLES["ascend"]


class TestEmulatedKunlunxin(Emulation):
    adapter, kind, variable = get_adapter("kunlun", emulated=True), "kunlun", VARIABLES["kunlun"]


def test_no_registered_adapter_is_left_out_of_the_suite():
    assert set(adapter_names()) == set(VARIABLES)
    assert {info.kind: info.visible for info in describe_adapters()} == VARIABLES


def shipped_catalog():
    if not any(CATALOG.glob("*.yaml")):
        pytest.skip("the catalog of accelerators is not there yet")
    config = pytest.importorskip("scheduler.config", reason="the reader of catalogs is not there yet")
    return config.load_catalog()


def test_every_accelerator_of_the_shipped_catalog_names_an_adapter_that_exists():
    wrong = [(a.name, a.adapter) for a in shipped_catalog() if a.adapter not in adapter_names()]
    assert wrong == []


def test_every_name_that_an_adapter_maps_to_is_in_the_shipped_catalog_under_that_adapter():
    adapters = {a.name: a.adapter for a in shipped_catalog()}
    mapped = {name: info.kind for info in describe_adapters() for name in info.accelerators}
    assert {name: adapters.get(name) for name in mapped} == mapped


def test_every_accelerator_of_the_shipped_catalog_is_recognised_by_its_adapter():
    mapped = {name for info in describe_adapters() for name in info.accelerators}
    assert [a.name for a in shipped_catalog() if a.name not in mapped] == []
