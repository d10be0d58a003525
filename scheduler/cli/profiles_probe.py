"""The verb `profiles probe`: of the options of a training job, which to measure before it is decided."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.output import Column, Format, document, say, table
from scheduler.cli.selection import FormatOption, HomeOption

if TYPE_CHECKING:
    from scheduler.profiles.expected import Asked
    from scheduler.profiles.store import Store

__all__ = ["probe"]

OPTION = re.compile(r"([a-z0-9-]{1,64}):([1-9][0-9]{0,5})")


def probe(
    options: Annotated[list[str], typer.Argument(help="Accelerator and count of each, such as h200:8 h20-96:40")],
    model: Annotated[str, typer.Option(help="An architecture by name, such as llama-3.1-8b")] = "",
    params: Annotated[float, typer.Option(help="Instead of --model: parameters of a dense model, such as 13e9")] = 0.0,
    hours: Annotated[float, typer.Option(min=0.0, help="How long the job will run on what is chosen")] = 24.0,
    minutes: Annotated[float, typer.Option(min=0.0, help="What a probe takes, start included")] = 10.0,
    precision: Annotated[str, typer.Option(help="Such as bf16, fp8")] = "bf16",
    batch: Annotated[int, typer.Option(min=0, help="Sequences of a step")] = 0,
    seq_in: Annotated[int, typer.Option(min=0, help="Tokens of a sequence")] = 0,
    framework: Annotated[str, typer.Option(help="Software with its version")] = "",
    file: Annotated[list[Path] | None, typer.Option("-f", "--file", help="Files of profiles that correct it")] = None,
    output: FormatOption = Format.TABLE,
    home: HomeOption = None,
) -> None:
    """Which of the options to measure first: the one whose probe is expected to gain most above what it costs.

    A probe costs its minutes at the rate of the best option as it is known; it gains where it changes the choice.
    """
    from msgspec import structs

    from scheduler.cli.profiles import known_store
    from scheduler.cli.profiles_predict import asked_of
    from scheduler.config import load_catalog
    from scheduler.errors import UsageError

    catalog = load_catalog()
    asked = []
    for option in options:
        found = OPTION.fullmatch(option)
        if found is None:
            raise UsageError(f"{option[:40]!r} is no option", "write an accelerator and a count, such as h200:8")
        one = asked_of(catalog, found[1], model, params, "training")
        shape = {"precision": precision, "batch": batch, "seq_in": seq_in, "engine": framework}
        asked.append(structs.replace(one, count=int(found[2]), **shape))
    rows = _judged(asked, known_store(file, home, catalog), hours, minutes)
    if document(rows, output):
        return
    table(rows, OPTIONS, output, name="option")
    if output is not Format.NAME:
        say()
        say(_advice(rows))


def _judged(asked: "Sequence[Asked]", store: "Store", hours: float, minutes: float) -> list[dict[str, Any]]:
    """A row for each option, gains and costs as a share of what the best option is worth."""
    from scheduler.cli.profiles_fits import training_fit
    from scheduler.cli.profiles_predict import corrected
    from scheduler.errors import UsageError
    from scheduler.model.rates import Stack
    from scheduler.profiles.calibration import believed
    from scheduler.profiles.expected import expect_training
    from scheduler.profiles.probes import Choice, best_probe, expected_gain

    fit = training_fit()
    if fit is None:
        raise UsageError("no fit of training is shipped", "fit one with the programs under benchmarks")
    expected = [expect_training(one, fit) for one in asked]
    stacks = [Stack(framework=one.engine) for one in asked]
    rates = [corrected(store, *three) for three in zip(asked, expected, stacks, strict=True)]
    beliefs = [believed(rate.value, rate.low, rate.high) for rate in rates]
    best = max(Choice(belief=belief).worth for belief in beliefs)
    lost = best * minutes / 60 / max(hours, 1e-9)
    choices = [Choice(belief=belief, cost=lost) for belief in beliefs]
    chosen = best_probe(choices)
    return [
        {
            "option": f"{one.accelerator.name}:{one.count}", "value": rate.value, "low": rate.low, "high": rate.high,
            "from": rate.provenance.value, "layout": said.layout,
            "gain_percent": round(100 * expected_gain(choices, place) / best, 3),
            "cost_percent": round(100 * lost / best, 3),
            "probe": chosen is not None and chosen.place == place,
            "best": math.isclose(choices[place].worth, best),
        }
        for place, (one, said, rate) in enumerate(zip(asked, expected, rates, strict=True))
    ]  # fmt: skip


def _advice(rows: list[dict[str, Any]]) -> str:
    best = next(row["option"] for row in rows if row["best"])
    for row in rows:
        if row["probe"]:
            net = row["gain_percent"] - row["cost_percent"]
            return f"Measure {row['option']} first: that is expected to gain {net:.1f}% of the run, its cost taken off."
    return f"No probe pays: take {best}."


def _amount(key: str) -> Any:
    from scheduler.cli.profiles_rows import two_digits

    return lambda row: two_digits(row[key])


OPTIONS = (
    Column("OPTION", lambda r: r["option"]),
    Column("TOKENS/S", _amount("value"), right=True),
    Column("LOW", _amount("low"), right=True),
    Column("HIGH", _amount("high"), right=True),
    Column("FROM", lambda r: r["from"]),
    Column("LAYOUT", lambda r: r["layout"], wide=True),
    Column("A PROBE GAINS", lambda r: f"{r['gain_percent']:.1f}%", right=True),
    Column("COSTS", lambda r: f"{r['cost_percent']:.1f}%", right=True),
)
