"""Measured serving points of two public forms, as far as each row tells what ran: replicas, demands and times.

The first is aiconfigurator's `silicon_sample` (a row has both times, plain or gzip CSV), the second a table of
published figures, one a row. Rows that do not tell their batch, or whose split cannot be, are left out and counted.
"""

import csv
import gzip
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from msgspec import Struct, structs

from benchmarks._training_rows import accelerator_called
from scheduler.config import load_catalog, load_models
from scheduler.errors import ConfigError, UsageError
from scheduler.model.accelerators import Accelerator, Catalog
from scheduler.model.jobs import ModelShape
from scheduler.model.transformers import Transformer, find_transformer
from scheduler.profiles.serving import (
    Demand,
    Served,
    Split,
    decode_floor_s,
    largest_batch,
    prefill_floor_s,
    served,
    together,
)
from scheduler.profiles.serving_model import Points
from scheduler.profiles.storage import storage_of
from scheduler.profiles.work import transformer_of

__all__ = ["Row", "points_of", "read_points", "transformer_called"]

SILICON = (
    "backend", "backend_version", "model_path", "system", "mode", "isl", "osl", "gemm_quant_mode", "moe_quant_mode",
    "batch_size", "tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size", "decode_batch_size",
    "decode_tp_size", "decode_attention_dp_size", "decode_moe_ep_size", "silicon_ttft_ms", "silicon_tpot_ms",
)  # fmt: skip
PUBLISHED = (
    "kind", "model", "params_b", "active_params_b", "device", "n_devices", "tp", "dp", "precision", "batch", "seq_in",
    "seq_out", "metric", "value", "unit", "source",
)  # fmt: skip
NEVER = ("RECALLED", "DERIVED", "secondary:")
LARGEST_SPLIT = 8
"""Devices of one engine's group in these files; rows with more have the experts' split in the tensor column again."""

FASTER_THAN_CAN_BE = 20.0
"""Times below the roofline from which a figure is in another unit than its column says; speculation gains up to 4."""

LONGEST_S = 3600.0
ENGINES = (("tensorrt", "trtllm"), ("trtllm", "trtllm"), ("sglang", "sglang"), ("sgl-project", "sglang"),
           ("lmsys", "sglang"), ("lm-sys", "sglang"), ("gpustack", "vllm"), ("vllm", "vllm"), ("mindspore", "mindie"),
           ("CloudMatrix", "mindie"))  # fmt: skip


class Row(Struct, frozen=True, kw_only=True):
    """One measured point; times in seconds, NaN where not measured. `apart`: worked out from a rate, and of settings
    that the file tells in part: scored by itself, never fitted."""

    line: int
    file: str
    model: str
    device: str
    engine: str
    version: str
    precision: str
    replica: Served
    mixture: bool
    demand: Demand
    tpot: float
    ttft: float
    apart: bool = False

    @property
    def cell(self) -> str:
        return f"{self.device} {self.model} {self.engine}"

    @property
    def stack(self) -> str:
        return f"{self.version} {self.precision} {'data' if np.asarray(self.replica.data) > 1 else ''}".strip()


def read_points(paths: Iterable[Path]) -> tuple[list[Row], Counter[str]]:
    """Rows of all files, and how many were left out by reason. ConfigError, with file and line, where columns are
    missing or a figure cannot be in the unit that its column or row names."""
    context = (load_models(), load_catalog())
    found: list[Row] = []
    left_out: Counter[str] = Counter()
    for path in paths:
        with _opened(path) as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            wanted, take = (PUBLISHED, _published) if "metric" in columns else (SILICON, _silicon)
            if missing := [name for name in wanted if name not in columns]:
                raise ConfigError(f"columns missing: {', '.join(missing)}", file=str(path), line=1)
            rows = [(reader.line_num, row) for row in reader]
        repeated = _with_repeated_splits(row for _, row in rows) if take is _silicon else set()
        for line, row in rows:
            made = take(row, line, str(path), context, repeated)
            if isinstance(made, str):
                left_out[made] += 1
            else:
                found.append(made)
    return _once(found, left_out), left_out


