"""The verbs `profiles list`, `show`, `predict`, `probe` and `calibrate`: rates with bands, and where they come from."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.output import Format, complain, document, fields, say, table
from scheduler.cli.profiles_rows import (
    CELLS,
    SCORES,
    band_text,
    cell_name,
    cell_row,
    scatter_text,
    score_row,
    total_text,
    value_text,
)
from scheduler.cli.selection import FormatOption, HomeOption

if TYPE_CHECKING:
    from scheduler.model.accelerators import Catalog
    from scheduler.model.rates import CellRate, Observation
    from scheduler.profiles.declared import DeclaredAlarm
    from scheduler.profiles.store import Store

__all__ = ["KnownOption", "calibrate", "known_store", "list_", "register", "show"]

OWN_FILE = "profiles.yaml"
ALARMS_TOLD = 10
Files = Annotated[list[Path], typer.Argument(help="Measurements: tables in CSV, or results of vLLM or genai-perf")]
KnownOption = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", help="A file of profiles, YAML or CSV; several. Default: profiles.yaml of the home"),
]

profiles = typer.Typer(help="Rates by job, accelerator, software, precision and layout.", no_args_is_help=True)


def known_store(files: Sequence[Path] | None, home: str | None, catalog: "Catalog") -> "Store":
    """What the files hold, the later ones last; without any, the home's own where it is there."""
    from scheduler.config import load_profiles
    from scheduler.profiles.store import Store, store_of
    from scheduler.service.settings import home_dir

    own = home_dir(home) / OWN_FILE
    chosen = list(files or ([own] if own.is_file() else []))
    store = Store()
    for file in chosen:
        store = store.with_entries(store_of(load_profiles(file, catalog).rates))
    return store


@profiles.command("list")
def list_(
    match: Annotated[str, typer.Argument(help="Only cells whose name holds this text")] = "",
    write: Annotated[Path | None, typer.Option(help="Write them there too: .yaml or .csv")] = None,
    file: KnownOption = None,
    output: FormatOption = Format.TABLE,
    home: HomeOption = None,
) -> None:
    """Cells that are known, each with its value, the band that holds nine runs in ten, and where it comes from."""
    from scheduler.config import load_catalog

    rates = [entry.as_file() for entry in known_store(file, home, load_catalog())]
    rates = [rate for rate in rates if match in cell_name(rate)]
    if write is not None:
        _write(write, rates)
    table([cell_row(rate) for rate in rates], CELLS, output)
    if not rates:
        complain("no cell is known; `profiles calibrate` learns some, `profiles show training` shows what is modelled")


@profiles.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A cell's name as `list -o name` prints it, or an unambiguous part")],
    file: KnownOption = None,
    output: FormatOption = Format.TABLE,
    home: HomeOption = None,
) -> None:
    """All that is known of one cell; of `training` or `serving`, what the shipped models were fitted to."""
    from scheduler.cli.profiles_fits import FITS, show_fit
    from scheduler.config import load_catalog
    from scheduler.errors import NotFoundError, UsageError

    if name in FITS:
        show_fit(name, output)
        return
    rows = [cell_row(entry.as_file()) for entry in known_store(file, home, load_catalog())]
    found = [row for row in rows if row["name"] == name] or [row for row in rows if name in row["name"]]
    if not found:
        raise NotFoundError(f"no cell is called {name[:80]!r}", "`dualtrack profiles list -o name` shows all")
    if len(found) > 1:
        raise UsageError(f"{name[:80]!r} may be {found[0]['name']} or {found[1]['name']}", "write more of its name")
    row = found[0]
    if document(row, output):
        return
    if output is Format.NAME:
        say(row["name"])
        return
    stack = row["stack"]
    fields([
        ("Job", row["family"]), ("Accelerator", row["accelerator"]), ("Precision", row["precision"]),
        ("Layout", row["layout"]), ("Metric", row["metric"]), ("Value", value_text(row)),
        ("Band (90 %)", band_text(row)),
        ("Runs", str(row["runs"])), ("Run to run", f"{100 * row['noise']:.1f} %"), ("From", row["from"]),
        ("Source", row["source"]), ("Version", str(row["version"])), ("Framework", stack["framework"]),
        ("Runtime", stack["runtime"]), ("Driver", stack["driver"]), ("Image", stack["image"]),
    ])  # fmt: skip


