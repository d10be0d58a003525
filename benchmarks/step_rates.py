"""How well the step rate of a job on one chip is predicted from its rates on the others, beside simple ratios.

    python benchmarks/step_rates.py --throughputs simulation_throughputs.csv.gz [-o json]

Each chip of the table is held out in turn and predicted from the others:

    leave-family-out   no job of the family has run there
    leave-type-out     other job types of the family (other batch sizes) have run there
    one-observation    likewise, and the very job type has run there once, in another gang
    one-observation-leave-family-out   that run is all that the family has done there

The second and third are the usual case, and the only ones in which a ratio between chips can be shrunk to the family's:
nothing that is known of a job elsewhere tells how the new chip suits a family that it has never run.

Baselines: `one_ratio_over_X` the median ratio to chip X of all jobs that the protocol has seen; `family_ratio` that of
the family where it was seen, to the mean of the known chips; `own_ratio` the ratio of the one observation. Only rows of
jobs alone on their chips count; gangs on one node are scored, those spread over several only describe a job.
`floor_percent`: what remains if each family's own factor were known, though nothing else (in hindsight), and what
families differ by (`family_sd`, log units) around the relation that is fitted without them.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from numpy.typing import NDArray

from benchmarks._scores import document, scores
from scheduler.errors import ConfigError, DualtrackError
from scheduler.profiles.ratios import KnownJobs, fit_ratios, predict_ratios
from scheduler.simulator.readers.gavel import GavelRates, read_gavel_rates

FloatArray = NDArray[np.float64]

PROTOCOLS = ("leave-family-out", "leave-type-out", "one-observation", "one-observation-leave-family-out")
BATCH = re.compile(r"^(.*?)\s*\(batch size (\d+)\)$")


class Table:
    """The jobs that ran on every chip of a table; `rates` and `spread` (n, chips)."""

    def __init__(self, path: Path) -> None:
        alone = read_gavel_rates(path)
        try:
            several = read_gavel_rates(path, consolidated=False)
        except ConfigError:  # a table without gangs that are spread
            several = GavelRates({})
        chips = sorted({chip for found in alone.rates.values() for chip in found})
        self.chips = chips
        self.keys = sorted(key for key, found in alone.rates.items() if all(chip in found for chip in chips))
        if len(chips) < 2 or len({job for job, _ in self.keys}) < 3:
            problem = f"{len(self.keys)} rows of jobs stand for all of {len(chips)} chips"
            raise ConfigError(problem, "at least 2 chips and 3 job types on all of them are needed", file=str(path))
        named = [BATCH.match(job) for job, _ in self.keys]
        self.types = [job for job, _ in self.keys]
        self.families = [m[1] if m else job for m, job in zip(named, self.types, strict=True)]
        self.batch = np.array([float(m[2]) if m else np.nan for m in named])
        self.gang = np.array([float(count) for _, count in self.keys])
        self.rates = np.array([[alone.rates[key][chip] for chip in chips] for key in self.keys])
        missing: Mapping[str, float] = {}
        self.spread = np.array(
            [[several.rates.get(key, missing).get(chip, np.nan) for chip in chips] for key in self.keys]
        )
        smallest = {job: row for row, (job, _) in sorted(enumerate(self.keys), key=lambda item: -item[1][1])}
        self.first = np.array([smallest[job] for job in self.types])

    def known(self, chip: int) -> KnownJobs:
        """The jobs as they are known from all chips but one."""
        others = [at for at in range(len(self.chips)) if at != chip]
        return KnownJobs(
            families=self.families,
            types=self.types,
            batch=self.batch,
            gang=self.gang,
            rates=self.rates[:, others],
            spread=self.spread[:, others],
            alone=self.rates[np.ix_(self.first, others)],
            first=self.gang[self.first],
        )


def splits(table: Table, protocol: str) -> Iterator[tuple[NDArray[np.bool_], list[tuple[list[int], list[int]]]]]:
    """Rows that the fit sees, and with it (rows to predict, rows there observed since)."""
    names = np.array(table.families if "family" in protocol else table.types)
    for name in sorted(set(names)):
        held = np.flatnonzero(names == name).tolist()
        if not protocol.startswith("one-"):
            yield names != name, [(held, [])]
            continue
        pairs = [([t], [o]) for t in held for o in held if t != o and table.types[t] == table.types[o]]
        if pairs:
            yield names != name, pairs


class Said:
    """Predictions for one chip or several, side by side, and what simple ratios say."""

    def __init__(self) -> None:
        self.which: list[int] = []
        self.columns: dict[str, list[float]] = {name: [] for name in ("observed", "said", "low", "high")}
        self.simple: dict[str, list[float]] = {}

    def add(self, which: Sequence[int], **values: FloatArray) -> None:
        self.which += which
        for name, column in values.items():
            self.columns[name] += column.tolist()

    def row(self, protocol: str, device: str) -> dict[str, Any]:
        seen, said, low, high = (np.array(self.columns[name]) for name in ("observed", "said", "low", "high"))
        errors = {name: round(100 * float(np.mean(values)), 1) for name, values in self.simple.items()}
        width = {"median_band_high_over_low": round(float(np.median(high / low)), 2), "baselines": errors}
        return {"protocol": protocol, "device": device, **scores(seen, said, low, high, self.which), **width}


def predicted(table: Table, protocol: str, chip: int) -> Said:
    jobs, rates, found = table.known(chip), table.rates[:, chip], Said()
    for kept, tasks in splits(table, protocol):
        fit = fit_ratios(jobs.where(kept), rates[kept])
        for wanted, seen in tasks:
            more = (jobs.where(np.array(seen)), rates[seen]) if seen else (None, None)
            said, expected = predict_ratios(fit, jobs.where(np.array(wanted)), *more)
            low, high = expected.interval(0.9)
            which = [row * len(table.chips) + chip for row in wanted]
            found.add(which, observed=rates[wanted], said=said, low=said * low, high=said * high)
            for name, values in baselines(table, chip, kept, wanted, seen).items():
                errors = np.abs(np.array(values) / rates[wanted] - 1)
                found.simple.setdefault(name, []).extend(errors.tolist())
    return found


def measure(table: Table, protocol: str) -> Iterator[dict[str, Any]]:
    """A row for each chip, and one for all of them; none where no job type ran in two gangs."""
    together = Said()
    for chip, name in enumerate(table.chips):
        found = predicted(table, protocol, chip)
        if not found.which:
            return
        yield {**found.row(protocol, name), **floor(table, protocol, found)}
        together.add(found.which, **{key: np.array(column) for key, column in found.columns.items()})
        for simple, errors in found.simple.items():
            together.simple.setdefault(simple.partition("_over_")[0], []).extend(errors)
    yield together.row(protocol, "all")


def baselines(
    table: Table, chip: int, kept: NDArray[np.bool_], wanted: Sequence[int], seen: Sequence[int]
) -> dict[str, list[float]]:
    rates = table.rates
    others = [at for at in range(len(table.chips)) if at != chip]
    found = {
        f"one_ratio_over_{table.chips[at]}": (
            rates[wanted, at] * np.median(rates[kept, chip] / rates[kept, at])
        ).tolist()
        for at in others
    }
    mean = np.exp(np.log(rates[:, others]).mean(axis=1))
    families = np.array(table.families)
    like = [kept & (families == families[row]) for row in wanted]
    like = [rows if rows.any() else kept for rows in like]
    found["family_ratio"] = [
        float(mean[row] * np.median(rates[r, chip] / mean[r])) for row, r in zip(wanted, like, strict=True)
    ]
    if seen:
        found["own_ratio"] = [float(mean[row] * rates[seen[0], chip] / mean[seen[0]]) for row in wanted]
    return found


def floor(table: Table, protocol: str, found: Said) -> dict[str, float]:
    """Of predictions without the family: what is left once each family's factor is put right in hindsight."""
    if protocol != "leave-family-out":
        return {}
    off = np.log(np.array(found.columns["observed"]) / np.array(found.columns["said"]))
    families = np.array(table.families)[np.array(found.which) // len(table.chips)]
    factors = {name: float(np.median(off[families == name])) for name in set(families)}
    right = off - np.array([factors[name] for name in families])
    return {
        "floor_percent": round(100 * float(np.abs(np.exp(-right) - 1).mean()), 1),
        "family_sd": round(float(np.std(list(factors.values()), ddof=1)), 3),
    }


def line(row: Mapping[str, Any]) -> str:
    low, high = row["coverage_interval_percent"]
    errors = " ".join(f"{row[name]:6.1f}" for name in ("mape_percent", "median_error_percent", "p90_error_percent"))
    text = f"{row['protocol']:34} {row['device']:8} {row['n']:3} {errors}"
    text += f"  {row['coverage_90_percent']:5.1f} ({low:3.0f} to {high:3.0f})         "
    text += ", ".join(f"{name} {value:.0f}" for name, value in row["baselines"].items())
    if "family_sd" in row:
        text += f"; floor {row['floor_percent']}, families differ by {row['family_sd']}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--throughputs", type=Path, required=True, help="columns as in Gavel's published table")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    try:
        table = Table(given.throughputs)
    except DualtrackError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    rows = [row for protocol in PROTOCOLS for row in measure(table, protocol)]
    means = {row["protocol"]: row["mape_percent"] for row in rows if row["device"] == "all"}
    if given.output == "json":
        print(json.dumps(document(rows, mean_mape_percent=means), indent=1))
        return
    print("protocol                           device    n   MAPE  median    p90  covered (95 % interval)  baselines")
    for row in rows:
        print(line(row))
    print("mean error: " + ", ".join(f"{name} {value:.1f} %" for name, value in means.items()))


if __name__ == "__main__":
    main()
