"""What the training benchmark says beside errors: memory, speed, ratios of devices, and jobs that are black boxes."""

import csv
import gzip
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._scores import scores
from benchmarks._training_rows import Measured
from benchmarks._training_table import Table, layout_of
from scheduler.config import load_catalog, load_models
from scheduler.errors import ConfigError
from scheduler.model.accelerators import Accelerator
from scheduler.model.transformers import Transformer, find_transformer
from scheduler.profiles.blackbox import fit_black_box
from scheduler.profiles.footprint import training_footprint
from scheduler.profiles.layout_search import Arrangement, search_layouts
from scheduler.profiles.memory import fits
from scheduler.profiles.steps import chips_of, join, models_of, splits_of
from scheduler.profiles.student import student_quantile
from scheduler.profiles.training_rates import DENSE, MIXTURE, TrainingCoefficients, log_reach, step_seconds

__all__ = ["black_box", "floors", "memory", "ratios", "speed"]

PREDICTIONS = 200_000
REPEATS = 5
SEARCHED = ("llama-3.1-8b", "llama-3.1-70b", "qwen3-30b-a3b")
TEN = ("h200", "h20-96", "ascend-910c", "ascend-910b2", "h100", "h800", "a100", "a100-40", "a800", "b200")
BATCH, SEQUENCE = 480, 4096
COLUMNS = ("application", "cluster", "placement", "local_bsz", "step_time")


def memory(rows: Sequence[Measured]) -> Iterator[dict[str, Any]]:
    """Share of the published configurations, all of which ran, that the memory model takes to fit."""
    verdicts = defaultdict(list)
    for row in rows:
        splits = splits_of(layout_of(row), row.global_batch, row.precision)
        asked = training_footprint(models_of(row.transformer, row.seq_len), splits)
        verdicts[row.device].append(bool(fits(asked, chips_of(row.accelerator).memory)[0]))
    for device, found in [*sorted(verdicts.items()), ("all", [v for part in verdicts.values() for v in part])]:
        accepted = 100 * sum(found) / len(found)
        yield {"protocol": "memory", "device": device, "accepted_percent": round(accepted, 2), "n": len(found)}


def floors(rows: Sequence[Measured]) -> Iterator[dict[str, Any]]:
    """What no model of few coefficients can foretell: how far runs that differ only in devices and batch lie from a
    straight line over the doublings of devices. Nearly repeated measurements, where none is repeated; what a line takes
    away is given back by the degrees of freedom."""
    series = defaultdict(list)
    for row in rows:
        layout = layout_of(row)
        same = row.transformer.name or row.model, row.device, row.engine, row.seq_len, row.precision
        series[(*same, layout.recompute, layout.tensor, layout.pipeline)].append((row.devices, row.rate))
    found = defaultdict(list)
    for key, points in series.items():
        counts, rates = np.array(points).T
        line = np.stack([np.ones(len(points)), np.log2(counts)], axis=1)
        spare = len(points) - np.linalg.matrix_rank(line)
        if spare > 0 and len(set(counts.tolist())) > 1:
            off = np.log(rates) - line @ np.linalg.lstsq(line, np.log(rates), rcond=None)[0]
            found[key[1]].extend((100 * np.abs(off) * math.sqrt(len(points) / spare)).tolist())
    for device, off in [*sorted(found.items()), ("all", [x for part in found.values() for x in part])]:
        if off:
            yield {"protocol": "floor", "device": device, "floor_percent": round(float(np.mean(off)), 2), "n": len(off)}


