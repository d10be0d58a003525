"""What the fitted models expect of one job on one chip, in a metric that a measurement has too, and how far they reach.

A prediction beyond what the models were fitted to says so, and why.
"""

import math
from typing import Final

import numpy as np
from msgspec import Struct, structs

from scheduler.errors import UsageError
from scheduler.model.accelerators import Accelerator, Provenance
from scheduler.model.precisions import TRAINED_IN
from scheduler.model.rates import Metric, layout_parts
from scheduler.model.transformers import Transformer
from scheduler.profiles.layout_search import search_layouts
from scheduler.profiles.layouts import Layout, Precision, Recompute
from scheduler.profiles.modelled import engine_measured, layout_words
from scheduler.profiles.serving import Demand, Split, largest_batch, served
from scheduler.profiles.serving_model import Forecast, Phase, Points, ServingModel, forecast, outside
from scheduler.profiles.storage import storage_of
from scheduler.profiles.table import Rate
from scheduler.profiles.training_rates import TrainingCoefficients, beyond_measured, training_rate

__all__ = ["SERVED", "Asked", "Expected", "expect_serving", "expect_training", "layout_from"]

SERVED: Final = (Metric.OUTPUT_TOKENS, Metric.REQUESTS, Metric.TPOT, Metric.TTFT)
"""What is predicted of serving."""

OUTSIDE: Final = {
    "batch": "a batch",
    "prompt": "a prompt",
    "output": "an answer",
    "tensor": "tensor parallelism",
    "data": "data parallelism of attention",
    "layers": "a number of layers",
    "weights_s": "weights",
    "experts_s": "experts",
}
"""What lies outside of the measured, in words; arithmetic goes with the weights."""

USUAL_BATCH, USUAL_SEQUENCE = 1024, 4096
USUAL_PROMPT, USUAL_OUTPUT, USUAL_REQUESTS = 1024, 1024, 16
QUIET = 4.0
"""Requests at once up to which a prompt hardly waits for others."""


class Asked(Struct, frozen=True, kw_only=True):
    """One job as it is asked for; 0 and empty are not stated. `batch`: sequences of a step, or requests at once.

    `layout` such as `tp=8,pp=2,zero=1`; what it leaves of `count` are copies.
    """

    transformer: Transformer
    accelerator: Accelerator
    count: int
    layout: str = ""
    precision: str = "bf16"
    batch: int = 0
    seq_in: int = 0
    seq_out: int = 0
    engine: str = ""
    experts: str = ""  # formats of experts and cache in serving, where they differ
    cache: str = ""
    completed: bool = False  # the architecture follows from a size by usual proportions


class Expected(Struct, frozen=True):
    """`rate` in the unit of `metric`; `layout` that it holds for; `beyond`: why it extrapolates, empty
    if it does not."""

    rate: Rate
    metric: Metric
    layout: str
    beyond: tuple[str, ...] = ()


def expect_training(asked: Asked, coefficients: TrainingCoefficients) -> Expected:
    """Tokens a second of the whole job, in the layout asked for or the fastest that fits.

    UsageError where none fits, or the layout does not divide devices, model or batch.
    """
    batch, seq_len = asked.batch or USUAL_BATCH, asked.seq_in or USUAL_SEQUENCE
    if asked.precision not in TRAINED_IN:
        raise UsageError(f"training in `{asked.precision}` is not predicted", f"use one of {', '.join(TRAINED_IN)}")
    precision = Precision.FP8 if asked.precision.startswith("fp8") else Precision.BF16
    chip = asked.accelerator
    if asked.layout:
        layout = layout_from(asked.layout, asked.count, batch)
        rate = training_rate(
            asked.transformer, chip, layout, coefficients, seq_len, batch, precision=precision, engine=asked.engine
        )
    else:
        found = search_layouts(
            asked.transformer,
            [chip],
            coefficients,
            global_batch=batch,
            seq_len=seq_len,
            counts={chip.name: [asked.count]},
            precision=precision,
            engine=asked.engine,
        )[chip.name]
        if not found:
            problem = f"no layout of {asked.count} {chip.name} holds {asked.transformer.name or 'the model'}"
            raise UsageError(f"{problem} with a batch of {batch}", "give it more devices, or a batch that they divide")
        layout, rate = found[0].layout, found[0].rate
    beyond = _beyond(asked)
    beyond += beyond_measured(coefficients, asked.transformer, chip, devices=asked.count, seq_len=seq_len)
    if precision is Precision.FP8 and chip.fp8_tflops is None:
        beyond.append(f"{chip.name} has no FP8 in the catalog: its products are in half precision")
    return Expected(rate, Metric.TOKENS, layout_words(layout), tuple(beyond))


