"""An adapter made of a table: most of what sets one vendor apart is names, and names are data."""

import importlib
import re
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from backends.devices.base import DeviceInfo, Precision, ResourceNames, Runner, Verified
from backends.devices.memory import is_out_of_memory
from scheduler.errors import DeviceError

__all__ = ["NameRule", "TableAdapter", "Traits", "check_environment", "chips_of"]


class NameRule(Struct, frozen=True):
    """A tool's name that matches `pattern` whole, with chip memory in [low_mib, high_mib), is the `accelerator`."""

    pattern: str
    accelerator: str
    low_mib: int = 0
    high_mib: int = 2**31


class Traits(Struct, frozen=True, kw_only=True):
    """One vendor in words. A name that nobody could confirm stays empty, and using it raises DeviceError."""

    kind: str
    vendor: str
    verified: Verified = Verified.STATIC
    visible: str = ""  # the variable that shows devices to a process
    device: str = ""  # the torch device type
    backend: str = ""  # the process-group backend
    plugin: str = ""  # the package to import after torch, if any
    tool: str = ""
    ray: str = ""
    kubernetes: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    interface_variables: tuple[str, ...] = ("GLOO_SOCKET_IFNAME",)
    names: tuple[NameRule, ...] = ()
    precision: Precision = Precision(dtype="float32")
    precisions: Mapping[str, Precision] = field(default_factory=dict)
    out_of_memory: tuple[str, ...] = ()
    notes: str = ""


def chips_of(devices: Sequence[int], dies: int) -> tuple[int, ...]:
    """Logical chip numbers of the devices, ascending: device i of `dies` dies is chips i*dies to i*dies + dies - 1."""
    if not devices or dies < 1 or min(devices) < 0 or len(set(devices)) != len(devices):
        raise DeviceError(f"devices {list(devices)} of {dies} dies are no grant", "grant distinct devices from 0 up")
    return tuple(device * dies + die for device in sorted(devices) for die in range(dies))


def check_environment(environ: Mapping[str, str], granted: Mapping[str, str]) -> None:
    """Raise DeviceError unless `environ` shows what `granted` says, to the letter."""
    for variable, wanted in granted.items():
        if environ.get(variable) != wanted:
            seen = environ.get(variable)
            raise DeviceError(f"{variable} is {seen!r}, but {wanted!r} was granted", "start the attempt again")


class TableAdapter:
    """Both sides of an adapter from its traits; vendors whose tool we can read override `probe`."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits

    @property
    def kind(self) -> str:
        return self.traits.kind

    @property
    def verified(self) -> Verified:
        return self.traits.verified

    @property
    def backend(self) -> str:
        return self._known(self.traits.backend, "process-group backend")

    def probe(self, runner: Runner) -> tuple[DeviceInfo, ...]:
        raise DeviceError(
            f"{self.traits.vendor} devices cannot be probed: no output of {self.traits.tool} is on record",
            "declare them in the cluster file",
        )

    def accelerator(self, name: str, memory_mib: int) -> str:
        for rule in self.traits.names:
            if re.fullmatch(rule.pattern, name.strip(), re.IGNORECASE) and rule.low_mib <= memory_mib < rule.high_mib:
                return rule.accelerator
        return ""

    def visible_env(self, devices: Sequence[int], dies: int = 1) -> Mapping[str, str]:
        chips = ",".join(map(str, chips_of(devices, dies)))
        return {self._known(self.traits.visible, "visibility variable"): chips}

    def launch_env(self, world_size: int, interface: str = "") -> Mapping[str, str]:
        named = dict.fromkeys(self.traits.interface_variables, interface) if interface else {}
        return {**self.traits.environment, **named}

    def resources(self, accelerator: str) -> ResourceNames:
        return ResourceNames(ray_embedded=f"acc_{accelerator}", ray=self.traits.ray, kubernetes=self.traits.kubernetes)

    def granularity(self, dies: int = 1) -> int:
        return dies

    def load(self) -> None:
        for package in filter(None, ("torch", self.traits.plugin)):
            try:
                importlib.import_module(package)
            # A vendor's plugin runs native start-up code and raises what it likes; one line must say so instead.
            except (ImportError, OSError, RuntimeError, AttributeError) as error:
                detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise DeviceError(
                    f"{package} cannot be imported for {self.traits.vendor}: {detail}",
                    "use an image with the vendor's stack, and source its environment script before Python starts",
                ) from error

    def device_string(self, local_index: int) -> str:
        return f"{self._known(self.traits.device, 'torch device')}:{local_index}"

    def precision(self, accelerator: str) -> Precision:
        return self.traits.precisions.get(accelerator, self.traits.precision)

    def is_out_of_memory(self, error: BaseException) -> bool:
        return is_out_of_memory(error, self.traits.out_of_memory)

    def check_visible(self, environ: Mapping[str, str], devices: Sequence[int], dies: int = 1) -> None:
        check_environment(environ, self.visible_env(devices, dies))
        self._check_count(len(devices) * dies)

    def _check_count(self, granted: int) -> None:
        module = getattr(importlib.import_module("torch"), self._known(self.traits.device, "torch device"), None)
        seen = module.device_count() if module is not None else 0
        if seen != granted:
            raise DeviceError(
                f"torch sees {seen} {self.traits.vendor} chips, but {granted} were granted",
                "compare the driver's tool with the cluster file",
            )

    def _known(self, value: str, what: str) -> str:
        if not value:
            raise DeviceError(
                f"the {what} of {self.traits.vendor} devices is not known here",
                "see the page on adapters before adding it",
            )
        return value