def speed(table: Table, coefficients: TrainingCoefficients) -> Iterator[dict[str, Any]]:
    """Predictions a second on arrays, and a search on ten accelerators; processor time, best of several."""
    rows = [table.rows[n % len(table.rows)] for n in range(PREDICTIONS)]
    models = join([models_of(r.transformer, r.seq_len) for r in table.rows])
    splits = join([splits_of(layout_of(r), r.global_batch, r.precision) for r in table.rows])
    repeats = -(-PREDICTIONS // len(table.rows))
    models, splits = (
        type(part)(**{name: np.tile(getattr(part, name), repeats)[:PREDICTIONS] for name in part.__struct_fields__})
        for part in (models, splits)
    )
    accelerator = rows[0].accelerator
    chips = chips_of(accelerator)
    seconds = _best(lambda: step_seconds(coefficients, accelerator, models, chips, splits))
    yield {"protocol": "speed", "predictions": PREDICTIONS, "predictions_per_s": round(PREDICTIONS / seconds)}
    catalog, known = load_catalog(), load_models()
    chosen = [a for a in (catalog.get(name) for name in TEN) if a is not None]
    for name in SEARCHED:
        model = find_transformer(known, name)
        if model is not None:
            seconds = _best(lambda m=model: _searched(m, chosen, coefficients))
            yield {"protocol": "speed", "model": name, "types": len(chosen), "search_ms": round(1e3 * seconds, 2)}


def _best(call: Any) -> float:
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


def _searched(
    model: Transformer, accelerators: Sequence[Accelerator], coefficients: TrainingCoefficients
) -> dict[str, tuple[Arrangement, ...]]:
    return search_layouts(model, accelerators, coefficients, global_batch=BATCH, seq_len=SEQUENCE)


def ratios(coefficients: TrainingCoefficients) -> Iterator[dict[str, Any]]:
    """Training on other accelerators over H20-96, a device, each in its best layout: modelled wherever one of both was
    never measured. The band holds what is not known of either device; software is taken to be the same."""
    catalog, known = load_catalog(), load_models()
    names = ("h200", "h100", "ascend-910c", "ascend-910b2")
    unit = catalog.get("h20-96")
    others = [a for a in (catalog.get(name) for name in names) if a is not None]
    for name in SEARCHED:
        model = find_transformer(known, name)
        if model is None or unit is None:
            continue
        found = _searched(model, [unit, *others], coefficients)
        for other in others:
            if not found[unit.name] or not found[other.name]:
                continue
            here, there = (max(found[a.name], key=lambda x: x.per_device) for a in (unit, other))
            apart = math.hypot(_doubt(model, unit, here, coefficients), _doubt(model, other, there, coefficients))
            ratio = there.per_device / here.per_device
            yield {
                "protocol": "ratios",
                "model": name,
                "device": other.name,
                "over": unit.name,
                "ratio": round(ratio, 3),
                "low": round(ratio * math.exp(-apart), 3),
                "high": round(ratio * math.exp(apart), 3),
                "peak_ratio": round(other.bf16_tflops.value / unit.bf16_tflops.value, 3),  # type: ignore[union-attr]
                "provenance": "modelled",
            }


def _doubt(
    model: Transformer, accelerator: Accelerator, arrangement: Arrangement, coefficients: TrainingCoefficients
) -> float:
    splits = splits_of(arrangement.layout, BATCH)
    models, chips = models_of(model, SEQUENCE), chips_of(accelerator)
    _, shares = step_seconds(coefficients, accelerator, models, chips, splits)
    kind = MIXTURE if model.experts else DENSE
    known = next(name.rsplit(" ", 1) for name in coefficients.engines if name.endswith(kind))
    return float(log_reach(coefficients, accelerator, shares, engine=known[0])[0])  # what software adds is left aside


def black_box(path: Path) -> Iterator[dict[str, Any]]:
    """Sia's profiles: for each application and cluster in sample, and on more replicas than the fit saw."""
    groups = defaultdict(list)
    for n, row in enumerate(_profile(path)):
        digits = [int(c) for c in row["placement"]]
        seconds = float(row["step_time"])
        if seconds > 0:
            key = (row["application"], row["cluster"])
            groups[key].append((float(row["local_bsz"]), sum(digits), len(digits), seconds, n))
    errors: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    jobs: dict[str, list[float]] = defaultdict(list)
    for rows in groups.values():
        batch, replicas, nodes, times, _ = np.array(rows).T
        few = replicas <= np.median(replicas)
        for protocol, kept, held in (
            ("black-box-in-sample", few | True, few | True),
            ("black-box-more-replicas", few, ~few),
        ):
            if held.any():
                model = fit_black_box(batch[kept], replicas[kept], nodes[kept], times[kept])
                said = model.step_s(batch[held], replicas[held], nodes[held])
                reach = np.exp(model.log_reach(replicas[held]))
                errors[protocol].extend(zip(times[held], said, reach, strict=True))
                jobs[protocol].append(100 * float((np.abs(np.log(times[held] / said)) <= np.log(reach)).mean()))
    for protocol, found in errors.items():
        seen, said, reach = np.array(found).T
        yield {
            "protocol": protocol,
            "device": "all",
            "groups": len(jobs[protocol]),
            **scores(seen, said, said / reach, said * reach),
            **by_group(jobs[protocol]),
        }


def by_group(covered: Sequence[float]) -> dict[str, Any]:
    """Coverage in per cent with each job and cluster as one observation, and its 95 % interval by Student's t: steps of
    the same job are wrong together, so thousands of them are not thousands of draws."""
    mean, dof = float(np.mean(covered)), len(covered) - 1
    if not dof:
        return {"coverage_by_group_percent": round(mean, 1)}
    reach = float(student_quantile(0.975, np.array([float(dof)]))[0] * np.std(covered, ddof=1) / math.sqrt(dof + 1))
    interval = [round(mean - reach, 1), round(min(mean + reach, 100.0), 1)]
    return {"coverage_by_group_percent": round(mean, 1), "coverage_by_group_interval_percent": interval}


def _profile(path: Path) -> list[dict[str, str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ConfigError(f"columns missing: {', '.join(missing)}", file=str(path), line=1)
        return list(reader)
