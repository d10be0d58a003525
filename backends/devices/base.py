"""The contract of a device adapter: a launch side without torch, and a worker side that imports one vendor."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

__all__ = ["DeviceAdapter", "DeviceInfo", "Launch", "Precision", "ResourceNames", "Runner", "Verified", "Worker"]

Runner = Callable[[Sequence[str]], str]
"""Runs one command within a time limit and returns its output as text; raises DeviceError (see `tools`)."""


class Verified(StrEnum):
    """How far an adapter has been tried. Nothing else in dualtrack may claim more than this says."""

    REAL = "real"  # has run on the hardware it names
    EMULATED = "emulated"  # real processes on CPUs that carry another device's identity
    STATIC = "static"  # written from documents and recorded tool output; never ran on the hardware


class DeviceInfo(Struct, frozen=True, kw_only=True):
    """One schedulable device as the vendor's tool reports it.

    `index` is the device's number on its node, None where the tool did not say which device it means. `accelerator` is
    the catalog's name, empty where the catalog has none. `memory_mib` is the whole device's. `chips` are the logical
    numbers of its dies. An unhealthy device says why in `problem`; a healthy one may carry a warning there.
    """

    index: int | None
    name: str
    accelerator: str = ""
    uuid: str = ""
    memory_mib: int = 0
    chips: tuple[int, ...] = ()
    healthy: bool = True
    problem: str = ""


class ResourceNames(Struct, frozen=True, kw_only=True):
    """What a device is called elsewhere; an empty name means that the system has none for it."""

    ray_embedded: str  # in a Ray that dualtrack starts: our own word, since Ray reserves GPU and NPU
    ray: str  # on real nodes of a Ray that someone else runs
    kubernetes: str


class Precision(Struct, frozen=True, kw_only=True):
    """Mixed precision that the device does well: a torch dtype's name, and whether gradients need a scaler."""

    dtype: str
    grad_scaler: bool = False


class Launch(Protocol):
    """What a node needs before any rank exists. Imports neither torch nor a vendor's package."""

    @property
    def kind(self) -> str:
        """The adapter's name in the catalog."""

    @property
    def verified(self) -> Verified: ...

    def probe(self, runner: Runner) -> tuple[DeviceInfo, ...]:
        """The node's devices by index. Raises DeviceError where the tool is missing, hangs or speaks nonsense."""

    def accelerator(self, name: str, memory_mib: int) -> str:
        """The catalog's name for what the tool calls `name` with `memory_mib` per chip; empty where there is none."""

    def visible_env(self, devices: Sequence[int], dies: int = 1) -> Mapping[str, str]:
        """Variables that show a process exactly these devices. Raises DeviceError for no, repeated or negative ones."""

    def launch_env(self, world_size: int, interface: str = "") -> Mapping[str, str]:
        """Further variables: ordering, time-outs, allocator, and the network interface where one is given."""

    def resources(self, accelerator: str) -> ResourceNames:
        """Names under which Ray and Kubernetes count this accelerator."""

    def granularity(self, dies: int = 1) -> int:
        """Chips that the vendor's tools grant together for one device."""


class Worker(Protocol):
    """What one rank needs. Only `load` and `check_visible` import the vendor's stack."""

    @property
    def backend(self) -> str:
        """For `torch.distributed.init_process_group`."""

    def load(self) -> None:
        """Import torch and the vendor's plugin. Raises DeviceError with what to install."""

    def device_string(self, local_index: int) -> str:
        """The torch device of the visible chip `local_index`."""

    def precision(self, accelerator: str) -> Precision:
        """What to compute in on this accelerator."""

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether the error says that device or host memory ran out, told by type or text."""

    def check_visible(self, environ: Mapping[str, str], devices: Sequence[int], dies: int = 1) -> None:
        """Raise DeviceError unless this process sees exactly the devices it was granted."""


class DeviceAdapter(Launch, Worker, Protocol):
    """Both sides of one vendor."""