def points_of(rows: Sequence[Row]) -> Points:
    """The arrays that a model is fitted to and asked about. ValueError without any row."""
    if not rows:
        raise ValueError("no measured point is left")
    names = ("batch", "prompt", "output", "mixed")
    return Points(
        served=together([row.replica for row in rows]),
        demand=Demand(**{name: np.array([getattr(row.demand, name) for row in rows], dtype=float) for name in names}),
        engines=tuple(row.engine for row in rows),
        cells=tuple(row.cell for row in rows),
        stacks=tuple(row.stack for row in rows),
        tpot=np.array([row.tpot for row in rows]),
        ttft=np.array([row.ttft for row in rows]),
    )


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", newline="", encoding="utf-8")
    return path.open(newline="", encoding="utf-8")


def _once(rows: Sequence[Row], left_out: Counter[str]) -> list[Row]:
    """A run that two collections hold counts once; the two times of one published configuration become one row."""
    kept: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        times = (f"{row.tpot:.9g}", f"{row.ttft:.9g}")
        single = np.isnan(row.tpot) or np.isnan(row.ttft)
        split = (row.replica.tensor, row.replica.data, row.replica.expert)
        setting = (row.cell, row.demand.batch, row.demand.prompt, row.demand.output, *split)
        key = (*setting, row.stack, row.file) if single else (*setting, *times)
        other = kept.get(key)
        if other is None:
            kept[key] = row
        elif single and np.isnan(other.tpot) and not np.isnan(row.tpot):
            kept[key] = structs.replace(other, tpot=row.tpot)
        elif single and np.isnan(other.ttft) and not np.isnan(row.ttft):
            kept[key] = structs.replace(other, ttft=row.ttft)
        elif single and times != (f"{other.tpot:.9g}", f"{other.ttft:.9g}"):
            kept[(*key, row.line)] = row
        else:
            left_out["run that is there already"] += 1
    return list(kept.values())


Context = tuple[tuple[Transformer, ...], Catalog]


def _with_repeated_splits(rows: Iterable[Mapping[str, str]]) -> set[str]:
    """Sources that multiply a split by the experts' split: some of their rows then exceed any group of devices."""
    found = set()
    for row in rows:
        expert = _count(row, "moe_ep_size") or 1
        widest = max(_count(row, "tp_size") or 1, _count(row, "attention_dp_size") or 1)
        if row["mode"] == "agg" and expert > 1 and widest == expert**2 and widest > LARGEST_SPLIT:
            found.add(_source(row))
    return found


def _source(row: Mapping[str, str]) -> str:
    return (row.get("silicon_data_source") or "").partition(";")[0]


def _silicon(row: Mapping[str, str], line: int, file: str, context: Context, repeated: set[str]) -> Row | str:
    """A row, or why it is left out."""
    models, catalog = context
    place = (file, line)
    apart = row["mode"] == "disagg"
    prefix = "decode_" if apart else ""
    batch = _number(row, prefix + "batch_size", place)
    if not batch:
        return "separate prefill and decode, batch of a replica not told" if apart else "batch not told"
    if (_count(row, prefix + "pp_size") or 1) > 1:
        return "pipeline parallel"
    tensor, data = _count(row, prefix + "tp_size") or 1, _count(row, prefix + "attention_dp_size")
    expert = max(_count(row, prefix + "moe_ep_size") or 1, 1)
    groups = max(_count(row, prefix + "moe_tp_size") or 1, 1) * expert
    if tensor > LARGEST_SPLIT or (data or 1) * tensor > LARGEST_SPLIT:
        return "split wider than a group of devices can be"
    if expert > 1 and _source(row) in repeated:
        return "source that multiplies the split by the experts' split"
    transformer = transformer_called(models, row["model_path"], None, None)
    accelerator = accelerator_called(catalog, row["system"])
    if transformer is None or accelerator is None:
        return "model of unknown size" if transformer is None else "device that the catalog does not have"
    if data is None and transformer.experts and groups > tensor and groups % tensor == 0:
        data = (
            groups // tensor
        )  # the experts lie on more devices than share a layer: the others have their own requests
        batch = batch / data if f"concurrency={batch:g};" in f"{row.get('silicon_data_source')};" else batch
    return _made(
        row=(transformer, accelerator, place, row["backend"], row["backend_version"]),
        weights=(row["gemm_quant_mode"], row["moe_quant_mode"]),
        split=Split(tensor=tensor, data=data or 1, expert=expert),
        demand=(batch, _number(row, "isl", place), _number(row, "osl", place), 0.0 if apart else 1.0),
        times=(_ms(row, "silicon_tpot_ms", place), np.nan if apart else _ms(row, "silicon_ttft_ms", place)),
    )


