"""Published measurements in one table, a figure a row with its source; MLPerf's runs; serving points on silicon."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from scheduler.config.readers.readings import (
    Readings,
    accelerator_called,
    check_rate,
    normal_precision,
    observation,
)
from scheduler.config.readers.table import Line, read_table
from scheduler.model.accelerators import Catalog, Provenance
from scheduler.model.rates import Cell, Metric, Observation, Stack, layout_text

__all__ = ["MLPERF_COLUMNS", "PUBLISHED_COLUMNS", "SILICON_COLUMNS", "read_mlperf", "read_published", "read_silicon"]

PUBLISHED_COLUMNS: Final = (
    "kind", "model", "params_b", "active_params_b", "device", "n_devices", "tp", "pp", "dp", "precision", "batch",
    "seq_in", "seq_out", "metric", "value", "unit", "source",
)  # fmt: skip
SILICON_COLUMNS: Final = (
    "backend", "backend_version", "model_path", "system", "precision", "mode", "isl", "osl", "batch_size", "tp_size",
    "pp_size", "silicon_ttft_ms", "silicon_tpot_ms",
)  # fmt: skip
MLPERF_COLUMNS: Final = (
    "round", "submitter", "system", "division", "accelerator_model_name", "accelerators_per_node", "number_of_nodes",
    "framework", "benchmark", "global_batch_size", "status", "time_to_train_s",
)  # fmt: skip

NOT_READ: Final = ("RECALLED", "DERIVED", "secondary:")
UNSTATED_BATCH: Final = ("", "max", "saturated")
NEVER_SO_WIDE: Final = 8
"""Devices of the systems that the serving points were measured on; wider splits there are slips of the pen."""

SILICON_AXES: Final = {"adp": "attention_dp_size", "ep": "moe_ep_size"}

METRICS: Final[Mapping[str, tuple[Metric, str, bool]]] = {
    "tokens_per_s_per_device": (Metric.TOKENS, "tokens/s/device", True),
    "tokens_per_s_total": (Metric.TOKENS, "tokens/s", False),
    "iteration_time_full_recompute": (Metric.STEP_TIME, "s", False),
    "iteration_time_seqsel_recompute": (Metric.STEP_TIME, "s", False),
    "output_tokens_per_s": (Metric.OUTPUT_TOKENS, "tokens/s/instance", False),
    "total_tokens_per_s": (Metric.OUTPUT_TOKENS, "tokens/s/instance (input+output)", False),
    "decode_tokens_per_s_per_device": (Metric.OUTPUT_TOKENS, "tokens/s/device", True),
    "decode_tokens_per_s": (Metric.OUTPUT_TOKENS, "tokens/s/8-GPU node", False),
    "prefill_tokens_per_s_per_device": (Metric.PREFILL_TOKENS, "tokens/s/device", True),
    "prefill_tokens_per_s": (Metric.PREFILL_TOKENS, "tokens/s/8-GPU node", False),
    "mean_tpot": (Metric.TPOT, "ms", False),
}
"""By name: what it counts, its unit, and whether it is of one device."""


def read_published(path: str | Path, catalog: Catalog) -> Readings:
    """Rows that were read in their source and are rates or times; utilisation and second-hand figures are left out."""
    return _read(path, PUBLISHED_COLUMNS, lambda line: _published(line, catalog))


def read_silicon(path: str | Path, catalog: Catalog) -> Readings:
    """Time to first token and per output token of engines that do prefill and decode together."""
    return _read(path, SILICON_COLUMNS, lambda line: _silicon(line, catalog))


def read_mlperf(path: str | Path, catalog: Catalog) -> Readings:
    """Run times of the successful runs; a family is a benchmark."""
    return _read(path, MLPERF_COLUMNS, lambda line: _mlperf(line, catalog))


def _read(path: str | Path, columns: tuple[str, ...], of_line: Callable[[Line], list[Observation] | str]) -> Readings:
    found: list[Observation] = []
    left_out: Counter[str] = Counter()
    for line in read_table(path, columns):
        made = of_line(line)
        if isinstance(made, str):
            left_out[made] += 1
        else:
            found.extend(made)
    return Readings(tuple(found), left_out)


def _published(line: Line, catalog: Catalog) -> list[Observation] | str:
    said = line.values
    if any(word in said["source"] or word in said["unit"] for word in NOT_READ):
        return "recalled, derived or second-hand"
    name = said["metric"].strip()
    if name not in METRICS:
        return "other metric than a rate or a time"
    metric, unit, per_device = METRICS[name]
    if metric is Metric.TOKENS and said["kind"].strip() == "infer":
        metric = Metric.OUTPUT_TOKENS
    if not re.match(rf"{re.escape(unit)}($|[ (])", said["unit"].strip()):
        if name == "output_tokens_per_s" and said["unit"].startswith("tokens/s ("):
            return "devices not stated"
        raise line.wrong(
            "unit", f"{name} is in {unit}, not in {said['unit'][:40]!r}", "convert the value, or name its metric"
        )
    chip = accelerator_called(catalog, said["device"])
    if chip is None:
        return "device that the catalog does not have"
    if not said["n_devices"].strip():
        return "devices not stated"
    count, value = line.whole("n_devices", 1, 10**6), line.real("value", 1e-9, 1e12)
    kind = said["kind"].strip()
    if kind not in ("train", "infer"):
        raise line.wrong("kind", f"{kind[:40]!r} is not a kind", "write train or infer")
    sizes = {key: _whole_or_one(line, key) for key in ("tp", "pp", "dp")}
    of_node = "node" in said["unit"]  # of an instance that is wider than the node the figure is given for
    precision = normal_precision(line, "precision", said["precision"])
    active = _real_or_zero(line, "active_params_b") or _real_or_zero(line, "params_b")
    seq_in, seq_out = int(_real_or_zero(line, "seq_in")), int(_real_or_zero(line, "seq_out"))
    provenance = Provenance.PUBLISHED
    if metric in (Metric.TOKENS, Metric.OUTPUT_TOKENS, Metric.PREFILL_TOKENS):
        value = value * count if per_device else value
        check_rate(line, "value", chip, kind, value / count, active, precision)
    if name == "total_tokens_per_s":
        if not seq_in or not seq_out:
            return "lengths not stated"
        value, provenance = value * seq_out / (seq_in + seq_out), Provenance.DERIVED
    layout = _layout(said["source"], metric=name, tp=1 if of_node else sizes["tp"], pp=sizes["pp"])
    if kind == "train" and sizes["tp"] * sizes["pp"] * sizes["dp"] > count:
        raise line.wrong("dp", f"{sizes['dp']} copies of {layout or 'one device'} are more than {count} devices")
    cell = Cell(
        family=_family(said["model"]),
        accelerator=chip.name,
        precision=precision,
        layout=layout,
        metric=metric,
        stack=Stack(framework=_framework(said["source"])),
    )
    seen = Observation(
        cell=cell,
        value=value,
        count=count,
        batch=0.0 if said["batch"].strip() in UNSTATED_BATCH else line.real("batch", 0, 1e9),
        seq_in=seq_in,
        seq_out=seq_out,
        provenance=provenance,
        source=said["source"],
    )
    return [observation(line, "value", seen)]


def _silicon(line: Line, catalog: Catalog) -> list[Observation] | str:
    said = line.values
    if said["mode"] != "agg":
        return "prefill and decode apart"
    chip = accelerator_called(catalog, said["system"])
    if chip is None:
        return "device that the catalog does not have"
    if not said["tp_size"] or not said["batch_size"]:
        return "batch or split not stated"
    sizes = {"tp": line.whole("tp_size", 1, 4096), "pp": _whole_or_one(line, "pp_size")}
    sizes |= {
        axis: _whole_or_one(line, column) for axis, column in SILICON_AXES.items() if said.get(column, "").strip()
    }
    count = sizes["tp"] * sizes["pp"] * sizes.get("adp", 1)
    if count > NEVER_SO_WIDE:
        return f"split over more than {NEVER_SO_WIDE} devices"
    source = said.get("silicon_data_source", "")
    image = re.search(r"image=([^;\s]+)", source)
    stack = Stack(
        framework=f"{line.text('backend')} {said['backend_version']}".strip(), image=image[1] if image else ""
    )
    layout = layout_text({axis: str(size) for axis, size in sizes.items()})
    made = []
    for column, metric in (("silicon_ttft_ms", Metric.TTFT), ("silicon_tpot_ms", Metric.TPOT)):
        if not said[column].strip():
            continue
        cell = Cell(
            family=_family(said["model_path"]),
            accelerator=chip.name,
            precision=normal_precision(line, "precision", said["precision"]),
            layout=layout,
            metric=metric,
            stack=stack,
        )
        seen = Observation(
            cell=cell,
            value=line.real(column, 1e-9, 1e12),
            count=count,
            batch=line.real("batch_size", 1, 1e6),
            seq_in=line.whole("isl", 1, 10**8),
            seq_out=line.whole("osl", 0, 10**8),
            provenance=Provenance.PUBLISHED,
            source=source[:200],
        )
        made.append(observation(line, column, seen))
    return made or "no time stated"


def _mlperf(line: Line, catalog: Catalog) -> list[Observation] | str:
    said = line.values
    if said["status"] != "success":
        return "run that did not succeed"
    chip = accelerator_called(catalog, said["accelerator_model_name"])
    if chip is None:
        return "device that the catalog does not have"
    if not said["accelerators_per_node"] or not said["number_of_nodes"]:
        return "devices not stated"
    nodes, per_node = (_whole_or_none(said[name]) for name in ("number_of_nodes", "accelerators_per_node"))
    if not nodes or not per_node:
        return "devices not stated"
    cell = Cell(
        family=f"mlperf-{line.text('benchmark')}",
        accelerator=chip.name,
        precision="",
        metric=Metric.RUN_TIME,
        stack=Stack(framework=said["framework"].strip()[:80]),
    )
    seen = Observation(
        cell=cell,
        value=line.real("time_to_train_s", 1e-9, 1e12),
        count=nodes * per_node,
        batch=line.real("global_batch_size", 0, 1e9) if said["global_batch_size"] else 0.0,
        provenance=Provenance.PUBLISHED,
        source=f"MLPerf Training {said['round']}, {said['submitter']}, {said['system']}"[:200],
    )
    return [observation(line, "time_to_train_s", seen)]


def _layout(source: str, *, metric: str, tp: int, pp: int) -> str:
    """As far as the row tells; how many copies there are is a matter of the count. MosaicML's rows name their shards
    and checkpoints of activations."""
    parts = {"tp": str(tp), "pp": str(pp)}
    if "FULL_SHARD" in source:
        parts["zero"] = "3"
    if "act_ckpt=True" in source or metric.endswith("full_recompute"):
        parts["rc"] = "full"
    if metric.endswith("seqsel_recompute"):
        parts["rc"] = "selective"
    return layout_text(parts)


def _family(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.strip().rsplit("/", 1)[-1].lower()).strip("-")[:64] or "-"


def _framework(source: str) -> str:
    found = re.search(r"github:[\w.-]+/([\w.-]+)", source)
    return found[1] if found else source.partition(" ")[0][:64]


def _whole_or_one(line: Line, column: str) -> int:
    return line.whole(column, 1, 10**6) if line.values[column].strip() else 1


def _whole_or_none(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _real_or_zero(line: Line, column: str) -> float:
    return line.real(column, 0, 1e12) if line.values[column].strip() else 0.0
