"""What MLPerf's training runs say of rates that were never fitted to them: how two systems compare at the same batch.

Runs of one benchmark with the same global batch take as many steps on any system, but for luck: so the ratio of their
median times is that of their step times, and evaluations. Times at other batches do not compare, for no one publishes
how many steps each takes here.
"""

import csv
import gzip
import itertools
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from benchmarks._scores import scores
from benchmarks._training_rows import accelerator_called
from scheduler.config import load_catalog
from scheduler.errors import ConfigError, UsageError
from scheduler.model.accelerators import Accelerator, Catalog, WorkClass
from scheduler.model.transformers import find_transformer
from scheduler.profiles.layout_search import search_layouts
from scheduler.profiles.layouts import Precision
from scheduler.profiles.steps import chips_of, models_of, splits_of
from scheduler.profiles.training_rates import TrainingCoefficients, log_reach, step_seconds

__all__ = ["Runs", "read_runs", "score_runs"]

COLUMNS = ("accelerator_model_name", "accelerators_per_node", "number_of_nodes", "benchmark", "global_batch_size",
           "status", "time_to_train_s", "submitter", "system", "round")  # fmt: skip
VISION, DENSE = WorkClass.VISION_TRAINING, WorkClass.DENSE_TRAINING
CLASSES = {
    "resnet": VISION, "ssd": VISION, "unet3d": VISION, "maskrcnn": VISION, "stable_diffusion": VISION,
    "bert": DENSE, "gpt3": DENSE, "llama2_70b_lora": DENSE, "transformer": DENSE, "gnmt": DENSE,
}  # fmt: skip
MODELS = {"gpt3": ("gpt-175b", 2048), "bert": ("bert-large", 512)}
"""Architecture and sequence length of MLPerf's rules."""

OTHER_BOARDS = ("pcie", "nvl", "v100s")
"""In names: boards slower than those that the catalog means."""


ENOUGH_SYSTEMS = 3
"""Of the same configuration, from which on it is told how far apart they are."""


class Runs(Struct, frozen=True, kw_only=True):
    """Runs of one benchmark on so many accelerators at one global batch: median seconds of each submitted system."""

    benchmark: str
    accelerator: Accelerator
    count: int
    batch: int
    medians: tuple[float, ...]
    within: tuple[float, ...]  # standard deviation of log times in each system

    @property
    def seconds(self) -> float:
        return statistics.median(self.medians)


def read_runs(path: Path) -> tuple[list[Runs], Counter[str]]:
    """ConfigError where a column is missing; runs that cannot be used are counted by reason."""
    opened = gzip.open if path.suffix == ".gz" else open
    times: dict[tuple[str, str, int, int], dict[tuple[str, ...], list[float]]] = defaultdict(lambda: defaultdict(list))
    left_out: Counter[str] = Counter()
    catalog = load_catalog()
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ConfigError(f"columns missing: {', '.join(missing)}", file=str(path), line=1)
        for row in reader:
            key = _key(row, catalog)
            if isinstance(key, str):
                left_out[key] += 1
            else:
                times[key][row["submitter"], row["system"], row["round"]].append(float(row["time_to_train_s"]))
    found = []
    for (benchmark, name, count, batch), systems in sorted(times.items()):
        accelerator = catalog.get(name)
        if accelerator is not None:
            logs = [[math.log(t) for t in runs] for runs in systems.values()]
            found.append(
                Runs(
                    benchmark=benchmark,
                    accelerator=accelerator,
                    count=count,
                    batch=batch,
                    medians=tuple(statistics.median(runs) for runs in systems.values()),
                    within=tuple(statistics.stdev(runs) for runs in logs if len(runs) > 1),
                )
            )
    return found, left_out


def _key(row: Mapping[str, str], catalog: Catalog) -> tuple[str, str, int, int] | str:
    label = row["accelerator_model_name"] or ""
    if row["status"] != "success" or not _number(row["time_to_train_s"]):
        return "run that did not succeed"
    accelerator = accelerator_called(catalog, _plain(label))
    if accelerator is None or any(word in label.lower() for word in OTHER_BOARDS):
        return "device that the catalog does not have"
    sizes = [_number(row[name]) for name in ("number_of_nodes", "accelerators_per_node", "global_batch_size")]
    if not all(sizes):
        return "devices or batch not stated"
    return row["benchmark"], accelerator.name, round(sizes[0] * sizes[1]), round(sizes[2])


def _plain(label: str) -> str:
    """`NVIDIA H100-SXM5-80GB` and `NVIDIA Blackwell GPU (B200-SXM-180GB)` as the catalog calls them."""
    inside = label.partition("(")[2].partition(")")[0]
    found = inside if inside[:1].isalpha() else label.partition("(")[0]
    words = [word for word in found.split() if word.lower() not in ("nvidia", "tesla", "80gb", "hbm3")]
    return words[0] if words else ""


