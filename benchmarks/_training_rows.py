"""Published training measurements, one row each: model, device, layout and step time, as far as the file tells."""

import csv
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from scheduler.config import load_catalog, load_models
from scheduler.errors import ConfigError, UsageError
from scheduler.model.accelerators import Accelerator, Catalog
from scheduler.model.jobs import ModelShape
from scheduler.model.transformers import Transformer, find_transformer
from scheduler.profiles.layouts import Layout, Precision, Recompute, check_layout
from scheduler.profiles.work import active_parameters, transformer_of

__all__ = ["Measured", "accelerator_called", "read_training"]

COLUMNS = ("kind", "model", "params_b", "active_params_b", "device", "n_devices", "tp", "pp", "dp", "precision",
           "batch", "seq_in", "metric", "value", "unit", "source")  # fmt: skip
UNITS = {
    "tokens_per_s_per_device": "tokens/s/device",
    "tokens_per_s_total": "tokens/s",
    "iteration_time": "s",
}
NEVER = ("RECALLED", "DERIVED", "secondary:")
USUAL_SEQUENCE = 4096
ABOVE_PEAK = 1.05
"""Share of a device's arithmetic that no measurement can exceed: rather are its units mixed up."""


class Measured(Struct, frozen=True, kw_only=True):
    """`rate` in tokens a second and device. `assumed`: the file does not tell the layout, `layout` is None."""

    line: int
    model: str
    device: str
    engine: str
    transformer: Transformer
    accelerator: Accelerator
    devices: int
    seq_len: int
    global_batch: int
    precision: Precision
    layout: Layout | None
    rate: float

    @property
    def step_s(self) -> float:
        return self.global_batch * self.seq_len / (self.rate * self.devices)


def read_training(path: Path) -> tuple[list[Measured], Counter[str]]:
    """Rows to fit and score, and how many were left out by reason. ConfigError, with file and line, where columns are
    missing or a value cannot be in the unit that its row names."""
    models, catalog = load_models(), load_catalog()
    found: list[Measured] = []
    left_out: Counter[str] = Counter()
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ConfigError(f"columns missing: {', '.join(missing)}", file=str(path), line=1)
        for row in reader:
            if row["kind"] != "train":
                continue
            made = _measured(row, reader.line_num, path, models, catalog)
            if isinstance(made, str):
                left_out[made] += 1
            else:
                found.append(made)
    return found, left_out


def accelerator_called(catalog: Catalog, label: str) -> Accelerator | None:
    """What a publication means: `A100-40G` is `a100-40` where the catalog has it, else `a100`; a family stands for its
    first member."""
    plain = label.lower().replace("_", "-")
    plain = re.sub(r"-(sxm\d?|pcie|hbm\d?e?)", "", plain)
    for name in (plain, re.sub(r"-(\d+)gb?$", r"-\1", plain), re.sub(r"-\d+gb?$", "", plain)):
        found = catalog.get(name)
        if found is not None:
            return found
    return next((a for a in catalog if plain in (a.family, f"{a.name.split('-')[0]}-{a.family}")), None)


def _measured(
    row: Mapping[str, str], line: int, path: Path, models: tuple[Transformer, ...], catalog: Catalog
) -> Measured | str:
    """A row, or why it is left out."""
    place = (str(path), line)
    source = row["source"] or ""
    if any(word in source or word in (row["unit"] or "") for word in NEVER):
        return "recalled, derived or second-hand"
    metric = next((name for name in UNITS if (row["metric"] or "").startswith(name)), None)
    if metric is None:
        return "other metric than time or tokens"
    if row["unit"] != UNITS[metric]:
        raise _wrong(place, "unit", f"{row['metric']} is in {UNITS[metric]}, not in `{row['unit']}`")
    accelerator = accelerator_called(catalog, row["device"])
    if accelerator is None:
        return "device that the catalog does not have"
    if "lora" in f"{row['model']} {source}".lower():
        return "trains adapters only"
    devices, value = _number(row, "n_devices", place), _number(row, "value", place)
    if not value or value <= 0:
        raise _wrong(place, "value", "must be above 0")
    transformer = _transformer(row, models, place)
    if transformer is None:
        return "model without name or size"
    layout = _layout(row, transformer)
    seq_len = int(_number(row, "seq_in", place) or USUAL_SEQUENCE)
    count = int(devices or accelerator.devices_per_node)
    batch = int(_number(row, "batch", place) or 0)
    if layout is not None:
        try:
            check_layout(layout, transformer, devices=count, global_batch=batch, seq_len=seq_len)
        except UsageError as error:
            print(f"{path}:{line}: left out: {error.problem}", file=sys.stderr)
            return "layout that does not divide devices, model or batch"
    batch = batch or 4 * count
    rate = {"tokens_per_s_total": value / count, "iteration_time": batch * seq_len / (value * count)}.get(metric, value)
    precision = Precision.FP8 if re.search("fp8|fp4", row["precision"].lower()) else Precision.BF16
    _check_rate(rate, transformer, accelerator, place)
    return Measured(
        line=line,
        model=row["model"],
        device=row["device"],
        engine=_engine(source),
        transformer=transformer,
        accelerator=accelerator,
        devices=count,
        seq_len=seq_len,
        global_batch=batch,
        precision=precision,
        layout=layout,
        rate=rate,
    )


