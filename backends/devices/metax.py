"""MetaX: MACA, which calls itself cuda. Static."""

from backends.devices.base import Precision
from backends.devices.table import NameRule, TableAdapter, Traits

__all__ = ["ADAPTER"]

ADAPTER = TableAdapter(
    Traits(
        kind="metax",
        vendor="MetaX",
        visible="CUDA_VISIBLE_DEVICES",
        device="cuda",
        backend="nccl",
        tool="mx-smi",
        ray="GPU",
        kubernetes="metax-tech.com/gpu",
        interface_variables=("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"),
        names=(NameRule(r"(MetaX )?(MXC550|C550)", "metax-c550"),),
        precision=Precision(dtype="bfloat16"),
        out_of_memory=(r"(CUDA|MACA) out of memory",),
        notes="told from NVIDIA by the tool, never by the device string",
    )
)
