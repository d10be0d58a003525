"""What measurements teach a store, and how well each would have been foreseen: from a model alone, and from those
before it in its cell.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct, structs

from scheduler.model.accelerators import Provenance
from scheduler.model.rates import Cell, Metric, Observation
from scheduler.profiles.calibration import Run, cut, run_of, window_medians
from scheduler.profiles.hierarchy import fit_effects, predict
from scheduler.profiles.store import Store
from scheduler.profiles.table import Rate

__all__ = ["CellScore", "Learnt", "Scatter", "cell_at_size", "learn", "scatter"]


WARM_UP, WINDOW = 3, 5
"""Steps: compiling and tuning, and how many a median is taken of."""

NEW_CHIP = 0.25
"""Log units by which models are wrong from one accelerator to the next, at least, while few were seen: without it 90 %
intervals of published fits held 66 to 69 % from three device types."""

UNTOLD_SD = 0.2
"""Log units by which two publications of one configuration differ, in settings that they do not tell."""


class CellScore(Struct, frozen=True, kw_only=True):
    """Of one cell: observations, those of them that a model or the store foresaw, mean absolute errors in per cent and
    shares of values within the 90 % band. None where nothing was foreseen."""

    cell: Cell
    n: int
    foreseen_before: int
    foreseen_after: int
    error_before: float | None
    error_after: float | None
    covered_before: float | None
    covered_after: float | None


class Scatter(Struct, frozen=True, kw_only=True):
    """Of one metric: log units by which figures differ from the models' between `accelerators`, `jobs`, `cells` and
    within a cell; how many of each were seen; and how far off, nine times in ten, a figure of a new accelerator may be
    (as factors)."""

    metric: Metric
    accelerators: float
    jobs: float
    cells: float
    within: float
    seen: tuple[int, int, int]
    low: float
    high: float


class Learnt(Struct, frozen=True):
    """The store after all observations, and the score of each cell in order of cells."""

    store: Store
    scores: tuple[CellScore, ...]


def cell_at_size(seen: Observation, *, predicted: bool) -> Cell:
    """The cell that an observation belongs to: where a model predicts it, whatever its size, for what is learnt is the
    factor between; else only with observations of the same size, which the family's name then tells."""
    if predicted:
        return seen.cell
    sizes = (("x", seen.count), ("b", seen.batch), ("in", seen.seq_in), ("out", seen.seq_out))
    told = "-".join(f"{name}{size:g}" for name, size in sizes if size)
    return structs.replace(seen.cell, family=f"{seen.cell.family}@{told}"[:64])


def learn(observations: Sequence[Observation], predicted: Sequence[Rate | None], store: Store) -> Learnt:
    """Observe one after the other, each foreseen first by its prediction and by the store as it then is. Steps of one
    run count as one: its first `WARM_UP` are dropped, the rest summed up by medians of windows.

    An order of sizes is none of time, so drift is not watched for.
    """
    found: dict[Cell, list[tuple[float, Rate | None, Rate | None]]] = {}
    for seen, said, run in _runs(observations, predicted):
        cell = cell_at_size(seen, predicted=said is not None)
        entry = store.known.get(cell)
        after = store.rate(cell, said) if said is not None or entry is None or not entry.relative else None
        found.setdefault(cell, []).append((math.exp(run.log_rate), said, after))
        observed = store.observe(cell, run, said, seen.source, provenance=seen.provenance, watch=False)
        store = observed.store
    return Learnt(store, tuple(_score(cell, found[cell]) for cell in sorted(found)))


def scatter(observations: Sequence[Observation], predicted: Sequence[Rate | None]) -> tuple[Scatter, ...]:
    """What models are wrong by, and where, of each metric of which two cells and more were foreseen. Few accelerators
    tell little of what the next differs by: their scatter has a floor, and its band is Student's."""
    rows: dict[Metric, list[tuple[Cell, float]]] = {}
    for seen, said in zip(observations, predicted, strict=True):
        if said is not None:
            rows.setdefault(seen.cell.metric, []).append((seen.cell, math.log(seen.value / said.value)))
    made = (_scatter(metric, rows[metric]) for metric in sorted(rows))
    return tuple(one for one in made if one is not None)


def _scatter(metric: Metric, rows: Sequence[tuple[Cell, float]]) -> Scatter | None:
    names = [(cell.accelerator, cell.family, str(cell)) for cell, _ in rows]
    places = [{name: at for at, name in enumerate(sorted(set(column)))} for column in zip(*names, strict=True)]
    if len(places[-1]) < 2:
        return None
    groups = np.array([[known[name] for known, name in zip(places, row, strict=True)] for row in names])
    residuals = cut(np.array([residual for _, residual in rows]))
    effects = fit_effects(residuals, groups, floors=(NEW_CHIP, 0.0, 0.0))
    low, high = predict(effects, np.full((1, 3), -1)).interval()
    chips, jobs, cells = (float(scale) for scale in effects.scales)
    return Scatter(
        metric=metric,
        accelerators=chips,
        jobs=jobs,
        cells=cells,
        within=effects.noise,
        seen=(len(places[0]), len(places[1]), len(places[2])),
        low=float(low[0]),
        high=float(high[0]),
    )


def _runs(
    observations: Sequence[Observation], predicted: Sequence[Rate | None]
) -> Iterator[tuple[Observation, Rate | None, Run]]:
    """One of each run, where its first figure stands; a run no longer than the warm-up tells nothing."""
    steps: dict[tuple[str, Cell, float], list[float]] = {}
    for seen in observations:
        if seen.run:
            steps.setdefault((seen.run, seen.cell, seen.batch), []).append(seen.value)
    for seen, said in zip(observations, predicted, strict=True):
        if not seen.run:
            untold = 0.0 if seen.provenance is Provenance.MEASURED else UNTOLD_SD
            yield seen, said, Run(math.log(seen.value), untold)
            continue
        values = steps.pop((seen.run, seen.cell, seen.batch), [])[WARM_UP:]
        run = run_of(window_medians(np.array(values), WINDOW))
        if run is not None:
            yield seen, said, run


def _score(cell: Cell, rows: Sequence[tuple[float, Rate | None, Rate | None]]) -> CellScore:
    before = [(value, said) for value, said, _ in rows if said is not None]
    after = [(value, known) for value, _, known in rows if known is not None]
    return CellScore(
        cell=cell,
        n=len(rows),
        foreseen_before=len(before),
        foreseen_after=len(after),
        error_before=_error(before),
        error_after=_error(after),
        covered_before=_covered(before),
        covered_after=_covered(after),
    )


def _error(pairs: Sequence[tuple[float, Rate]]) -> float | None:
    return float(100 * np.mean([abs(rate.value / value - 1) for value, rate in pairs])) if pairs else None


def _covered(pairs: Sequence[tuple[float, Rate]]) -> float | None:
    return float(np.mean([rate.low <= value <= rate.high for value, rate in pairs])) if pairs else None