def _number(text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        return 0.0
    return value if 0 < value < math.inf else 0.0


def score_runs(runs: Sequence[Runs], coefficients: TrainingCoefficients) -> Iterator[dict[str, Any]]:
    """Rows of errors and coverage: by the class table of the catalog where counts are the same, and by the training
    model where the benchmark is a transformer that it knows; then what runs of the same configuration differ by."""
    pairs = [
        (one, other)
        for one, other in itertools.combinations(runs, 2)
        if (one.benchmark, one.batch) == (other.benchmark, other.batch)
    ]
    by_class = [(p, s) for p in pairs if (s := _by_class(*p)) is not None]
    said = {id(run): _modelled(run, coefficients) for run in runs if run.benchmark in MODELS}
    by_model = [(p, s) for p in pairs if (s := _by_model(*p, said)) is not None]
    for protocol, found in (("runs by class", by_class), ("runs by model", by_model)):
        kinds = sorted({one.benchmark for (one, _), _ in found})
        for name in [*kinds, *(["all"] if len(kinds) > 1 else [])]:
            own = [(p, s) for p, s in found if name in (p[0].benchmark, "all")]
            observed = [other.seconds / one.seconds for (one, other), _ in own]
            ratios, reaches = zip(*(s for _, s in own), strict=True)
            low, high = ([r * math.exp(sign * x) for r, x in zip(ratios, reaches, strict=True)] for sign in (-1.0, 1.0))
            yield {"protocol": protocol, "device": name, **scores(observed, ratios, low, high)}
    yield from _floors(runs)


def _by_class(one: Runs, other: Runs) -> tuple[float, float] | None:
    kind = CLASSES.get(one.benchmark)
    if kind is None or one.count != other.count:
        return None
    sides = one.accelerator.rates.get(kind), other.accelerator.rates.get(kind)
    if sides[0] is None or sides[1] is None:
        return None
    reach = math.hypot(*(math.log(side.high / side.low) / 2 for side in sides if side is not None))
    return sides[0].value / sides[1].value, reach


def _modelled(run: Runs, coefficients: TrainingCoefficients) -> tuple[float, float] | None:
    """Seconds of a step in the fastest layout that fits, and the log reach of its band; FP8 where the chip has it."""
    name, seq_len = MODELS[run.benchmark]
    transformer = find_transformer(load_catalog().models, name)
    precision = Precision.FP8 if run.accelerator.fp8_tflops is not None else Precision.BF16
    if transformer is None:
        return None
    try:
        best = search_layouts(
            transformer,
            [run.accelerator],
            coefficients,
            global_batch=run.batch,
            seq_len=seq_len,
            counts={run.accelerator.name: (run.count,)},
            precision=precision,
        )[run.accelerator.name]
    except UsageError:
        return None
    if not best:
        return None
    models, chips = models_of(transformer, seq_len), chips_of(run.accelerator)
    seconds, shares = step_seconds(
        coefficients, run.accelerator, models, chips, splits_of(best[0].layout, run.batch, precision)
    )
    known = next((name.rsplit(" ", 1)[0] for name in coefficients.engines if name.endswith("dense")), "")
    return float(seconds[0]), float(log_reach(coefficients, run.accelerator, shares, engine=known)[0])


def _by_model(one: Runs, other: Runs, said: Mapping[int, tuple[float, float] | None]) -> tuple[float, float] | None:
    sides = said.get(id(one)), said.get(id(other))
    if sides[0] is None or sides[1] is None:
        return None
    return sides[1][0] / sides[0][0], math.hypot(sides[0][1], sides[1][1])


def _floors(runs: Sequence[Runs]) -> Iterator[dict[str, Any]]:
    """What repeated runs differ by, and medians of the same configuration from several systems."""
    for name in [*sorted({run.benchmark for run in runs}), "all"]:
        own = [run for run in runs if name in (run.benchmark, "all")]
        luck = [100 * sd for run in own for sd in run.within]
        apart = [
            100 * abs(m / statistics.median(run.medians) - 1)
            for run in own
            if len(run.medians) >= ENOUGH_SYSTEMS
            for m in run.medians
        ]
        if luck or apart:
            yield {
                "protocol": "repeated runs",
                "device": name,
                "runs_sd_percent": round(statistics.mean(luck), 1) if luck else None,
                "systems": len(luck),
                "systems_differ_percent": round(statistics.mean(apart), 1) if apart else None,
                "n": len(apart),
            }
