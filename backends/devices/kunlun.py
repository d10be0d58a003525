"""Kunlunxin: torch_xmlir. Static, and only half known."""

from backends.devices.base import Precision
from backends.devices.table import NameRule, TableAdapter, Traits

__all__ = ["ADAPTER"]

ADAPTER = TableAdapter(
    Traits(
        kind="kunlun",
        vendor="Kunlunxin",
        visible="XPU_VISIBLE_DEVICES",
        plugin="torch_xmlir",
        tool="xpu-smi",
        kubernetes="kunlunxin.com/xpu",
        names=(NameRule(r"(Kunlunxin )?P800(-\w+)?", "kunlun-p800"),),
        precision=Precision(dtype="float32"),
        notes="sources disagree on its torch device and backend, so ranks are refused outside an emulation",
    )
)
