"""The verb `profiles predict`, and what the fitted models say of measurements."""

from collections.abc import Sequence
from functools import lru_cache
from math import exp, log
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.output import Column, Format, document, fields, say, table
from scheduler.cli.selection import FormatOption, HomeOption

if TYPE_CHECKING:
    from scheduler.model.accelerators import Catalog
    from scheduler.model.rates import Metric, Observation
    from scheduler.profiles.expected import Asked, Expected
    from scheduler.profiles.serving_model import ServingModel
    from scheduler.profiles.serving_spread import Spread
    from scheduler.profiles.table import Rate
    from scheduler.profiles.training_rates import TrainingCoefficients

__all__ = ["FITS", "predict", "predictions", "show_fit"]

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


def predict(
    accelerator: Annotated[str, typer.Option(help="A name of the catalog, such as h200")],
    model: Annotated[str, typer.Option(help="An architecture by name, such as llama-3.1-8b")] = "",
    params: Annotated[float, typer.Option(help="Instead of --model: parameters of a dense model, such as 13e9")] = 0.0,
    count: Annotated[int, typer.Option(min=1, help="Devices")] = 8,
    type_: Annotated[str, typer.Option("--type", help="training or inference")] = "training",
    layout: Annotated[str, typer.Option(help="Such as tp=8,pp=2; without it the fastest that fits")] = "",
    precision: Annotated[str, typer.Option(help="Such as bf16, fp8, int8")] = "bf16",
    batch: Annotated[int, typer.Option(min=0, help="Sequences of a step, or requests at once")] = 0,
    seq_in: Annotated[int, typer.Option(min=0, help="Tokens of a sequence or a prompt")] = 0,
    seq_out: Annotated[int, typer.Option(min=0, help="Tokens of an answer")] = 0,
    framework: Annotated[str, typer.Option(help="Software with its version, such as 'vllm 0.12.0'")] = "",
    runtime: Annotated[str, typer.Option(help="CUDA or CANN with its version")] = "",
    driver: Annotated[str, typer.Option(help="Of the stack")] = "",
    image: Annotated[str, typer.Option(help="Of the stack")] = "",
    file: Annotated[list[Path] | None, typer.Option("-f", "--file", help="Files of profiles that correct it")] = None,
    output: FormatOption = Format.TABLE,
    home: HomeOption = None,
) -> None:
    """How fast a job would run: rate, band, provenance and layout, and whether that lies beyond what was measured."""
    from msgspec import structs

    from scheduler.cli.profiles import known_store, two_digits
    from scheduler.config import load_catalog
    from scheduler.errors import UsageError
    from scheduler.model.rates import Cell, Stack

    catalog = load_catalog()
    asked = structs.replace(
        _asked(catalog, accelerator, model, params, type_),
        count=count,
        layout=layout,
        precision=precision,
        batch=batch,
        seq_in=seq_in,
        seq_out=seq_out,
        engine=framework,
    )
    found = _expected(asked, type_)
    if not found:
        raise UsageError(f"no fit of {type_} is shipped", "fit one with the programs under benchmarks")
    store, rows = known_store(file, home, catalog), []
    for one in found:
        cell = Cell(
            family=(model or f"{params:g}-params").lower(),
            accelerator=accelerator,
            precision=precision,
            layout=layout,
            metric=one.metric,
            stack=Stack(driver=driver, runtime=runtime, framework=framework, image=image),
        )
        rows.append(_row(one, store.rate(cell, one.rate) or one.rate, corrected=store.rate(cell, one.rate) != one.rate))
    if document(rows, output):
        return
    if output is Format.NAME:
        for row in rows:
            say(row["metric"])
        return
    fields([("Model", model or f"{params:g} parameters"), ("Devices", f"{count} {accelerator}"),
            ("Layout", rows[0]["layout"])])  # fmt: skip
    for row in rows:
        say()
        band = f"{two_digits(row['low'])} to {two_digits(row['high'])}"
        fields([
            (row["metric"], two_digits(row["value"])), ("Band (90 %)", band), ("From", row["from"]),
            ("Extrapolates", "; ".join(row["beyond"]) or "no"),
        ])  # fmt: skip


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


