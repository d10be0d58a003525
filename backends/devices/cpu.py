"""Processors alone: gloo, no visibility variable, nothing to install. What is verified here is verified for real."""

import re
from collections.abc import Mapping, Sequence

from backends.devices.base import DeviceInfo, Runner, Verified
from backends.devices.table import NameRule, TableAdapter, Traits, chips_of
from backends.devices.tools import ask
from scheduler.errors import DeviceError

__all__ = ["ADAPTER", "CpuAdapter"]

TRAITS = Traits(
    kind="cpu",
    vendor="CPU",
    verified=Verified.REAL,
    device="cpu",
    backend="gloo",
    tool="nproc",
    ray="CPU",
    kubernetes="cpu",
    names=(NameRule(r"\d+ cores", "cpu"),),
    notes="eight cores are one device; nothing keeps a rank on its own",
)


CORES_PER_DEVICE = 8
"""The catalog's `cpu` is a slice of a node: eight cores and their share of memory."""


class CpuAdapter(TableAdapter):
    def probe(self, runner: Runner) -> tuple[DeviceInfo, ...]:
        cores = ask(runner, ("nproc",)).strip()
        memory = re.search(r"^MemTotal:\s+(\d{1,15}) kB", ask(runner, ("cat", "/proc/meminfo")), re.MULTILINE)
        if not re.fullmatch(r"[1-9]\d{0,5}", cores) or memory is None:
            raise DeviceError(f"nproc says {cores[:40]!r} and /proc/meminfo has no MemTotal that can be read")
        slices = max(1, int(cores) // CORES_PER_DEVICE)
        name, memory_mib = f"{int(cores) // slices} cores", int(memory[1]) // 1024 // slices
        accelerator = self.accelerator(name, memory_mib)
        return tuple(
            DeviceInfo(index=i, name=name, accelerator=accelerator, memory_mib=memory_mib, chips=(i,))
            for i in range(slices)
        )

    def visible_env(self, devices: Sequence[int], dies: int = 1) -> Mapping[str, str]:
        chips_of(devices, dies)  # refuses what is no grant; there is nothing to hide
        return {}

    def device_string(self, local_index: int) -> str:
        return "cpu"

    def _check_count(self, granted: int) -> None:
        """Processors are not counted as devices, so there is nothing to compare."""


ADAPTER = CpuAdapter(TRAITS)
