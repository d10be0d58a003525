"""Huawei Ascend: CANN and HCCL; devices from npu-smi's tables. A 910C package is one device of two chips."""

from collections.abc import Mapping

from msgspec import structs

from backends.devices import npu_smi
from backends.devices.base import DeviceInfo, Precision, ResourceNames, Runner
from backends.devices.npu_smi import Chip
from backends.devices.table import NameRule, TableAdapter, Traits
from backends.devices.tools import ask
from scheduler.errors import DeviceError

__all__ = ["ADAPTER", "AscendAdapter"]

DUAL_DIE = "ascend-910c"

NAMES = (
    NameRule(r"(Ascend ?)?910B2", "ascend-910b2"),
    NameRule(r"(Ascend ?)?910B3", "ascend-910b3"),
    NameRule(r"(Ascend ?)?910B4", "ascend-910b4", high_mib=40_000),
    NameRule(r"(Ascend ?)?910C|Ascend910_93\d\d", DUAL_DIE),
    NameRule(r"(Ascend ?)?950PR(_\w+)?", "ascend-950pr"),
)
"""npu-smi calls a 910C `Ascend910`; only its board page has the number that tells (93xx)."""

KUBERNETES = {
    "ascend-910b2": "huawei.com/Ascend910B2",
    "ascend-910b3": "huawei.com/Ascend910B3",
    "ascend-910b4": "huawei.com/Ascend910B4",
    "ascend-910c": "huawei.com/Ascend910C",
}

FIRST_CONNECT_S, CONNECT_S_PER_RANK, LONGEST_CONNECT_S = 120, 2, 7200
"""HCCL waits 120 s for the slowest rank unless told, which thousands of ranks do not keep; 7200 s is its maximum."""

TRAITS = Traits(
    kind="ascend",
    vendor="Ascend",
    visible="ASCEND_RT_VISIBLE_DEVICES",
    device="npu",
    backend="hccl",
    plugin="torch_npu",
    tool="npu-smi",
    ray="NPU",
    kubernetes="huawei.com/Ascend910",
    environment={"HCCL_WHITELIST_DISABLE": "1", "PYTORCH_NPU_ALLOC_CONF": "expandable_segments:True"},
    interface_variables=("HCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"),
    names=NAMES,
    precision=Precision(dtype="bfloat16"),
    out_of_memory=(r"NPU out of memory", r"error code\D{0,20}\b207001\b"),
    notes="visible chips must ascend, with commas alone between them",
)


class AscendAdapter(TableAdapter):
    def probe(self, runner: Runner) -> tuple[DeviceInfo, ...]:
        chips = npu_smi.parse_info(ask(runner, ("npu-smi", "info")))
        listed = npu_smi.parse_list(_optional(runner, ("npu-smi", "info", "-l")))
        cards = {npu: [chip for chip in chips if chip.npu == npu] for npu in dict.fromkeys(c.npu for c in chips)}
        if sum(listed.values()) > len(chips):
            cards |= {npu: [] for npu in listed if npu not in cards}
        named = {npu: self._name(runner, npu, found) for npu, found in cards.items() if found}
        first_chip = 0
        devices = []
        for index, npu in enumerate(sorted(cards)):
            device = self._device(index, npu, first_chip, cards[npu], named.get(npu, ""))
            first_chip += max(len(device.chips), 1)
            devices.append(device)
        return tuple(devices)

    def launch_env(self, world_size: int, interface: str = "") -> Mapping[str, str]:
        wait_s = min(LONGEST_CONNECT_S, FIRST_CONNECT_S + CONNECT_S_PER_RANK * max(world_size, 1))
        return {**super().launch_env(world_size, interface), "HCCL_CONNECT_TIMEOUT": str(wait_s)}

    def resources(self, accelerator: str) -> ResourceNames:
        named = super().resources(accelerator)
        return structs.replace(named, kubernetes=KUBERNETES.get(accelerator, named.kubernetes))

    def _name(self, runner: Runner, npu: int, chips: list[Chip]) -> str:
        """The chip's full name: from the table, or from the board page where the table's is ambiguous."""
        if self.accelerator(chips[0].name, chips[0].memory_mib):
            return chips[0].name
        for command in (("-i", str(npu), "-c", "0"), ("-i", str(npu))):  # newer tools refuse -c
            full = npu_smi.parse_board(_optional(runner, ("npu-smi", "info", "-t", "board", *command)))
            if full:
                return full
        return chips[0].name

    def _device(self, index: int, npu: int, first_chip: int, chips: list[Chip], name: str) -> DeviceInfo:
        if not chips:
            return DeviceInfo(index=index, name="", healthy=False, problem=f"NPU {npu} is listed, but has no row")
        accelerator = self.accelerator(name, chips[0].memory_mib)
        dies = 2 if accelerator == DUAL_DIE else len(chips)
        problems = [chip.problem for chip in chips if chip.problem]
        if len(chips) != dies:
            problems.append(f"{len(chips)} of {dies} dies of NPU {npu} answer")
        elif len(chips) > 1 and accelerator != DUAL_DIE:
            problems.append(f"NPU {npu} has {len(chips)} chips, and what they are is not known")
        broken = any(not chip.healthy for chip in chips) or (accelerator == DUAL_DIE and len(chips) != dies)
        return DeviceInfo(
            index=index,
            name=name,
            accelerator=accelerator,
            uuid=chips[0].bus_id,
            memory_mib=sum(chip.memory_mib for chip in chips),
            chips=tuple(chip.physical if chip.physical is not None else first_chip + n for n, chip in enumerate(chips)),
            healthy=not broken,
            problem="; ".join(problems),
        )


def _optional(runner: Runner, command: tuple[str, ...]) -> str:
    """Output of a page that older and newer tools lack: without it the table alone has to do."""
    try:
        return ask(runner, command)
    except DeviceError:
        return ""


ADAPTER = AscendAdapter(TRAITS)
