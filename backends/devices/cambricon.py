"""Cambricon MLU: Neuware and CNCL. Static."""

from backends.devices.base import Precision
from backends.devices.table import NameRule, TableAdapter, Traits

__all__ = ["ADAPTER"]

ADAPTER = TableAdapter(
    Traits(
        kind="cambricon",
        vendor="Cambricon",
        visible="MLU_VISIBLE_DEVICES",
        device="mlu",
        backend="cncl",
        plugin="torch_mlu",
        tool="cnmon",
        ray="MLU",
        kubernetes="cambricon.com/mlu",
        names=(NameRule(r"(Cambricon )?MLU590(-\w+)?", "cambricon-mlu590"),),
        precision=Precision(dtype="bfloat16"),
        out_of_memory=(r"MLU out of memory",),
        notes="Ray knows no such device: it hands out no numbers, so dualtrack grants them itself",
    )
)