def _asked(catalog: "Catalog", accelerator: str, model: str, params: float, type_: str) -> "Asked":
    from scheduler.config import load_models
    from scheduler.config.cursor import nearest
    from scheduler.errors import UsageError
    from scheduler.model.jobs import ModelShape
    from scheduler.model.transformers import find_transformer
    from scheduler.profiles.expected import Asked
    from scheduler.profiles.work import transformer_of

    if type_ not in ("training", "inference"):
        raise UsageError(f"--type {type_[:40]} is not predicted", "write training or inference")
    chip = catalog.get(accelerator)
    if chip is None:
        raise UsageError(f"unknown accelerator {accelerator[:40]!r}", nearest(accelerator, catalog.names))
    if bool(model) == (params > 0):
        raise UsageError("give either --model or --params", "such as --model llama-3.1-8b, or --params 13e9")
    if params:
        if not 1e6 <= params <= 1e14:
            raise UsageError(f"{params:g} parameters are none of a model", "write such as 13e9")
        return Asked(transformer=transformer_of(ModelShape(params=params)), accelerator=chip, count=1, completed=True)
    models = load_models()
    found = find_transformer(models, model)
    if found is None:
        remedy = nearest(model.lower(), [known.name for known in models])
        raise UsageError(f"no architecture is called {model[:60]!r}", remedy or "give its size with --params")
    return Asked(transformer=found, accelerator=chip, count=1)


def _expected(asked: "Asked", type_: str) -> "list[Expected]":
    from scheduler.profiles.expected import SERVED, expect_serving, expect_training

    if type_ == "training":
        fit = training_fit()
        return [expect_training(asked, fit)] if fit else []
    model = serving_fit()
    return [expect_serving(asked, model, metric) for metric in SERVED] if model else []


def _row(one: "Expected", rate: "Rate", *, corrected: bool) -> dict[str, Any]:
    return {
        "metric": one.metric.value, "value": rate.value, "low": rate.low, "high": rate.high,
        "from": rate.provenance.value, "corrected": corrected, "layout": one.layout,
        "extrapolates": bool(one.beyond), "beyond": list(one.beyond),
    }  # fmt: skip


def predictions(seen: "Sequence[Observation]", catalog: "Catalog") -> "list[Rate | None]":
    """What the shipped fits say of each figure; None where the job is no known model, or they cannot hold it."""
    from scheduler.config import load_models
    from scheduler.model.transformers import find_transformer

    models = load_models()
    found = {name: find_transformer(models, name) for name in {one.cell.family for one in seen}}
    return [_prediction(one, found[one.cell.family], catalog) for one in seen]


def _prediction(one: "Observation", transformer: Any, catalog: "Catalog") -> "Rate | None":
    from scheduler.errors import UsageError
    from scheduler.model.rates import Metric
    from scheduler.profiles.expected import Asked, expect_serving, expect_training

    chip, metric, training, serving = catalog.get(one.cell.accelerator), one.cell.metric, training_fit(), serving_fit()
    if transformer is None or chip is None:
        return None
    asked = Asked(
        transformer=transformer, accelerator=chip, count=one.count, layout=one.cell.layout or "tp=1",
        precision=one.cell.precision, batch=round(one.batch), seq_in=one.seq_in, seq_out=one.seq_out,
        engine=one.cell.stack.framework,
    )  # fmt: skip
    serves = metric in (Metric.TPOT, Metric.TTFT) or (metric is Metric.TOKENS and one.seq_out > 0)
    try:
        if serves and serving and one.batch and one.seq_in:
            return expect_serving(asked, serving, metric).rate
        if metric in (Metric.TOKENS, Metric.STEP_TIME) and not serves and training and one.batch and one.seq_in:
            return _as_metric(expect_training(asked, training).rate, metric, one)
    except (UsageError, ValueError):  # a layout or a size that the models do not hold
        return None
    return None


def _as_metric(tokens_per_s: "Rate", metric: "Metric", one: "Observation") -> "Rate":
    from msgspec import structs

    from scheduler.model.rates import Metric

    if metric is Metric.TOKENS:
        return tokens_per_s
    tokens = one.batch * one.seq_in
    value, low, high = tokens_per_s.value, tokens_per_s.low, tokens_per_s.high
    return structs.replace(tokens_per_s, value=tokens / value, low=tokens / high, high=tokens / low)
