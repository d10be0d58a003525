"""All that is known of rates, cell by cell. A store is a value: an observation makes a new one.

A cell that was never seen is judged by the prediction it is asked against and by its nearest relatives: the same job
and chip under another version, under other software, in another layout, then on other chips; each less certain by what
such changes were seen to do.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field, structs

from scheduler.model.accelerators import Provenance
from scheduler.model.rates import Cell, CellRate, Stack
from scheduler.profiles.calibration import (
    LEAST_SD,
    RUN_NOISE,
    STACK_SHIFT,
    Belief,
    Run,
    believed,
    combined,
    updated,
    widened,
)
from scheduler.profiles.drift import Drift, Shift
from scheduler.profiles.table import Rate

__all__ = ["Known", "Observed", "Store", "store_of"]

OF_THE_CELL = 0.7
"""Of the variance of a prediction's error, what a cell has at every size; the rest changes from one size to the next.
Published serving and training points: 0.6 to 0.8."""

VERSION_SHIFT = 0.2
"""Log units that a rate may move with the version of one framework (published serving points: 0.08 to 0.19)."""

CHIP_SHIFT = 0.2
"""Log units by which what a model gets wrong of a job on one chip may be another on the next."""

LAYOUT_SHIFT = 0.2
"""Log units by which a model that is right for one layout may be wrong for another of the same job on the same chip."""


class Known(Struct, frozen=True, kw_only=True):
    """One cell's entry. `relative`: the belief is of observed over predicted, not of the figure itself."""

    cell: Cell
    belief: Belief
    relative: bool = False
    provenance: Provenance = Provenance.MODELLED
    source: str = ""
    version: int = 1
    drift: Drift = Drift()

    def as_file(self) -> CellRate:
        """The entry as files hold it."""
        rate = self.belief.rate()
        return CellRate(
            cell=self.cell,
            value=rate.value,
            low=rate.low,
            high=rate.high,
            runs=self.belief.runs,
            noise=self.belief.noise,
            relative=self.relative,
            provenance=self.provenance,
            source=self.source,
            version=self.version,
        )


class Observed(Struct, frozen=True):
    """The store after a run, and whether the cell has drifted; where it has, its belief starts anew, widened. `off`:
    standard deviations that the run was faster than believed, for the drift of its node; 0 of a cell's first."""

    store: "Store"
    shift: Shift
    off: float = 0.0


