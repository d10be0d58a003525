"""Moore Threads: MUSA and MCCL. Static."""

from backends.devices.base import Precision
from backends.devices.table import NameRule, TableAdapter, Traits

__all__ = ["ADAPTER"]

ADAPTER = TableAdapter(
    Traits(
        kind="mthreads",
        vendor="Moore Threads",
        visible="MUSA_VISIBLE_DEVICES",
        device="musa",
        backend="mccl",
        plugin="torch_musa",
        tool="mthreads-gmi",
        ray="MUSA",
        kubernetes="mthreads.com/vgpu",
        names=(NameRule(r"(MTT )?S5000", "mthreads-s5000"),),
        precision=Precision(dtype="float32"),
        out_of_memory=(r"MUSA out of memory",),
        notes="which low precision it does well is not known here, so it computes in float32",
    )
)
