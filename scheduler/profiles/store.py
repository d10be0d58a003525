"""All that is known of rates, cell by cell. A store is a value: an observation makes a new one. How many copies of a
layout there are, and their micro-batch, follow from a job's size and tell no cells apart.

A cell that was never seen is judged by the prediction it is asked against and by its nearest relatives: the same job
and chip under another version, under other software, in another layout, then on other chips; each less certain by what
such changes were seen to do.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from msgspec import Struct, field, structs

from scheduler.model.accelerators import Provenance
from scheduler.model.rates import Cell, CellRate, Stack, layout_parts, layout_text
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

UNTOLD_SHIFT = 0.1
"""Log units that software may differ by where one side does not state it: a fleet mostly runs one."""

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
    filed: CellRate | None = None

    def as_file(self) -> CellRate:
        """The entry as files hold it, as it was read while no run has changed it."""
        if self.filed is not None:
            return self.filed
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
    """The store after a run, and whether the cell has drifted; where it has, its belief starts anew, widened."""

    store: "Store"
    shift: Shift


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
        cell = _settled(cell)
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
        cell = _settled(cell)
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
            filed=None,
        )
        return Observed(self.with_entries([learnt]), drift.shift)

    def with_entries(self, entries: Iterable[Known]) -> "Store":
        """The store with these entries in place of those of the same cells."""
        known, relatives = dict(self.known), dict(self.relatives)
        for entry in entries:
            cell = _settled(entry.cell)
            if cell not in known:
                relatives[_job(cell)] = (*relatives.get(_job(cell), ()), cell)
            known[cell] = entry if cell is entry.cell else structs.replace(entry, cell=cell, filed=None)
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
        """What the nearest relatives say, less certain by what such a change does. Figures with a unit hold for their
        chip and layout only."""
        kin = [(_shift(entry.cell, cell), entry) for entry in self._kin(cell) if entry.relative == relative]
        if not relative:
            kin = [(shift, entry) for shift, entry in kin if _same_but_stack(entry.cell, cell)]
        nearest = min((shift for shift, _ in kin), default=0.0)
        found = [entry.belief for shift, entry in kin if shift <= nearest]
        return widened(combined(found), nearest) if found else None


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
            filed=rate,
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


def _shift(one: Cell, other: Cell) -> float:
    """Log units by which what holds for one cell may be wrong for another of the same job."""
    chip = CHIP_SHIFT if one.accelerator != other.accelerator else 0.0
    layout = LAYOUT_SHIFT if one.layout != other.layout else 0.0
    return math.hypot(chip, layout, _stack_shift(one.stack, other.stack))


def _stack_shift(one: Stack, other: Stack) -> float:
    """What only one of them states contradicts nothing, but may differ."""
    if one == other:
        return 0.0
    pairs = [(getattr(one, part), getattr(other, part)) for part in Stack.__struct_fields__]
    if all(not left or not right or left == right for left, right in pairs):
        return UNTOLD_SHIFT
    left, right = one.framework.partition(" ")[0], other.framework.partition(" ")[0]
    return STACK_SHIFT if left and right and left != right else VERSION_SHIFT


@lru_cache(maxsize=4096)
def _layout(text: str) -> str:
    """Without copies and micro-batch, which follow from the size; a spread over nodes stays as it is written."""
    if text.startswith("spread"):
        return text
    return layout_text({name: size for name, size in layout_parts(text).items() if name not in ("dp", "mb")})


def _settled(cell: Cell) -> Cell:
    layout = _layout(cell.layout)
    return cell if layout == cell.layout else structs.replace(cell, layout=layout)


def _scaled(rate: Rate, predicted: Rate | None) -> Rate:
    """A factor times the prediction, of which it is what was learnt; without one, the figure itself."""
    if predicted is None:
        return rate
    value, low, high = (predicted.value * end for end in (rate.value, rate.low, rate.high))
    return structs.replace(predicted, value=value, low=low, high=high, provenance=rate.provenance)
