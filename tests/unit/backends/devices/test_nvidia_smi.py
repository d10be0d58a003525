"""What nvidia-smi prints becomes devices, and whatever else it prints becomes one clear error."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.devices import DeviceInfo, get_adapter
from backends.devices.nvidia_smi import QUERY, parse
from scheduler.errors import DeviceError

RECORDINGS = Path(__file__).parent / "recordings"
NVIDIA = get_adapter("nvidia")


def probe(text: str) -> tuple[DeviceInfo, ...]:
    return NVIDIA.probe(lambda command: text)


def recorded(name: str) -> tuple[DeviceInfo, ...]:
    return probe((RECORDINGS / name).read_text())


def test_eight_h200_are_eight_healthy_devices_in_order():
    devices = recorded("nvidia-smi-570.h200.csv")
    assert [device.index for device in devices] == list(range(8))
    assert {(device.accelerator, device.memory_mib, device.healthy) for device in devices} == {("h200", 143771, True)}
    assert len({device.uuid for device in devices}) == 8


def test_an_h20_is_told_by_its_memory_since_both_carry_one_name():
    by_index = {device.index: device for device in recorded("nvidia-smi-550.h20-mixed.csv")}
    assert [by_index[i].accelerator for i in (0, 1, 2)] == ["h20-96", "h20-96", "h20-141"]


def test_a_device_split_by_mig_is_not_granted():
    device = next(d for d in recorded("nvidia-smi-550.h20-mixed.csv") if d.index == 3)
    assert not device.healthy
    assert "MIG" in device.problem


def test_a_lost_device_does_not_hide_the_others():
    devices = recorded("nvidia-smi-550.h20-mixed.csv")
    assert [device.index for device in devices] == [0, 1, 2, 3, 5, 6, None]
    assert not devices[-1].healthy
    assert "Unknown Error" in devices[-1].problem


def test_a_device_without_memory_is_unhealthy_and_is_not_guessed_at():
    device = next(d for d in recorded("nvidia-smi-550.h20-mixed.csv") if d.index == 5)
    assert (device.healthy, device.accelerator, device.memory_mib) == (False, "", 0)


def test_a_board_of_another_form_is_not_taken_for_the_one_in_the_catalog():
    device = next(d for d in recorded("nvidia-smi-550.h20-mixed.csv") if d.index == 6)
    assert (device.healthy, device.accelerator) == (True, "")


@pytest.mark.parametrize(
    ("name", "memory_mib", "accelerator"),
    [
        ("NVIDIA H200", 143771, "h200"),
        ("NVIDIA H20", 97871, "h20-96"),
        ("NVIDIA H20", 143771, "h20-141"),
        ("NVIDIA H100 80GB HBM3", 81559, "h100"),
        ("NVIDIA H100 PCIe", 81559, ""),
        ("NVIDIA H800", 81559, "h800"),
        ("NVIDIA A800-SXM4-80GB", 81251, "a800"),
        ("NVIDIA L20", 46068, "l20"),
        ("NVIDIA B200", 183359, "b200"),
        ("NVIDIA A100-SXM4-80GB", 81920, "a100"),
        ("NVIDIA A100-SXM4-40GB", 40960, "a100-40"),
        ("NVIDIA B300", 294912, "b300"),
        ("NVIDIA GB200", 192512, "gb200"),
        ("NVIDIA GB300", 294912, "gb300"),
        ("NVIDIA A10", 23028, "a10"),
        ("Tesla V100-SXM2-32GB", 32510, "v100"),
        ("Tesla P100-PCIE-16GB", 16280, "p100"),
        ("Tesla T4", 15360, "t4"),
        ("Tesla K80", 11441, "k80"),
        ("NVIDIA GeForce RTX 2080 Ti", 11264, "rtx-2080-ti"),
        ("Quadro RTX 6000", 24220, "quadro-rtx-6000"),
        ("NVIDIA GH200 480GB", 97871, ""),
        ("NVIDIA L20C", 46068, ""),
    ],
)
def test_a_tools_name_resolves_to_the_catalogs(name, memory_mib, accelerator):
    assert NVIDIA.accelerator(name, memory_mib) == accelerator


@pytest.mark.parametrize(
    "text", ["", "\n\n", "No devices were found\n", "NVIDIA-SMI has failed because it couldn't communicate\n"]
)
def test_a_tool_that_lists_nothing_is_an_error_that_says_so(text):
    with pytest.raises(DeviceError, match="nvidia-smi"):
        probe(text)


def test_an_index_listed_twice_is_refused():
    line = "0, GPU-0, NVIDIA H200, 143771, Disabled\n"
    with pytest.raises(DeviceError, match="twice"):
        probe(line * 2)


def test_the_query_asks_for_plain_csv():
    assert QUERY[0] == "nvidia-smi"
    assert "--format=csv,noheader,nounits" in QUERY


@given(
    st.text(max_size=400)
    | st.lists(st.sampled_from(["0, GPU-1, x, 1, y", '"', ",,,,", "9" * 30 + ",,,,"])).map("\n".join)
)
def test_no_text_makes_the_parser_fail_in_any_other_way(text):
    try:
        devices = parse(text, NVIDIA.accelerator)
    except DeviceError:
        return
    assert devices
    assert all(device.healthy or device.problem for device in devices)


def test_devices_are_numbered_as_the_tool_numbers_them():
    assert NVIDIA.launch_env(1)["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_older_chips_compute_in_half_floats_with_a_scaler():
    assert NVIDIA.precision("v100").grad_scaler
    assert NVIDIA.precision("h200").dtype == "bfloat16"
    assert NVIDIA.precision("k80").dtype == "float32"
