"""Another device's identity on processors: its names and variables are real, its memory and speed are enforced.

An emulated rank sees the vendor's visibility variable exactly as a real one would, but computes on the CPU over gloo.
It may grow by the device's memory, scaled, and its steps are stretched to the catalog's rate. Nothing that ran here
says anything about the vendor's hardware, so whatever shows such a device says *emulated*.
"""

import importlib
import re
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from backends.devices.base import DeviceInfo, Launch, Precision, ResourceNames, Runner, Verified
from backends.devices.memory import is_out_of_memory
from backends.devices.table import check_environment
from scheduler.errors import DeviceError

__all__ = ["EmulatedAdapter", "Pacer", "limit_growth", "memory_limit_bytes"]


class EmulatedAdapter:
    """The launch side of `identity` with the worker side of the CPU."""

    def __init__(self, identity: Launch) -> None:
        self.identity = identity

    @property
    def kind(self) -> str:
        return self.identity.kind

    @property
    def verified(self) -> Verified:
        return Verified.EMULATED

    @property
    def backend(self) -> str:
        return "gloo"

    def probe(self, runner: Runner) -> tuple[DeviceInfo, ...]:
        raise DeviceError(f"emulated {self.kind} devices cannot be probed", "the cluster file declares them")

    def accelerator(self, name: str, memory_mib: int) -> str:
        return self.identity.accelerator(name, memory_mib)

    def visible_env(self, devices: Sequence[int], dies: int = 1) -> Mapping[str, str]:
        return self.identity.visible_env(devices, dies)

    def launch_env(self, world_size: int, interface: str = "") -> Mapping[str, str]:
        gloo = {"GLOO_SOCKET_IFNAME": interface} if interface else {}
        return {**gloo, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}  # a vendor's plugin must not wake up here

    def resources(self, accelerator: str) -> ResourceNames:
        return self.identity.resources(accelerator)

    def granularity(self, dies: int = 1) -> int:
        return self.identity.granularity(dies)

    def load(self) -> None:
        try:
            importlib.import_module("torch")
        except ImportError as error:
            raise DeviceError("torch is not installed", "pip install 'dualtrack[run]'") from error

    def device_string(self, local_index: int) -> str:
        return "cpu"

    def precision(self, accelerator: str) -> Precision:
        return Precision(dtype="float32")

    def is_out_of_memory(self, error: BaseException) -> bool:
        return is_out_of_memory(error)

    def check_visible(self, environ: Mapping[str, str], devices: Sequence[int], dies: int = 1) -> None:
        check_environment(environ, self.visible_env(devices, dies))


class Pacer:
    """Stretches real steps to a rate: one unit of the whole job's work takes at least `pace_s` seconds.

    Waiting is measured from the first step, so that late wake-ups do not add up. A step that takes longer by itself
    than its share is an overrun: this machine is slower than the device it plays, and its speed is not reached.
    """

    def __init__(
        self, pace_s: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.pace_s = pace_s
        self.overruns = 0
        self._clock = clock
        self._sleep = sleep
        self._last = self._due = clock()

    def step(self, work: float) -> float:
        """Call after each step of `work` units; sleeps as long as needed and returns that time in seconds."""
        if self.pace_s <= 0:
            return 0.0
        now = self._clock()
        share = self.pace_s * work
        if now - self._last > share:
            self.overruns += 1
        self._due = max(self._due + share, now - share)  # at most one step's delay is made good
        wait = max(0.0, self._due - now)
        if wait:
            self._sleep(wait)
        self._last = self._clock()
        return wait


def memory_limit_bytes(hbm_gib: float, devices: int, memory_scale: float = 1.0) -> int:
    """Bytes by which a rank that holds `devices` emulated devices of `hbm_gib` each may grow."""
    return int(hbm_gib * devices * memory_scale * 1024**3)


def limit_growth(limit_bytes: int) -> None:
    """Let this process's private memory grow by `limit_bytes` from now on, so that running out of it is real.

    Call it after torch is imported: what the interpreter and its libraries hold is the machine's, not the device's.
    """
    held = re.search(r"^VmData:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    if held is None or limit_bytes <= 0:
        raise DeviceError(f"a growth of {limit_bytes} bytes cannot be enforced here", "emulation needs Linux")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(held[1]) * 1024 + limit_bytes, hard))
