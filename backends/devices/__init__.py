"""What a vendor's devices need, apart from how work is run: one adapter per vendor, imported when it is used."""

from backends.devices.base import DeviceAdapter, DeviceInfo, Launch, Precision, ResourceNames, Runner, Verified, Worker
from backends.devices.registry import AdapterInfo, adapter_names, describe_adapters, get_adapter
from backends.devices.tools import command_runner

__all__ = [
    "AdapterInfo",
    "DeviceAdapter",
    "DeviceInfo",
    "Launch",
    "Precision",
    "ResourceNames",
    "Runner",
    "Verified",
    "Worker",
    "adapter_names",
    "command_runner",
    "describe_adapters",
    "get_adapter",
]
