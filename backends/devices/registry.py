"""Finds an adapter by its name and imports its module only then."""

import importlib

from msgspec import Struct

from backends.devices.base import DeviceAdapter, Verified
from backends.devices.table import TableAdapter
from scheduler.errors import DeviceError

__all__ = ["AdapterInfo", "adapter_names", "describe_adapters", "get_adapter"]

MODULES = {
    "cpu": "backends.devices.cpu",
    "nvidia": "backends.devices.nvidia",
    "ascend": "backends.devices.ascend",
    "hygon": "backends.devices.hygon",
    "cambricon": "backends.devices.cambricon",
    "mthreads": "backends.devices.mthreads",
    "kunlun": "backends.devices.kunlun",
    "metax": "backends.devices.metax",
}


class AdapterInfo(Struct, frozen=True, kw_only=True):
    """One adapter in words, for people; an empty field is not known."""

    kind: str
    vendor: str
    verified: Verified
    visible: str
    device: str
    backend: str
    plugin: str
    tool: str
    accelerators: tuple[str, ...]
    notes: str


def adapter_names() -> tuple[str, ...]:
    """Every adapter's name, in a fixed order."""
    return tuple(MODULES)


def get_adapter(kind: str, *, emulated: bool = False) -> DeviceAdapter:
    """The adapter `kind`, or its identity on processors. Raises DeviceError naming those that exist."""
    adapter = _table_adapter(kind)
    if emulated:
        from backends.devices.emulated import EmulatedAdapter  # the only adapter that needs Linux

        return EmulatedAdapter(adapter)
    return adapter


def describe_adapters() -> tuple[AdapterInfo, ...]:
    """All adapters with their verification level. Imports neither torch nor a vendor's package."""
    return tuple(_describe(_table_adapter(kind)) for kind in MODULES)


def _table_adapter(kind: str) -> TableAdapter:
    module = MODULES.get(kind)
    if module is None:
        raise DeviceError(f"there is no device adapter {kind!r}", f"use one of {', '.join(MODULES)}")
    adapter: TableAdapter = importlib.import_module(module).ADAPTER
    return adapter


def _describe(adapter: TableAdapter) -> AdapterInfo:
    traits = adapter.traits
    return AdapterInfo(
        kind=traits.kind,
        vendor=traits.vendor,
        verified=traits.verified,
        visible=traits.visible,
        device=traits.device,
        backend=traits.backend,
        plugin=traits.plugin,
        tool=traits.tool,
        accelerators=tuple(dict.fromkeys(rule.accelerator for rule in traits.names)),
        notes=traits.notes,
    )
