"""NVIDIA: CUDA and NCCL; devices from nvidia-smi's CSV."""

from backends.devices.base import DeviceInfo, Precision, Runner
from backends.devices.nvidia_smi import QUERY, parse
from backends.devices.table import NameRule, TableAdapter, Traits
from backends.devices.tools import ask

__all__ = ["ADAPTER", "NvidiaAdapter"]

MAKER = r"(?:NVIDIA |Tesla |GeForce )*"
HALF = Precision(dtype="float16", grad_scaler=True)

NAMES = (
    NameRule(MAKER + r"H200", "h200"),
    NameRule(MAKER + r"H20(-3e)?", "h20-96", low_mib=1, high_mib=110_000),
    NameRule(MAKER + r"H20(-3e)?", "h20-141", low_mib=110_000),
    NameRule(MAKER + r"H100 80GB HBM3", "h100"),
    NameRule(MAKER + r"H800", "h800"),
    NameRule(MAKER + r"A800-SXM4-80GB", "a800"),
    NameRule(MAKER + r"L20", "l20"),
    NameRule(MAKER + r"B200", "b200"),
    NameRule(MAKER + r"B300", "b300"),
    NameRule(MAKER + r"GB200", "gb200"),
    NameRule(MAKER + r"GB300", "gb300"),
    NameRule(MAKER + r"A100-(SXM4|PCIE)-\d+GB", "a100-40", low_mib=1, high_mib=60_000),
    NameRule(MAKER + r"A100-(SXM4|PCIE)-\d+GB", "a100", low_mib=60_000),
    NameRule(MAKER + r"A10", "a10"),
    NameRule(MAKER + r"V100-(SXM2|PCIE)-\d+GB", "v100"),
    NameRule(MAKER + r"P100-(SXM2|PCIE)-\d+GB", "p100"),
    NameRule(MAKER + r"T4", "t4"),
    NameRule(MAKER + r"K80", "k80"),
    NameRule(MAKER + r"RTX 2080 Ti", "rtx-2080-ti"),
    NameRule(MAKER + r"Quadro RTX 6000", "quadro-rtx-6000"),
)
"""Boards of another form (PCIe, NVL, GH) carry other figures, so they match no entry of the catalog."""

TRAITS = Traits(
    kind="nvidia",
    vendor="NVIDIA",
    visible="CUDA_VISIBLE_DEVICES",
    device="cuda",
    backend="nccl",
    tool="nvidia-smi",
    ray="GPU",
    kubernetes="nvidia.com/gpu",
    environment={
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # otherwise CUDA numbers by speed, and nvidia-smi's indices mean others
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
    },
    interface_variables=("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"),
    names=NAMES,
    precision=Precision(dtype="bfloat16"),
    precisions={
        "v100": HALF,
        "t4": HALF,
        "p100": HALF,
        "rtx-2080-ti": HALF,
        "quadro-rtx-6000": HALF,
        "k80": Precision(dtype="float32"),
    },
    out_of_memory=(r"CUDA out of memory", r"CUDA error: out of memory", r"CUBLAS_STATUS_ALLOC_FAILED"),
    notes="MIG is refused: a device is granted whole",
)


class NvidiaAdapter(TableAdapter):
    def probe(self, runner: Runner) -> tuple[DeviceInfo, ...]:
        return parse(ask(runner, QUERY), self.accelerator)


ADAPTER = NvidiaAdapter(TRAITS)