@profiles.command("calibrate")
def calibrate(
    measurements: Files,
    write: Annotated[Path | None, typer.Option(help="Write what is then known there: .yaml or .csv")] = None,
    file: KnownOption = None,
    accelerator: Annotated[str, typer.Option(help="Where a file does not say it")] = "",
    precision: Annotated[str, typer.Option(help="Where a file does not say it")] = "",
    layout: Annotated[str, typer.Option(help="Where a file does not say it, such as tp=8")] = "",
    driver: Annotated[str, typer.Option(help="Of the stack, where a file does not say it")] = "",
    runtime: Annotated[str, typer.Option(help="CUDA or CANN with its version, likewise")] = "",
    framework: Annotated[str, typer.Option(help="Such as 'vllm 0.12.0', likewise")] = "",
    image: Annotated[str, typer.Option(help="Likewise")] = "",
    output: FormatOption = Format.TABLE,
    home: HomeOption = None,
) -> None:
    """Learn from measurements, and show error and coverage of each cell before and after.

    Before: as the fitted models predict each figure. After: as the cell foresees it from those before it.
    """
    from scheduler.cli.profiles_fits import predictions
    from scheduler.config import load_catalog
    from scheduler.config.readers import Told, read_measurements
    from scheduler.model.rates import Stack
    from scheduler.profiles.declared import declared_alarms
    from scheduler.profiles.learning import learn, scatter

    catalog = load_catalog()
    stack = Stack(driver=driver, runtime=runtime, framework=framework, image=image)
    told = Told(accelerator=accelerator, precision=precision, layout=layout, stack=stack)
    seen: list[Observation] = []
    for path in measurements:
        readings = read_measurements(path, catalog, told)
        seen.extend(readings.observations)
        for reason, count in sorted(readings.left_out.items()):
            complain(f"{path}: {count:,} {'row' if count == 1 else 'rows'} left out: {reason}")
    foreseen = predictions(seen, catalog)
    learnt = learn([one for one, _ in foreseen], [said for _, said in foreseen], known_store(file, home, catalog))
    _complain_of(list(declared_alarms(learnt.store, catalog)))
    if write is not None:
        _write(write, [entry.as_file() for entry in learnt.store])
    rows = [score_row(score) for score in learnt.scores]
    if document(rows, output):
        return
    table(rows, SCORES, output)
    if output is not Format.NAME:
        say()
        for one in scatter([one for one, _ in foreseen], [said for _, said in foreseen]):
            say(scatter_text(one))
        say(f"{len(seen):,} figures in {len(rows):,} cells: {total_text(learnt.scores)}")


def _complain_of(alarms: "Sequence[DeclaredAlarm]") -> None:
    """Ratios that the catalog declares otherwise, the first few."""
    for alarm in alarms[:ALARMS_TOLD]:
        told, ratio = f"{alarm.here} over {alarm.there} in {alarm.work_class.value}", alarm.ratio
        measured = f"measured as {ratio.measured:.3g} ({ratio.low:.3g} to {ratio.high:.3g})"
        complain(f"alarm: {alarm.job}: {told} is declared as {ratio.declared:.3g} and {measured}")
    if len(alarms) > ALARMS_TOLD:
        complain(f"alarm: and {len(alarms) - ALARMS_TOLD:,} more ratios that are measured otherwise than declared")


def _write(path: Path, rates: "Sequence[CellRate]") -> None:
    from scheduler.config import dump_yaml, encode_profiles, rates_as_csv
    from scheduler.errors import UsageError

    if not rates:
        raise UsageError("there is nothing to write", "learn or name some cells first")
    if path.suffix not in (".csv", ".yaml", ".yml"):
        raise UsageError(f"{path.name} is neither YAML nor CSV", "end the name in .yaml or .csv")
    text = rates_as_csv(rates) if path.suffix == ".csv" else dump_yaml(encode_profiles(rates))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "choose another place") from None


def register(app: typer.Typer) -> None:
    from scheduler.cli.learned import learned
    from scheduler.cli.profiles_predict import predict
    from scheduler.cli.profiles_probe import probe

    profiles.command("predict")(predict)
    profiles.command("probe")(probe)
    profiles.command("learned")(learned)
    app.add_typer(profiles, name="profiles")
