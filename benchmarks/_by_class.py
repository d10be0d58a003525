"""What one H200 is worth in H20-96, by kind of work, from the fitted models."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scheduler.config import load_catalog, load_fit, shipped
from scheduler.model.accelerators import Accelerator
from scheduler.model.transformers import Transformer, find_transformer
from scheduler.profiles.observed import COMMON
from scheduler.profiles.serving import Demand, Split, served
from scheduler.profiles.serving_fit import tpot_s, ttft_s
from scheduler.profiles.serving_model import Phase, ServingModel
from scheduler.profiles.serving_spread import band
from scheduler.profiles.storage import storage_of

__all__ = ["by_class"]

FAST, UNIT = "h200", "h20-96"
OUTPUT = 500
DECODES = ((1, 2_000), (8, 8_000), (64, 2_000), (256, 500))
"""Requests at once, and tokens of their prompts."""

PROMPTS = (1_000, 8_000)
MODELS = (("llama-3.1-8b", Split()), ("llama-3.1-70b", Split(tensor=8)))


def by_class(trained: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Rows of work, ratio, band and provenance. Training as `training_model.py` printed it."""
    for row in trained:
        if row["protocol"] == "ratios" and row["device"] == FAST and row["over"] == UNIT:
            told = f"{row['ratio']:.2f}", f"{row['low']:.2f} to {row['high']:.2f}", row["provenance"]
            yield (f"training {row['model']}", *told)
    catalog = load_catalog()
    model = load_fit(shipped("profiles", "serving"), "serving", ServingModel)
    chips = [chip for chip in (catalog.get(FAST), catalog.get(UNIT)) if chip is not None]
    for name, split in MODELS:
        transformer = find_transformer(catalog.models, name)
        if transformer is not None and len(chips) == 2:
            yield from _serving(transformer, split, chips, model)


def _serving(
    transformer: Transformer, split: Split, chips: Sequence[Accelerator], model: ServingModel
) -> Iterator[tuple[str, str, str, str]]:
    sides = [served(transformer, chip, storage_of(transformer, "bf16"), split) for chip in chips]
    on = f"{transformer.name} on {split.devices}"
    for batch, prompt in DECODES:
        asked = Demand(batch=float(batch), prompt=float(prompt), output=float(OUTPUT), mixed=0.0)
        fast, slow = (float(tpot_s(side, asked, "", model.coefficients)[0]) for side in sides)
        work = f"decode, {on}, {batch} at once of {prompt} tokens"
        yield (work, *_told(slow / fast, model, Phase.TPOT))
    for prompt in PROMPTS:
        asked = Demand(batch=1.0, prompt=float(prompt), output=float(OUTPUT))
        fast, slow = (float(ttft_s(side, asked, "", model.coefficients)[0]) for side in sides)
        yield (f"prefill, {on}, prompts of {prompt} tokens", *_told(slow / fast, model, Phase.TTFT))


def _told(ratio: float, model: ServingModel, phase: Phase) -> tuple[str, str, str]:
    """Both predictions are off by as much as those of a cell never seen; what they share cancels."""
    low, high = band(model.spread(phase, mixture=False))
    reach = math.log(high / low) / 2 * math.sqrt(2 * (1 - COMMON))
    return f"{ratio:.2f}", f"{ratio * math.exp(-reach):.2f} to {ratio * math.exp(reach):.2f}", "modelled"