def _number(row: Mapping[str, str], column: str, place: tuple[str, int]) -> float | None:
    text = (row[column] or "").strip()
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        raise _wrong(place, column, f"`{text[:40]}` is no number") from None
    if not 0 <= found < float("inf"):
        raise _wrong(place, column, f"{text[:40]} must be at least 0 and finite")
    return found


def _transformer(row: Mapping[str, str], models: tuple[Transformer, ...], place: tuple[str, int]) -> Transformer | None:
    known = find_transformer(models, row["model"])
    if known is not None:
        return known
    params, active = _number(row, "params_b", place), _number(row, "active_params_b", place)
    if not params:
        return None
    shape = ModelShape(params=params * 1e9, active_params=(active or 0.0) * 1e9)
    return transformer_of(shape)


def _layout(row: Mapping[str, str], transformer: Transformer) -> Layout | None:
    """What the columns and the text of the source tell; None where they do not tell how the model is split."""
    axes = [row[name] for name in ("tp", "pp", "dp")]
    if not all(axes) or not row["batch"] or not row["n_devices"]:
        return None
    tensor, pipeline, data = (int(float(axis)) for axis in axes)
    source = row["source"]
    context = _stated(r"\bCP=?(\d+)", source)
    if tensor * pipeline * data == int(float(row["n_devices"])):
        data = max(1, data // context)  # some tables count the context axis as part of the data axis
    recompute = Recompute.FULL if re.search(r"act_ckpt=True|full AC|full recompute", source, re.I) else Recompute.NONE
    if re.search(r"selective", source, re.I):
        recompute = Recompute.SELECTIVE
    zero = 3 if re.search(r"FSDP", source) else 1
    if "SHARD_GRAD_OP" in source:
        zero = 2
    return Layout(
        data=data,
        tensor=tensor,
        pipeline=pipeline,
        context=context,
        expert=_stated(r"\bEP=?(\d+)", source) if transformer.experts else 1,
        zero=zero,
        recompute=recompute,
        micro_batch=_stated(r"\b(?:micro|MBS)=?(\d+)", source),
        virtual_stages=_stated(r"\bVP=?(\d+)", source),
    )


def _stated(pattern: str, source: str) -> int:
    found = re.search(pattern, source)
    return max(1, int(found[1])) if found else 1


def _check_rate(rate: float, transformer: Transformer, accelerator: Accelerator, place: tuple[str, int]) -> None:
    figures = (accelerator.bf16_tflops, accelerator.fp8_tflops, accelerator.fp4_tflops)
    peak = max((figure.high for figure in figures if figure is not None), default=0.0)
    if peak and 6.0 * active_parameters(transformer) * rate > ABOVE_PEAK * peak * 1e12:
        problem = f"{rate:.0f} tokens/s are more than {accelerator.name} can compute; check the unit"
        raise _wrong(place, "value", problem)


def _engine(source: str) -> str:
    """The software: repository or paper that a row comes from, and its version; without compilation it is another."""
    found = re.search(r"github:([\w.-]+/[\w.-]+)|arXiv:(\d+\.\d+)", source)
    name = next((part for part in found.groups() if part), "") if found else source[:40]
    version = re.search(r"\b(?:NeMo|CANN|PyTorch|MindSpore) v?(\d+\.\d+)", source)
    parts = (name, version[1] if version else "", "eager" if "eager" in source else "")
    return " ".join(part for part in parts if part)


def _wrong(place: tuple[str, int], column: str, problem: str) -> ConfigError:
    return ConfigError(problem, file=place[0], line=place[1], path=column)
