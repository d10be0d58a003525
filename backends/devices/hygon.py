"""Hygon DCU: DTK, which speaks HIP and calls itself cuda; its collective library answers to nccl. Static."""

from backends.devices.base import Precision
from backends.devices.table import NameRule, TableAdapter, Traits

__all__ = ["ADAPTER"]

ADAPTER = TableAdapter(
    Traits(
        kind="hygon",
        vendor="Hygon",
        visible="HIP_VISIBLE_DEVICES",
        device="cuda",
        backend="nccl",
        tool="hy-smi",
        ray="DCU",
        kubernetes="hygon.com/dcunum",
        interface_variables=("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"),
        names=(NameRule(r"(Hygon )?K100[_-]AI", "hygon-k100-ai"), NameRule(r"(Hygon )?BW1000", "hygon-bw1000")),
        precision=Precision(dtype="bfloat16"),
        out_of_memory=(r"(HIP|CUDA) out of memory", r"HIP error: out of memory"),
        notes="told from NVIDIA by torch.version.hip and by the tool, never by the device string",
    )
)
