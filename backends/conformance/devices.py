"""The suite that every device adapter passes. Derive a test class from `DeviceContract` and give it an adapter:

class TestMine(DeviceContract):
    adapter = MyAdapter()
    kind, variable = "mine", "MINE_VISIBLE_DEVICES"

It needs no hardware: what only hardware can tell is what `verified` is for.
"""

import subprocess
import sys
from collections.abc import Sequence

import pytest

from backends.devices.base import DeviceAdapter, Precision, Verified
from scheduler.errors import DeviceError

__all__ = ["DeviceContract", "absent_tool", "babbling_tool", "hanging_tool"]

HEAVY = ("torch", "ray", "torch_npu", "torch_mlu", "torch_musa", "torch_xmlir", "numpy")
GRANTS = ((0,), (3,), (0, 1, 2, 3), (5, 2, 7), tuple(range(8)))
DTYPES = ("float32", "float16", "bfloat16")
OTHER_ERRORS = (
    RuntimeError("shape mismatch"),
    RuntimeError("NCCL error: unhandled system error"),
    ValueError("CUDA out of memory"),
    KeyError("memory"),
    FileNotFoundError(2, "No such file or directory"),
)


def absent_tool(command: Sequence[str]) -> str:
    raise FileNotFoundError(2, "No such file or directory", command[0])


def hanging_tool(command: Sequence[str]) -> str:
    raise subprocess.TimeoutExpired(list(command), 20)


def babbling_tool(command: Sequence[str]) -> str:
    return "\x00|||\n+--+\n| ? | ? | ? |\n,,,,\nERR!\n"


class DeviceContract:
    """What launch and worker sides owe, whatever the vendor.

    `variable` is the vendor's visibility variable, empty where there is none; `out_of_memory` are texts with which its
    stack reports that device memory ran out; `module` is what the launch side is imported from.
    """

    adapter: DeviceAdapter
    kind: str
    variable: str = ""
    module: str = "backends.devices"
    out_of_memory: tuple[str, ...] = ()
    granted_dies: tuple[int, ...] = (1, 2)

    def test_it_goes_by_its_name_and_says_how_far_it_was_tried(self) -> None:
        assert self.adapter.kind == self.kind
        assert self.adapter.verified in Verified

    def test_a_process_sees_exactly_the_chips_it_was_granted_in_ascending_order(self) -> None:
        for dies in self.granted_dies:
            for devices in GRANTS:
                chips = [device * dies + die for device in sorted(devices) for die in range(dies)]
                wanted = {self.variable: ",".join(map(str, chips))} if self.variable else {}
                assert self.adapter.visible_env(devices, dies) == wanted

    @pytest.mark.parametrize("devices", [(), (1, 1), (-1,), (0, -2)])
    def test_what_is_no_grant_is_refused(self, devices: tuple[int, ...]) -> None:
        with pytest.raises(DeviceError):
            self.adapter.visible_env(devices)

    def test_a_rank_that_sees_other_devices_than_its_own_is_told_so(self) -> None:
        if not self.variable:
            pytest.skip("this vendor has no visibility variable")
        for seen in ({}, {self.variable: ""}, {self.variable: "0"}, {self.variable: "1, 2"}, {self.variable: "2,1"}):
            with pytest.raises(DeviceError, match=self.variable):
                self.adapter.check_visible(seen, (1, 2))

    @pytest.mark.parametrize("tool", [absent_tool, hanging_tool, babbling_tool])
    def test_a_tool_that_is_missing_hangs_or_babbles_is_one_clear_line(self, tool: object) -> None:
        with pytest.raises(DeviceError) as caught:
            self.adapter.probe(tool)  # type: ignore[arg-type]
        assert len(str(caught.value)) > 20
        assert "\n" not in str(caught.value)

    def test_launch_variables_are_plain_text_and_name_the_network_interface_when_given(self) -> None:
        quiet, named = self.adapter.launch_env(8), self.adapter.launch_env(8, "eth7")
        assert all(isinstance(name, str) and isinstance(value, str) for name, value in named.items())
        assert "eth7" not in quiet.values()
        assert "eth7" in named.values()
        assert not any(name.startswith("RAY_") for name in named)
        assert not set(named) & {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LD_LIBRARY_PATH", "PYTHONPATH"}

    def test_an_embedded_ray_counts_it_under_a_name_that_ray_does_not_reserve(self) -> None:
        names = {self.adapter.resources(name).ray_embedded for name in ("h20-96", "h20-141", "ascend-910c")}
        assert len(names) == 3
        assert not names & {"CPU", "GPU", "NPU", "HPU", "TPU", "memory"}

    def test_the_tools_grant_whole_devices(self) -> None:
        assert [self.adapter.granularity(dies) for dies in (1, 2)] == [1, 2]

    def test_memory_that_ran_out_is_recognised_by_type_by_text_and_behind_another_error(self) -> None:
        for text in self.out_of_memory:
            assert self.adapter.is_out_of_memory(RuntimeError(f"{text}. Tried to allocate 2.00 GiB")), text
        assert self.adapter.is_out_of_memory(MemoryError())
        assert self.adapter.is_out_of_memory(type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})())
        wrapped = RuntimeError("step failed")
        wrapped.__cause__ = MemoryError()
        assert self.adapter.is_out_of_memory(wrapped)

    def test_other_errors_are_not_taken_for_running_out_of_memory(self) -> None:
        assert [error for error in OTHER_ERRORS if self.adapter.is_out_of_memory(error)] == []

    def test_every_accelerator_has_a_precision_with_a_scaler_for_half_floats_only(self) -> None:
        for name in ("h200", "v100", "ascend-910b3", "not-in-the-catalog"):
            precision = self.adapter.precision(name)
            assert isinstance(precision, Precision)
            assert precision.dtype in DTYPES
            assert precision.grad_scaler == (precision.dtype == "float16")

    def test_a_rank_is_given_a_backend_and_a_device_or_told_that_they_are_not_known(self) -> None:
        try:
            backend, device = self.adapter.backend, self.adapter.device_string(1)
        except DeviceError as error:
            assert "not known" in str(error)
            assert self.adapter.verified is Verified.STATIC
        else:
            assert backend.isalpha()
            assert device == "cpu" or device.endswith(":1")

    def test_the_launch_side_imports_neither_torch_nor_a_vendors_package(self) -> None:
        script = (
            f"import importlib, sys; importlib.import_module({self.module!r})\n"
            f"from backends.devices import get_adapter\n"
            f"a = get_adapter({self.kind!r}, emulated={self.adapter.verified is Verified.EMULATED})\n"
            "a.visible_env((0, 1)); a.launch_env(2, 'eth0'); a.resources('h200'); a.is_out_of_memory(MemoryError())\n"
            f"print(sorted(set(sys.modules) & set({HEAVY!r})))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
        assert (done.stdout.strip(), done.stderr) == ("[]", "")