def _published(row: Mapping[str, str], line: int, file: str, context: Context, _: set[str]) -> Row | str:
    models, catalog = context
    place = (file, line)
    source, metric, unit = row["source"] or "", row["metric"] or "", row["unit"] or ""
    if row["kind"] != "infer":
        return "not about serving"
    if any(word in source or word in unit for word in NEVER):
        return "recalled, derived or second-hand"
    batch = _number(row, "batch", place, strict=False)
    if not batch:
        return "batch not told"
    times = _published_times(metric, unit, batch, row, place)
    if times is None:
        return "other metric than times or tokens of a known batch"
    transformer = transformer_called(
        models, row["model"], _number(row, "params_b", place), _number(row, "active_params_b", place)
    )
    accelerator = accelerator_called(catalog, row["device"])
    if transformer is None or accelerator is None:
        return "model of unknown size" if transformer is None else "device that the catalog does not have"
    data = _count(row, "dp") or 1
    devices = _count(row, "tp") or _count(row, "n_devices") or 1
    own = devices // data if devices % data == 0 else devices
    per_device = "per_device" in metric or "node" in unit
    if per_device and transformer.experts:  # large mixtures: requests of their own on each device, experts on all
        told, nodes = re.search(r"EP(\d+)", f"{unit} {source}"), re.search(r"(\d+) nodes", unit)
        own, data = 1, int(told[1]) if told else 8 * int(nodes[1]) if nodes else max(devices, data)
    return _made(
        row=(transformer, accelerator, place, _engine(source), ""),
        weights=(row["precision"], ""),
        split=Split(tensor=own, data=data, expert=data if transformer.experts else 1),
        demand=(
            batch,
            _number(row, "seq_in", place) or 1024.0,
            _number(row, "seq_out", place) or 1024.0,
            0.0 if per_device else 1.0,
        ),
        times=times,
        apart=metric.endswith("per_s") or "per_s_" in metric,
    )


def _published_times(
    metric: str, unit: str, batch: float, row: Mapping[str, str], place: tuple[str, int]
) -> tuple[float, float] | None:
    """Seconds per output token and to the first token. A rate of a batch that is told is a time per token too: batch of
    a device over tokens a second and device."""
    value = _number(row, "value", place)
    if not value or value <= 0:
        raise _wrong(place, "value", "must be above 0")
    if re.search(r"tpot|itl|inter_token", metric) or "ttft" in metric:
        if unit not in ("ms", "s"):
            raise _wrong(place, "unit", f"{metric} is in ms or s, not in `{unit}`")
        seconds = value / 1000 if unit == "ms" else value
        return (np.nan, seconds) if "ttft" in metric else (seconds, np.nan)
    if metric.startswith("decode_tokens_per_s_per_device"):
        return batch / value, np.nan
    if metric.startswith("decode_tokens_per_s") and "8-GPU node" in unit:
        return batch / (value / 8), np.nan
    if metric.startswith("output_tokens_per_s") and "instance" in unit:
        return batch / value, np.nan
    return None


