"""The fits of models of speed that ship: what they were fitted to, and what they say of measurements."""

from collections.abc import Sequence
from functools import lru_cache
from math import exp, log
from typing import TYPE_CHECKING, Any

from scheduler.cli.output import Column, Format, say, table

if TYPE_CHECKING:
    from scheduler.model.accelerators import Catalog
    from scheduler.model.rates import Observation
    from scheduler.profiles.serving_model import ServingModel
    from scheduler.profiles.serving_spread import Spread
    from scheduler.profiles.table import Rate
    from scheduler.profiles.training_rates import TrainingCoefficients

__all__ = ["FITS", "predictions", "serving_fit", "show_fit", "training_fit"]

FITS = ("training", "serving")


@lru_cache(maxsize=1)
def training_fit() -> "TrainingCoefficients | None":
    from scheduler.config import load_fit, shipped, shipped_names
    from scheduler.profiles.training_rates import TrainingCoefficients

    if "training" not in shipped_names("profiles"):
        return None
    return load_fit(shipped("profiles", "training"), "training", TrainingCoefficients)


@lru_cache(maxsize=1)
def serving_fit() -> "ServingModel | None":
    from scheduler.config import load_fit, shipped, shipped_names
    from scheduler.profiles.serving_model import ServingModel

    if "serving" not in shipped_names("profiles"):
        return None
    return load_fit(shipped("profiles", "serving"), "serving", ServingModel)


def show_fit(name: str, output: Format) -> None:
    """The devices and engines that a shipped model was fitted to, and how far it is off there."""
    from scheduler.errors import NotFoundError

    training, serving = (training_fit(), None) if name == "training" else (None, serving_fit())
    if training is not None:
        rows = [
            {
                "name": device,
                "figures": fit.n,
                "error_percent": round(fit.mape_percent, 2),
                "reach": round(fit.reach, 3),
            }
            for device, fit in training.devices.items()
        ]
        source = training.source
    elif serving is not None:
        rows = [
            {
                "name": f"{phase}/{kind}",
                "figures": spread.cells,
                "error_percent": None,
                "reach": round(reach(spread), 3),
            }
            for phase, kinds in serving.spreads.items()
            for kind, spread in kinds.items()
        ]
        source = f"{serving.source}; {', '.join(serving.devices)}; {', '.join(serving.coefficients.engines)}"
    else:
        raise NotFoundError(f"no fit of {name} is shipped", "fit one with the programs under benchmarks")
    if output in (Format.TABLE, Format.WIDE):
        say(source)
        say()
    table(rows, FIT, output)


def reach(spread: "Spread") -> float:
    """Log units that the 90 % band reaches of a cell never seen."""
    from scheduler.profiles.serving_spread import band

    return log(band(spread)[1])


FIT = (
    Column("OF", lambda r: r["name"]),
    Column("FIGURES", lambda r: str(r["figures"]), right=True),
    Column(
        "ERROR IN SAMPLE", lambda r: "-" if r["error_percent"] is None else f"{r['error_percent']:.1f}%", right=True
    ),
    Column("BAND (90 %) OF A NEW MODEL", lambda r: f"x {exp(-r['reach']):.2f} to {exp(r['reach']):.2f}", right=True),
)


def predictions(seen: "Sequence[Observation]", catalog: "Catalog") -> "list[tuple[Observation, Rate | None]]":
    """Each figure, of a known model by the model's own name and of its training in tokens a second, with what the
    shipped fits say of it; None where the job is no known model, or they cannot hold it."""
    from msgspec import structs

    from scheduler.config import load_models
    from scheduler.model.rates import in_tokens
    from scheduler.model.transformers import find_transformer

    models = load_models()
    known = {name: find_transformer(models, name) for name in {one.cell.family for one in seen}}
    found = []
    for one in seen:
        transformer = known[one.cell.family]
        if transformer is not None:
            cell = structs.replace(one.cell, family=transformer.name)
            one = in_tokens(structs.replace(one, cell=cell))  # noqa: PLW2901
        found.append((one, _prediction(one, transformer, catalog)))
    return found


def _prediction(one: "Observation", transformer: Any, catalog: "Catalog") -> "Rate | None":
    from scheduler.errors import UsageError
    from scheduler.model.rates import Metric
    from scheduler.profiles.expected import SERVED, Asked, expect_serving, expect_training

    chip, metric, training, serving = catalog.get(one.cell.accelerator), one.cell.metric, training_fit(), serving_fit()
    if transformer is None or chip is None:
        return None
    asked = Asked(
        transformer=transformer, accelerator=chip, count=one.count, layout=one.cell.layout or "tp=1",
        precision=one.cell.precision, batch=round(one.batch), seq_in=one.seq_in, seq_out=one.seq_out,
        engine=one.cell.stack.framework,
    )  # fmt: skip
    serves = metric in SERVED
    try:
        if serves and serving and one.batch and one.seq_in:
            return expect_serving(asked, serving, metric).rate
        if metric is Metric.TOKENS and training and one.batch and one.seq_in:
            return expect_training(asked, training).rate
    except (UsageError, ValueError):  # a layout or a size that the models do not hold
        return None
    return None
