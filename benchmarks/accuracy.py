"""Writes docs/accuracy.md: how well rates are predicted, from the programs that measure it, with plots beside it.

    python benchmarks/accuracy.py --measurements F --points F... --throughputs F [--profiles F] [--runs F]
                                  --write docs/accuracy.md

Each figure on the page comes from a run of `training_model.py`, `serving_model.py` or `step_rates.py` on the files that
are given; nothing is kept from an earlier page. `--profiles` adds steps of black boxes, `--runs` times to train.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._bars import Bar, bars
from benchmarks._by_class import by_class
from scheduler.config import load_catalog, load_fit, shipped
from scheduler.profiles.serving_model import ServingModel
from scheduler.profiles.training_rates import TrainingCoefficients

HERE = Path(__file__).resolve().parent
Row = Mapping[str, Any]

TRAINING = {
    "in-sample": "the same rows that were fitted",
    "leave-model-out": "a model never seen, on devices and software that were",
    "leave-device-out": "a device never seen",
    "leave-device-out+3": "the same, after three measurements there",
    "scale": "fitted on at most 64 devices, 128 and more predicted",
    "layout-assumed": "Ascend 910B; the layout is not told and a layout is assumed",
    "layout-assumed+3": "the same, after three measurements there",
}
SERVING = {
    "in-sample": "the same rows that were fitted",
    "leave-cell-out": "a model on a device under an engine, never seen together",
    "leave-cell-out+3": "the same, after three measurements of it",
    "leave-model-out": "a model never seen at all",
    "leave-model-out+3": "the same, after three measurements of it",
}
STEPS = {
    "leave-type-out": "a third chip from the first two; other batch sizes of the family were seen there",
    "one-observation": "the same, and one run of the very job type there in another gang",
    "leave-family-out": "a third chip where no job of the family has run",
    "one-observation-leave-family-out": "the same, after that one run",
}
RUNS = {
    "runs by model": "transformers, other accelerators and counts, by the training model in the fastest layout",
    "runs by class": "other accelerators, as many of them, by the class table of the catalog",
}
BLACK = {
    "black-box-in-sample": "the same steps that were fitted",
    "black-box-more-replicas": "fitted up to the median of replicas, more of them predicted",
}
PHASES = {"tpot": "time per output token", "ttft": "time to the first token, at most four requests at once"}
WITH_BASELINES = ("all", "h100+h200", "h100", "h200")
RUNNING = "running"
GROUPS = (("h100+h200", "dense"), ("all", "dense"), ("all", "mixture"), ("all", "all"))


def run(program: str, *arguments: str) -> list[Row]:
    command = [sys.executable, str(HERE / program), *arguments, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program} failed: {done.stderr.strip()}")
    found: list[Row] = json.loads(done.stdout)["results"]
    return found


def named(row: Row) -> str:
    return f"{row['protocol']}{'+' + str(row['observations']) if row.get('observations') else ''}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} %"


def band(row: Row) -> str:
    low, high = row["coverage_interval_percent"]
    return f"{row['coverage_90_percent']:.0f} % [{low:.0f}, {high:.0f}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


ERRORS = ("error", "worst tenth beyond", "90 % band holds", "n")


def errors(row: Row) -> tuple[str, ...]:
    return percent(row["mape_percent"]), percent(row["p90_error_percent"]), band(row), str(row["n"])


def training(rows: Sequence[Row]) -> Iterator[str]:
    scored = [row for row in rows if "mape_percent" in row and row["protocol"] != "black-box"]
    yield "## Training\n"
    yield "Tokens a second of transformers, by device and software. Baselines on the same rows: six operations per"
    yield "weight and token at a constant rate by device (6N), and a constant share of the device's peak (MFU).\n"
    yield "![Errors by protocol](accuracy-training.svg)\n"
    for protocol, told in TRAINING.items():
        own = [row for row in scored if named(row) == protocol]
        if own:
            others = own[0].get("fitted_accelerators")
            yield f"**{protocol}**: {told}{f', from {others} other accelerators' if others else ''}.\n"
            lines = ((row["device"], row["engine"], *errors(row), *baselines(row)) for row in own)
            yield from table(("device", "software", *ERRORS, "6N", "MFU"), lines)
    found = [row for row in rows if row["protocol"] == "floor"]
    if found:
        yield "**Floor**: no configuration was measured twice; so far do runs that differ only in devices and batch lie"
        yield "from a straight line over the doublings of devices.\n"
        yield from table(
            ("device", "floor", "n"), ((row["device"], percent(row["floor_percent"]), str(row["n"])) for row in found)
        )
    memory = [row for row in rows if row["protocol"] == "memory"]
    if memory:
        yield "**Memory**: configurations that ran and that the model accepts.\n"
        yield from table(
            ("device", "accepted", "n"),
            ((row["device"], percent(row["accepted_percent"]), str(row["n"])) for row in memory),
        )


def runs(rows: Sequence[Row]) -> Iterator[str]:
    """Times to train of whole models, and steps of black boxes; nothing where neither file was given."""
    if any(row["protocol"] in RUNS for row in rows):
        yield "### Times to train, never fitted\n"
        yield "MLPerf's runs: of two systems that train the same model with the same batch, how much sooner does one"
        yield "end? Nothing was fitted to any of them.\n"
    for protocol, told in RUNS.items():
        own = [row for row in rows if row["protocol"] == protocol]
        if own:
            yield f"**{protocol.capitalize()}**: {told}.\n"
            yield from table(("benchmark", *ERRORS), ((row["device"], *errors(row)) for row in own))
    repeated = [row for row in rows if row["protocol"] == "repeated runs"]
    if repeated:
        yield "**Floor**: what runs of one system differ by, and how far medians of three or more systems of the same"
        yield "accelerators, count and batch lie apart.\n"
        lines = (
            (row["device"], percent(row["runs_sd_percent"]), str(row["systems"]),
             percent(row["systems_differ_percent"]), str(row["n"]))
            for row in repeated
        )  # fmt: skip
        yield from table(("benchmark", "runs (standard deviation)", "systems", "systems apart", "n"), lines)


def black_boxes(rows: Sequence[Row]) -> Iterator[str]:
    own = [row for row in rows if row["protocol"] in BLACK]
    if own:
        yield "\n**Black boxes**: step times of jobs of which nothing else is known, from some of their own steps."
        yield "Steps of one job are wrong together: coverage is also told with each job on each cluster as one draw.\n"
        lines = (
            (BLACK[row["protocol"]], *errors(row), by_job(row), str(row["groups"])) for row in own
        )  # fmt: skip
        yield from table(("steps", *ERRORS, "by job", "jobs"), lines)


def by_job(row: Row) -> str:
    low, high = row.get("coverage_by_group_interval_percent", (0.0, 100.0))
    return f"{row['coverage_by_group_percent']:.0f} % [{low:.0f}, {high:.0f}]"


def baselines(row: Row) -> tuple[str, str]:
    found = [value for key, value in row.items() if key.startswith("baseline_")]
    return percent(found[0]), percent(found[1])


def serving(rows: Sequence[Row]) -> Iterator[str]:
    yield "## Serving\n"
    yield "Points of one cell (a model on a device under an engine) err together: *by cell* is the interval that so few"
    yield "cells allow. *Running* leaves points out in which a request waits longer for its first token than all of its"
    yield "tokens take: their server was overrun, and how many ran at once is not told.\n"
    yield "![Errors by protocol](accuracy-serving.svg)\n"
    for phase, told in PHASES.items():
        yield f"### {told[0].upper()}{told[1:]}\n"
        for protocol, what in SERVING.items():
            own = [row for row in rows if serves(row, phase) and named(row) == protocol]
            if own:
                yield f"**{protocol}**: {what}.\n"
                lines = ((device_of(row), row["models"], *errors(row), by_cell(row)) for row in own)
                yield from table(("device", "models", *ERRORS, "by cell"), lines)
        simple = [row for row in rows if row["protocol"] == "baseline" and row["phase"] == phase]
        yield "**Beside it**, on the same rows unless said otherwise.\n"
        lines = (
            (row["predictor"], row["device"], row["models"], percent(row["mape_percent"]),
             percent(row.get("median_error_percent")), str(row["n"]))
            for row in simple if row["models"] in ("all", "dense") and row["device"] in WITH_BASELINES
            and "batches" not in row and row["engine"] == "all"
        )  # fmt: skip
        yield from table(("predictor", "device", "models", "error", "median", "n"), lines)
    few = [row for row in rows if row["protocol"] == "published rates" and row["models"] == "all"]
    if few:
        yield "**Published throughputs of other devices**, scored apart because they are few.\n"
        lines = ((row["device"], *errors(row)) for row in few if row["engine"] == "all" and "batches" not in row)
        yield from table(("device", *ERRORS), lines)


def serves(row: Row, phase: str) -> bool:
    group = (row.get("device"), row.get("models"))
    own = row.get("predictor") == "dualtrack" and row.get("phase") == phase and row.get("engine") == "all"
    told = "batches" not in row or (group == ("all", "all") and row["batches"] == RUNNING)
    return own and group in GROUPS and told and row.get("seen", "cell") == "cell"


def device_of(row: Row) -> str:
    return f"{row['device']}, running" if row.get("batches") == RUNNING else str(row["device"])


def by_cell(row: Row) -> str:
    found = row.get("coverage_interval_by_cell_percent")
    return f"[{found[0]:.0f}, {found[1]:.0f}]" if found else ""


def steps(rows: Sequence[Row]) -> Iterator[str]:
    yield "## Jobs that are not transformers\n"
    yield "Step rates of 26 small models in gangs of one to eight on K80, P100 and V100; each chip predicted from the"
    yield "others. Where no job of a family has run on the new chip, nothing that is known of it says how well the chip"
    yield "suits it: that is what remains over the floor. The ratio of a family that has run there is a baseline.\n"
    yield "![Errors by protocol](accuracy-steps.svg)\n"
    for protocol, told in STEPS.items():
        own = [row for row in rows if row["protocol"] == protocol]
        if own:
            yield f"**{protocol}**: {told}.\n"
            lines = (
                (
                    row["device"],
                    *errors(row),
                    percent(_ratio(row)),
                    percent(row["baselines"]["family_ratio"]),
                    floor(row),
                )
                for row in own
            )
            yield from table(("device", *ERRORS, "best single ratio", "ratio of the family", "floor"), lines)
    yield "*Floor*: what remains when each family's own factor is known in hindsight and nothing else."


def _ratio(row: Row) -> float:
    return float(min(value for key, value in row["baselines"].items() if key.startswith("one_ratio")))


def floor(row: Row) -> str:
    return percent(row.get("floor_percent"))


def modelled_alone() -> Iterator[str]:
    """Which accelerators no measurement stands behind, from the fits that ship."""
    fit = load_fit(shipped("profiles", "training"), "training", TrainingCoefficients)
    served = load_fit(shipped("profiles", "serving"), "serving", ServingModel)
    names = load_catalog().names
    yield "## What rests on modelling alone\n"
    trained = [name for name in names if name not in fit.devices]
    seen = set(getattr(served, "devices", ()))
    yield f"- Training on {listed(trained)}: no measurement of it was found that can be used."
    yield f"- Serving on {listed(name for name in names if name not in seen)}: likewise, or too few to fit."
    yield "- Every ratio in the table by class above, and every rate that the class table of the catalog gives.\n"
    yield "Such rates say `modelled`; their bands are those of a device never seen. What runs narrows them."


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def page(files: argparse.Namespace) -> tuple[str, dict[str, str]]:
    more = [f"--{name}={path}" for name in ("profiles", "runs") if (path := getattr(files, name)) is not None]
    trained = run("training_model.py", "--measurements", str(files.measurements), *more)
    points = [str(path) for path in files.points]
    served = run("serving_model.py", "--points", *points, "--observations", "3")
    stepped = run("step_rates.py", "--throughputs", str(files.throughputs))
    parts = [
        "# Accuracy of rates\n",
        "Written by `benchmarks/accuracy.py` from public measurements; do not edit. Errors are mean absolute",
        "percentage errors. Measurements are left out by model, by device or by software, never by row, and coverage",
        "is that of 90 % bands with the 95 % interval that so many measurements allow: a band is honest where the",
        "interval holds 90 %.\n",
        *training(trained),
        *runs(trained),
        *serving(served),
        *steps(stepped),
        *black_boxes(trained),
        "\n## What one H200 is worth in H20-96\n",
        "Modelled from the fits, not written in; peak arithmetic would say 6.68, memory bandwidth 1.2.\n",
        *table(("work", "ratio", "90 % band", "from"), by_class(trained)),
        *modelled_alone(),
    ]
    return "\n".join(parts).rstrip() + "\n", plots(trained, served, stepped)


def plots(trained: Sequence[Row], served: Sequence[Row], stepped: Sequence[Row]) -> dict[str, str]:
    whole = [row for row in trained if row.get("device") == "all" and row.get("engine") == "all"]
    made = [Bar(named(row), row["mape_percent"], dict(zip(("6N", "MFU"), _numbers(row), strict=True))) for row in whole]
    roofline = {
        (row["phase"], row["models"]): row["mape_percent"]
        for row in served
        if row.get("predictor") == "bandwidth roofline" and row["device"] == "h100+h200" and "batches" not in row
    }
    dense = [row for row in served if any(serves(row, p) for p in PHASES) and row["device"] == "h100+h200"]
    served_bars = [
        Bar(f"{row['phase']}, {named(row)}", row["mape_percent"], {"roofline": roofline[row["phase"], row["models"]]})
        for row in dense
    ]
    small = [row for row in stepped if row["device"] == "all"]
    step_bars = [Bar(row["protocol"], row["mape_percent"], {"single ratio": _ratio(row)}) for row in small]
    return {
        "accuracy-training.svg": bars("Training: mean error, all devices", made),
        "accuracy-serving.svg": bars("Serving, dense models on H100 and H200: mean error", served_bars),
        "accuracy-steps.svg": bars("Step rates on a third chip: mean error", step_bars),
    }


def _numbers(row: Row) -> tuple[float, float]:
    found = [value for key, value in row.items() if key.startswith("baseline_")]
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measurements", type=Path, required=True)
    parser.add_argument("--points", type=Path, nargs="+", required=True)
    parser.add_argument("--throughputs", type=Path, required=True)
    parser.add_argument("--profiles", type=Path, help="Sia's profile_placements")
    parser.add_argument("--runs", type=Path, help="MLPerf's training runs")
    parser.add_argument("--write", type=Path, required=True)
    given = parser.parse_args()
    text, pictures = page(given)
    given.write.write_text(text, encoding="utf-8")
    for name, picture in pictures.items():
        (given.write.parent / name).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