class Store(Struct, frozen=True):
    """Cells with what is known of each; iterates in order of cells. Made by `store_of` and by observing."""

    known: Mapping[Cell, Known] = field(default_factory=dict)
    relatives: Mapping[Cell, tuple[Cell, ...]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Known]:
        return (self.known[cell] for cell in sorted(self.known))

    def __len__(self) -> int:
        return len(self.known)

    def rate(self, cell: Cell, predicted: Rate | None = None) -> Rate | None:
        """The cell's figure with its 90 % band. `predicted` is a model's figure for the very size that is asked for.

        Entries relative to predictions need one. None where neither an entry nor a prediction tells anything.
        """
        if predicted is not None and predicted.low <= 0:
            return predicted  # what cannot be has no factor
        entry = self.known.get(cell)
        if entry is not None and (predicted is not None or not entry.relative):
            return _scaled(entry.belief.rate(entry.provenance), predicted if entry.relative else None)
        related = self._related(cell, relative=predicted is not None)
        if predicted is None:
            return related.rate(Provenance.DERIVED) if related else None
        if related is None:
            return predicted
        return _scaled(combined((_of_prediction(predicted), related)).rate(Provenance.DERIVED), predicted)

    def observe(
        self,
        cell: Cell,
        run: Run,
        predicted: Rate | None = None,
        source: str = "",
        *,
        provenance: Provenance = Provenance.MEASURED,
        watch: bool = True,
    ) -> Observed:
        """What a run showed of a cell. With a prediction for the same size, what is learnt is the factor between.

        `watch` for drift where runs come in the order of time. A prediction of 0 tells nothing and is left out.
        ValueError where the cell is known relative to predictions and none is given.
        """
        predicted = predicted if predicted is not None and predicted.low > 0 else None
        entry = self.known.get(cell)
        if entry is None:
            begun = structs.replace(self._begun(cell, run, predicted), provenance=provenance, source=source)
            return Observed(self.with_entries([begun]), Shift.NONE)
        fresh = _less_prediction(cell, run, predicted, entry.relative)
        above = (fresh.log_rate - entry.belief.mean) / entry.belief.spread
        off = -above if cell.metric.is_time else above
        drift = entry.drift.after(off) if entry.belief.runs and watch else entry.drift
        drifted = drift.shift is not Shift.NONE
        learnt = structs.replace(
            entry,
            belief=updated(widened(entry.belief) if drifted else entry.belief, fresh),
            provenance=provenance,
            source=source or entry.source,
            drift=Drift() if drifted else drift,
            version=entry.version + drifted,
        )
        return Observed(self.with_entries([learnt]), drift.shift, off)

    def with_entries(self, entries: Iterable[Known]) -> "Store":
        """The store with these entries in place of those of the same cells."""
        known, relatives = dict(self.known), dict(self.relatives)
        for entry in entries:
            if entry.cell not in known:
                job = _job(entry.cell)
                relatives[job] = (*relatives.get(job, ()), entry.cell)
            known[entry.cell] = entry
        return Store(known, relatives)

    def _begun(self, cell: Cell, run: Run, predicted: Rate | None) -> Known:
        """An entry after its first run: what the prediction and relatives say, moved by the run; of a stranger, the run
        itself. Where only the software is new, it is a new version."""
        relative = predicted is not None
        fresh = _less_prediction(cell, run, predicted, relative)
        related = self._related(cell, relative)
        grounds = [_of_prediction(predicted)] if predicted else []
        grounds += [related] if related else []
        noise = math.hypot(RUN_NOISE, fresh.sd)
        begun = Belief(fresh.log_rate, noise, noise, 1)
        if grounds:
            begun = updated(structs.replace(combined(grounds), runs=0), fresh)
        versions = [other.version for other in self._kin(cell) if _same_but_stack(other.cell, cell)]
        return Known(
            cell=cell,
            belief=begun,
            relative=relative,
            version=max(versions, default=0) + 1,
        )

    def _kin(self, cell: Cell) -> list[Known]:
        return [self.known[other] for other in self.relatives.get(_job(cell), ()) if other != cell]

    def _related(self, cell: Cell, relative: bool) -> Belief | None:
        """What the nearest relatives say, less certain by what such a change does: by far the nearest kind of them."""
        others = [entry for entry in self._kin(cell) if entry.relative == relative]
        here = [entry for entry in others if entry.cell.accelerator == cell.accelerator]
        version = [e.belief for e in here if _same_but_stack(e.cell, cell) and _same_framework(e.cell, cell)]
        software = [e.belief for e in here if _same_but_stack(e.cell, cell)]
        layouts = [e.belief for e in here if e.cell.stack == cell.stack]
        chips = [e.belief for e in others if _same_framework(e.cell, cell)]
        rungs = [(version, VERSION_SHIFT), (software, STACK_SHIFT)]
        rungs += [(layouts, LAYOUT_SHIFT), (chips, CHIP_SHIFT)] if relative else []
        return next((widened(combined(found), shift) for found, shift in rungs if found), None)


def store_of(rates: Iterable[CellRate]) -> Store:
    """The store that files hold."""
    entries = (
        Known(
            cell=rate.cell,
            belief=believed(rate.value, rate.low, rate.high, rate.noise, rate.runs),
            relative=rate.relative,
            provenance=rate.provenance,
            source=rate.source,
            version=rate.version,
        )
        for rate in rates
    )
    return Store().with_entries(entries)


def _job(cell: Cell) -> Cell:
    return structs.replace(cell, accelerator="", stack=Stack(), layout="")


def _of_prediction(predicted: Rate) -> Belief:
    """How far a prediction may be off, by its own band: everywhere in the cell, and from one size to the next."""
    whole = believed(1.0, predicted.low / predicted.value, predicted.high / predicted.value, 0.0).sd
    return Belief(
        0.0, max(whole * math.sqrt(OF_THE_CELL), LEAST_SD), max(whole * math.sqrt(1 - OF_THE_CELL), RUN_NOISE)
    )


def _less_prediction(cell: Cell, run: Run, predicted: Rate | None, relative: bool) -> Run:
    if not relative:
        return run
    if predicted is None:
        problem = f"{cell.family} on {cell.accelerator} is known relative to a prediction, and none is given"
        raise ValueError(problem)
    return Run(run.log_rate - math.log(predicted.value), run.sd)


def _same_but_stack(one: Cell, other: Cell) -> bool:
    return structs.replace(one, stack=other.stack) == other


def _same_framework(one: Cell, other: Cell) -> bool:
    """Whatever the versions."""
    return one.stack.framework.partition(" ")[0] == other.stack.framework.partition(" ")[0]


def _scaled(rate: Rate, predicted: Rate | None) -> Rate:
    """A factor times the prediction, of which it is what was learnt; without one, the figure itself."""
    if predicted is None:
        return rate
    value, low, high = (predicted.value * end for end in (rate.value, rate.low, rate.high))
    return structs.replace(
        predicted, value=value, low=low, high=high, provenance=rate.provenance, learned=predicted.learned * rate.value
    )