def _made(
    row: tuple[Transformer, Accelerator, tuple[str, int], str, str],
    weights: tuple[str, str],
    split: Split,
    demand: tuple[float, float | None, float | None, float],
    times: tuple[float, float],
    apart: bool = False,
) -> Row | str:
    transformer, accelerator, place, engine, version = row
    batch, prompt, output, mixed = demand
    if not prompt or not output or prompt <= 0 or output <= 0 or batch <= 0:
        raise _wrong(place, "isl", "batch and lengths of prompt and answer must be above 0")
    try:
        replica = served(transformer, accelerator, storage_of(transformer, *weights), split)
    except UsageError as error:
        return "precision not known" if "precision" in error.problem else "split that the model cannot have"
    asked = Demand(batch=batch, prompt=prompt, output=output, mixed=mixed)
    if apart and float(np.asarray(largest_batch(replica, asked))) < 1:
        return "devices that do not hold the model"
    _check_times(replica, asked, times, place)
    return Row(
        line=place[1],
        file=place[0],
        model=transformer.name,
        device=accelerator.name,
        engine=engine,
        version=version,
        precision="/".join(dict.fromkeys(part for part in weights if part)),
        replica=replica,
        mixture=transformer.experts > 0,
        demand=asked,
        tpot=times[0],
        ttft=times[1],
        apart=apart,
    )


def _check_times(replica: Served, demand: Demand, times: tuple[float, float], place: tuple[str, int]) -> None:
    floors = (float(np.asarray(decode_floor_s(replica, demand))), float(np.asarray(prefill_floor_s(replica, demand))))
    for name, seconds, floor in zip(("time per output token", "time to the first token"), times, floors, strict=True):
        if np.isnan(seconds):
            continue
        if seconds < floor / FASTER_THAN_CAN_BE:
            problem = f"{name} of {1000 * seconds:.3g} ms is far below what any device can do, {1000 * floor:.3g} ms"
            raise _wrong(place, "unit", problem)
        if seconds > LONGEST_S:
            raise _wrong(place, "unit", f"{name} of {seconds:.3g} s is no time that a service takes")


def transformer_called(
    models: tuple[Transformer, ...], name: str, params_b: float | None, active_b: float | None
) -> Transformer | None:
    """By name, else completed from the billions of parameters that the row or the name tells (`30B-A3B`)."""
    bare = re.sub(r"-v\d+(\.\d+)*$", "", name.partition(" (")[0])
    known = find_transformer(models, name) or find_transformer(models, bare)
    if known is not None:
        return known
    plain = name.rsplit("/", 1)[-1]
    sizes = re.findall(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)[bB](?![A-Za-z])", plain)
    active = re.search(r"[aA](\d+(?:\.\d+)?)[bB]", plain)
    params = params_b or (float(sizes[0]) if sizes else None)
    if params is None or params <= 0:
        return None
    per_token = active_b or (float(active[1]) if active else None)
    shape = ModelShape(
        params=params * 1e9, active_params=per_token * 1e9 if per_token and 0 < per_token < params else 0.0
    )
    made = transformer_of(shape)
    heads = max(8, 8 * round(made.heads / 8))  # whole on each of up to eight devices, as published models are
    return structs.replace(made, name=plain.lower(), heads=heads, kv_heads=min(heads, 8), head_dim=made.hidden // heads)


def _engine(source: str) -> str:
    return next((engine for word, engine in ENGINES if word.lower() in source.lower()), "other")


def _number(row: Mapping[str, str], column: str, place: tuple[str, int], strict: bool = True) -> float | None:
    text = (row[column] or "").strip()
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        if not strict:
            return None
        raise _wrong(place, column, f"`{text}` is not a number") from None
    if not np.isfinite(found):
        raise _wrong(place, column, f"`{text}` is not a number")
    return found


def _count(row: Mapping[str, str], column: str) -> int | None:
    text = (row.get(column) or "").strip()
    return int(float(text)) if re.fullmatch(r"\d+(\.0*)?", text) else None


def _ms(row: Mapping[str, str], column: str, place: tuple[str, int]) -> float:
    found = _number(row, column, place)
    if found is None:
        return float("nan")
    if found <= 0:
        raise _wrong(place, column, "must be above 0")
    return found / 1000


def _wrong(place: tuple[str, int], column: str, problem: str) -> ConfigError:
    return ConfigError(f"{column}: {problem}", file=place[0], line=place[1])
