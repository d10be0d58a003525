"""Reads nvidia-smi's CSV: text in, devices out."""

import csv
from collections.abc import Callable, Sequence

from backends.devices.base import DeviceInfo
from scheduler.errors import DeviceError

__all__ = ["QUERY", "parse"]

FIELDS = ("index", "uuid", "name", "memory.total", "mig.mode.current")
QUERY = ("nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits")

NameOf = Callable[[str, int], str]


def parse(text: str, name_of: NameOf) -> tuple[DeviceInfo, ...]:
    """Devices by index; a line about a lost device is an unhealthy one without an index. Memory is in MiB."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or lines[0].lower().startswith("no devices"):
        raise DeviceError("nvidia-smi lists no devices", "check the driver, or take the node out of the cluster file")
    found = [_device(line, name_of) for line in lines]
    known = [device for device in found if device.index is not None]
    if not known:
        raise DeviceError(f"nvidia-smi did not print its table: {lines[0][:200]}", "check that the driver is loaded")
    indices = [device.index for device in known]
    if len(set(indices)) != len(indices):
        raise DeviceError(f"nvidia-smi lists an index twice: {indices}", "probe again")
    lost = [device for device in found if device.index is None]
    return (*sorted(known, key=lambda device: device.index or 0), *lost)


def _device(line: str, name_of: NameOf) -> DeviceInfo:
    cells = [cell.strip() for cell in _cells(line)]
    if len(cells) != len(FIELDS) or not _number(cells[0]):
        return DeviceInfo(index=None, name="", healthy=False, problem=f"nvidia-smi says: {line[:200]}")
    index, uuid, name, memory, mig = cells
    memory_mib = int(memory) if _number(memory) else 0
    problem = ""
    if not memory_mib or not uuid.startswith("GPU-"):
        problem = f"nvidia-smi reports memory {memory[:40]!r} and identity {uuid[:40]!r}"
    elif mig == "Enabled":
        problem = "MIG is on, and a device is granted whole"
    accelerator = name_of(name, memory_mib)
    return DeviceInfo(
        index=int(index),
        name=name,
        accelerator=accelerator,
        uuid=uuid,
        memory_mib=memory_mib,
        chips=(int(index),),
        healthy=not problem,
        problem=problem,
    )


def _cells(line: str) -> Sequence[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _number(cell: str) -> bool:
    """Small whole numbers only: anything longer is no index and no size."""
    return cell.isascii() and cell.isdecimal() and len(cell) <= 9
