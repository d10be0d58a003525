"""Adapters are found by name, imported on use, and honest about what was tried."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from backends.devices import Verified, adapter_names, command_runner, describe_adapters, get_adapter
from scheduler.errors import DeviceError

ROW = re.compile(r"^\| `(\w+)` \| .+ \| (.+) \| (.+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
PAGE = Path(__file__).resolve().parents[4] / "docs" / "adapters.md"


def test_the_page_on_adapters_says_what_the_adapters_say():
    """A dash is nothing, and `not known` is what nobody could confirm."""
    rows = {
        kind: tuple(cell.strip("`*").replace("not known", "").strip("-") for cell in cells)
        for kind, *cells in ROW.findall(PAGE.read_text())
    }
    probed = {"cpu", "nvidia", "ascend"}
    assert rows == {
        a.kind: (a.visible, a.device, a.backend, a.tool if a.kind in probed else "", a.verified)
        for a in describe_adapters()
    }


def test_an_unknown_adapter_names_those_that_exist():
    with pytest.raises(DeviceError) as caught:
        get_adapter("nvidai")
    assert "'nvidai'" in str(caught.value)
    assert all(name in str(caught.value) for name in adapter_names())


def test_only_the_processor_is_called_verified_on_real_hardware():
    assert [info.kind for info in describe_adapters() if info.verified is Verified.REAL] == ["cpu"]


def test_an_adapter_is_imported_when_it_is_used():
    script = (
        "import sys; from backends.devices import get_adapter; get_adapter('cpu')\n"
        "print([m for m in sys.modules if m.endswith(('.nvidia', '.ascend', '.emulated', '.hygon'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_this_machines_processor_is_probed_for_real():
    devices = get_adapter("cpu").probe(command_runner())
    assert {(device.healthy, device.accelerator) for device in devices} == {(True, "cpu")}
    assert min(device.memory_mib for device in devices) > 128


@pytest.mark.parametrize(("cores", "slices", "memory_mib"), [("2", 1, 65536), ("8", 1, 65536), ("70", 8, 8192)])
def test_eight_cores_with_their_share_of_memory_are_one_device(cores, slices, memory_mib):
    pages = {"nproc": f"{cores}\n", "cat": f"MemTotal:       {64 * 1024**2} kB\nMemFree: 1 kB\n"}
    devices = get_adapter("cpu").probe(lambda command: pages[command[0]])
    assert [(device.index, device.memory_mib) for device in devices] == [(i, memory_mib) for i in range(slices)]


def test_a_missing_program_is_named_with_what_to_do():
    def missing(command):
        return command_runner()(["dualtrack-has-no-such-tool"])

    with pytest.raises(DeviceError, match="nvidia-smi was not found; install"):
        get_adapter("nvidia").probe(missing)


def test_a_program_that_hangs_is_left_after_its_time():
    def hanging(command):
        return command_runner(timeout_s=0.05)(["sleep", "30"])

    with pytest.raises(DeviceError, match="did not answer in time"):
        get_adapter("nvidia").probe(hanging)


def test_a_program_that_fails_is_quoted():
    def failing(command):
        return command_runner()(["sh", "-c", "echo first >&2; echo the driver is not loaded >&2; exit 9"])

    with pytest.raises(DeviceError, match="code 9: the driver is not loaded"):
        get_adapter("nvidia").probe(failing)


def test_what_nobody_could_confirm_is_refused_in_words():
    adapter = get_adapter("kunlun")
    with pytest.raises(DeviceError, match="torch device of Kunlunxin devices is not known"):
        adapter.device_string(0)
    with pytest.raises(DeviceError, match="process-group backend"):
        _ = adapter.backend


def test_a_missing_plugin_is_one_line_with_what_to_do():
    with pytest.raises(DeviceError) as caught:
        get_adapter("cambricon").load()
    assert "torch_mlu cannot be imported" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rank_that_sees_no_chip_of_a_granted_device_is_told_so():
    adapter = get_adapter("nvidia")
    with pytest.raises(DeviceError, match="torch sees 0 NVIDIA chips, but 2 were granted"):
        adapter.check_visible(adapter.visible_env((4, 6)), (4, 6))


def test_a_rank_on_processors_passes_its_self_check():
    get_adapter("cpu").check_visible({}, (0,))