def expect_serving(asked: Asked, model: ServingModel, metric: Metric) -> Expected:
    """Milliseconds per output token or to the first, or output tokens a second, of replicas of the layout's size.

    UsageError where the split does not divide devices or model, or the cache does not hold one request.
    """
    if not asked.layout:
        return _best_served(asked, model, metric)
    sizes = _sizes(asked.layout)
    split = Split(tensor=sizes.get("tp", 1), data=sizes.get("adp", 1), expert=sizes.get("ep", 1))
    if asked.count % split.devices:
        problem = f"the layout {asked.layout} does not divide {asked.count} devices"
        raise UsageError(problem, "choose one whose tp x adp divides them")
    replicas = asked.count // split.devices
    storage = storage_of(asked.transformer, asked.precision, asked.experts, asked.cache)
    replica = served(asked.transformer, asked.accelerator, storage, split)
    demand = Demand(
        batch=max(float(asked.batch or USUAL_REQUESTS) / (replicas * split.data), 1.0),
        prompt=float(asked.seq_in or USUAL_PROMPT),
        output=float(asked.seq_out or USUAL_OUTPUT),
    )
    if float(np.asarray(largest_batch(replica, demand))) < 1:
        problem = f"{split.devices} {asked.accelerator.name} do not hold the weights and one request"
        raise UsageError(problem, "give a replica more devices")
    nothing, engine = np.array([math.nan]), engine_measured(asked.engine.split(" ")[0])
    points = Points(
        served=replica, demand=demand, engines=(engine,), cells=("",), stacks=("",), tpot=nothing,
        ttft=nothing,
    )  # fmt: skip
    rate = _served_rate(model, points, metric, asked)
    beyond = _beyond(asked)
    if engine not in model.coefficients.engines:
        beyond.append(f"the engine {asked.engine or 'is not named'} was not measured: an average one")
    if asked.accelerator.name not in model.devices:
        beyond.append(f"no serving was measured on {asked.accelerator.name}")
    beyond += [
        f"{OUTSIDE[name]} beyond what was measured" for name in outside(model, replica, demand) if name in OUTSIDE
    ]
    lacking = sorted({storage.products, storage.expert_products} - {"bf16"} - _computed(asked.accelerator))
    beyond += [f"{asked.accelerator.name} has no {name} in the catalog: half precision multiplies" for name in lacking]
    return Expected(rate, metric, asked.layout, tuple(beyond))


def _best_served(asked: Asked, model: ServingModel, metric: Metric) -> Expected:
    """In the split that gives the most tokens a second; the first complaint where none holds the model."""
    layouts = [
        f"tp={k}" for k in range(1, asked.count + 1) if asked.count % k == 0 and asked.transformer.heads % k == 0
    ]
    found: list[Expected] = []
    complaint: UsageError | None = None
    for layout in layouts:
        try:
            found.append(expect_serving(structs.replace(asked, layout=layout), model, Metric.OUTPUT_TOKENS))
        except UsageError as error:
            complaint = complaint or error
    if not found:
        raise complaint or UsageError("no split divides the model's heads", "give another count")
    best = max(found, key=lambda one: one.rate.value)
    if metric is Metric.OUTPUT_TOKENS:
        return best
    return expect_serving(structs.replace(asked, layout=best.layout), model, metric)


def _served_rate(model: ServingModel, points: Points, metric: Metric, asked: Asked) -> Rate:
    at_once, output = float(asked.batch or USUAL_REQUESTS), float(asked.seq_out or USUAL_OUTPUT)
    if metric is Metric.TPOT:
        return _rate(forecast(model, points, Phase.TPOT), 1000.0)
    if metric is Metric.TTFT:
        return _rate(forecast(model, points, Phase.TTFT if at_once <= QUIET else Phase.TTFT_QUEUED), 1000.0)
    if metric not in (Metric.OUTPUT_TOKENS, Metric.REQUESTS):
        raise UsageError(f"{metric.value} is not predicted", f"{', '.join(SERVED)} are")
    step, first = forecast(model, points, Phase.TPOT), forecast(model, points, Phase.TTFT_QUEUED)
    each = {end: float(getattr(step, end)[0] + getattr(first, end)[0] / output) for end in ("value", "low", "high")}
    counted = at_once / output if metric is Metric.REQUESTS else at_once
    return Rate(counted / each["value"], counted / each["high"], counted / each["low"], Provenance.MODELLED)


def _rate(seconds: Forecast, unit: float) -> Rate:
    value, low, high = (float(getattr(seconds, end)[0]) * unit for end in ("value", "low", "high"))
    return Rate(value, low, high, Provenance.MODELLED)


def _computed(accelerator: Accelerator) -> set[str]:
    """Formats that the catalog knows the chip to multiply in."""
    return {name for name in ("fp8", "int8", "fp4") if getattr(accelerator, f"{name}_tflops") is not None}


def _beyond(asked: Asked) -> list[str]:
    return ["the architecture is completed from a size by usual proportions"] if asked.completed else []


def layout_from(text: str, count: int, global_batch: int) -> Layout:
    """A layout of `count` devices as it is written; data parallelism takes what the other axes leave, and the
    micro-batch is the largest power of two up to 8 that divides a copy's share, where not stated.

    UsageError where the axes do not divide the devices.
    """
    sizes = _sizes(text)
    tied = sizes.get("tp", 1) * sizes.get("pp", 1) * sizes.get("cp", 1)
    if count % tied or ("dp" in sizes and sizes["dp"] * tied != count):
        raise UsageError(f"the layout {text} does not divide {count} devices", "tp x pp x cp x dp makes the devices")
    data = count // tied
    share = max(global_batch // data, 1)
    micro = sizes.get("mb", next(m for m in (8, 4, 2, 1) if share % m == 0))
    alone = tied == 1 and data > 1
    return Layout(
        data=data,
        tensor=sizes.get("tp", 1),
        pipeline=sizes.get("pp", 1),
        expert=sizes.get("ep", 1),
        context=sizes.get("cp", 1),
        zero=sizes.get("zero", 3 if alone else 1),
        micro_batch=micro,
        recompute=Recompute(_parts(text).get("rc", "none")),
    )


def _sizes(text: str) -> dict[str, int]:
    return {name: int(size) for name, size in _parts(text).items() if name != "rc"}


def _parts(text: str) -> dict[str, str]:
    try:
        return layout_parts(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
