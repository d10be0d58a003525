"""The verb `profiles predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.output import Format, document, fields, say
from scheduler.cli.selection import FormatOption, HomeOption

if TYPE_CHECKING:
    from scheduler.model.accelerators import Catalog
    from scheduler.model.rates import Stack
    from scheduler.profiles.expected import Asked, Expected
    from scheduler.profiles.store import Store
    from scheduler.profiles.table import Rate

__all__ = ["asked_of", "corrected", "predict"]


def predict(
    accelerator: Annotated[str, typer.Option(help="A name of the catalog, such as h200")],
    model: Annotated[str, typer.Option(help="An architecture by name, such as llama-3.1-8b")] = "",
    params: Annotated[float, typer.Option(help="Instead of --model: parameters of a dense model, such as 13e9")] = 0.0,
    count: Annotated[int, typer.Option(min=1, help="Devices")] = 8,
    type_: Annotated[str, typer.Option("--type", help="training or inference")] = "training",
    layout: Annotated[str, typer.Option(help="Such as tp=8,pp=2; without it the fastest that fits")] = "",
    precision: Annotated[
        str, typer.Option(help="Such as bf16, fp8, int8; default: bf16, of what is served as its weights are kept")
    ] = "",
    experts_precision: Annotated[str, typer.Option(help="Of experts that are served, where it differs")] = "",
    kv_precision: Annotated[str, typer.Option(help="Of cached keys and values, where it differs")] = "",
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

    from scheduler.cli.profiles import known_store
    from scheduler.cli.profiles_rows import two_digits
    from scheduler.config import load_catalog
    from scheduler.errors import UsageError
    from scheduler.model.rates import Stack

    catalog = load_catalog()
    asked = structs.replace(
        asked_of(catalog, accelerator, model, params, type_),
        count=count,
        layout=layout,
        precision=precision or _kept(catalog, model, type_),
        batch=batch,
        seq_in=seq_in,
        seq_out=seq_out,
        engine=framework,
        experts=experts_precision,
        cache=kv_precision,
    )
    found = _expected(asked, type_)
    if not found:
        raise UsageError(f"no fit of {type_} is shipped", "fit one with the programs under benchmarks")
    store = known_store(file, home, catalog)
    stack = Stack(driver=driver, runtime=runtime, framework=framework, image=image)
    rows = [_row(one, corrected(store, asked, one, stack)) for one in found]
    if document(rows, output):
        return
    if output is Format.NAME:
        for row in rows:
            say(row["metric"])
        return
    kept = [("experts", experts_precision), ("cache", kv_precision)]
    formats = ", ".join([asked.precision, *(f"{part} {name}" for part, name in kept if name)])
    fields([("Model", model or f"{params:g} parameters"), ("Devices", f"{count} {accelerator}"),
            ("Precision", formats), ("Engine", framework or "-"), ("Layout", rows[0]["layout"])])  # fmt: skip
    for row in rows:
        say()
        band = f"{two_digits(row['low'])} to {two_digits(row['high'])}"
        fields([
            (row["metric"], two_digits(row["value"])), ("Band (90 %)", band), ("From", row["from"]),
            ("Extrapolates", "; ".join(row["beyond"]) or "no"),
        ])  # fmt: skip


def _kept(catalog: "Catalog", model: str, type_: str) -> str:
    """As a job file that says none is read."""
    from scheduler.model.transformers import kept_in

    return (kept_in(catalog.models, model) if type_ == "inference" and model else "") or "bf16"


def asked_of(catalog: "Catalog", accelerator: str, model: str, params: float, type_: str) -> "Asked":
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
    from scheduler.cli.profiles_fits import serving_fit, training_fit
    from scheduler.errors import UsageError
    from scheduler.profiles.expected import SERVED, expect_serving, expect_training

    if type_ == "training":
        if asked.experts or asked.cache:
            raise UsageError("training has one precision, that of its products", "leave the others to inference")
        fit = training_fit()
        return [expect_training(asked, fit)] if fit else []
    model = serving_fit()
    return [expect_serving(asked, model, metric) for metric in SERVED] if model else []


def corrected(store: "Store", asked: "Asked", one: "Expected", stack: "Stack") -> "Rate":
    """The prediction as what is known of its cell corrects it."""
    from scheduler.model.rates import Cell

    cell = Cell(
        family=asked.transformer.name,
        accelerator=asked.accelerator.name,
        precision=asked.precision,
        layout=one.layout,
        metric=one.metric,
        stack=stack,
    )
    return store.rate(cell, one.rate) or one.rate


def _row(one: "Expected", rate: "Rate") -> dict[str, Any]:
    return {
        "metric": one.metric.value, "value": rate.value, "low": rate.low, "high": rate.high,
        "from": rate.provenance.value, "corrected": rate != one.rate, "layout": one.layout,
        "extrapolates": bool(one.beyond), "beyond": list(one.beyond),
    }  # fmt: skip
