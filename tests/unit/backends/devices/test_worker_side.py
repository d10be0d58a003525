"""What a rank does first, against strict stand-ins of a vendor's stack: only what is named here exists."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from backends.devices import get_adapter
from scheduler.errors import DeviceError


def stack(monkeypatch: pytest.MonkeyPatch, chips: int, device: str, plugin: str = "") -> None:
    """A torch that sees `chips` chips of `device` and has nothing else, and an empty plugin."""
    torch = ModuleType("torch")
    setattr(torch, device, SimpleNamespace(device_count=lambda: chips))
    monkeypatch.setitem(sys.modules, "torch", torch)
    if plugin:
        monkeypatch.setitem(sys.modules, plugin, ModuleType(plugin))


@pytest.mark.parametrize(
    ("kind", "device", "plugin"),
    [("nvidia", "cuda", ""), ("ascend", "npu", "torch_npu"), ("cambricon", "mlu", "torch_mlu"), ("hygon", "cuda", "")],
)
def test_a_rank_loads_its_stack_and_finds_the_chips_it_was_granted(monkeypatch, kind, device, plugin):
    adapter = get_adapter(kind)
    stack(monkeypatch, 2, device, plugin)
    adapter.load()
    adapter.check_visible(adapter.visible_env((3, 1)), (1, 3))
    assert adapter.device_string(1) == f"{device}:1"


def test_two_packages_of_two_dies_are_four_chips_to_a_rank(monkeypatch):
    adapter = get_adapter("ascend")
    seen = adapter.visible_env((0, 2), dies=2)
    stack(monkeypatch, 4, "npu", "torch_npu")
    adapter.check_visible(seen, (0, 2), dies=2)
    stack(monkeypatch, 3, "npu", "torch_npu")
    with pytest.raises(DeviceError, match="torch sees 3 Ascend chips, but 4 were granted"):
        adapter.check_visible(seen, (0, 2), dies=2)


def test_a_torch_without_the_vendors_device_sees_no_chips(monkeypatch):
    adapter = get_adapter("ascend")
    stack(monkeypatch, 8, "cuda", "torch_npu")
    with pytest.raises(DeviceError, match="torch sees 0 Ascend chips"):
        adapter.check_visible(adapter.visible_env((0,)), (0,))


@pytest.mark.parametrize("error", [OSError("libhccl.so: cannot open shared object file"), RuntimeError("two\nlines")])
def test_a_plugin_that_fails_at_its_start_is_one_line(monkeypatch, error):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "torch_npu":
                raise error

    stack(monkeypatch, 1, "npu")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(DeviceError) as caught:
        get_adapter("ascend").load()
    assert str(error).splitlines()[0] in str(caught.value)
    assert "\n" not in str(caught.value)
