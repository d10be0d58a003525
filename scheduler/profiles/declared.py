"""Whether the ratios that the class table declares hold where the same job was measured on two chips."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct, structs

from scheduler.model.accelerators import Accelerator, Catalog, Provenance, WorkClass
from scheduler.model.rates import Cell, Metric, Stack
from scheduler.profiles.calibration import Belief
from scheduler.profiles.drift import RatioAlarm, ratio_alarm
from scheduler.profiles.store import Known
from scheduler.profiles.table import Rate, relative_rate

__all__ = ["DeclaredAlarm", "declared_alarms"]

CLASSES: Final = {
    Metric.TPOT: WorkClass.DECODE,
    Metric.TTFT: WorkClass.PREFILL,
    Metric.PREFILL_TOKENS: WorkClass.PREFILL,
    Metric.REQUESTS: WorkClass.BATCH_DECODE,
    Metric.OUTPUT_TOKENS: WorkClass.BATCH_DECODE,
}
"""Of what a metric measures; everything else is training."""


class DeclaredAlarm(Struct, frozen=True):
    """`here` over `there` is declared as one ratio and measured as another, for `job` by `work_class`."""

    job: str
    work_class: WorkClass
    here: str
    there: str
    ratio: RatioAlarm


def declared_alarms(entries: Iterable[Known], catalog: Catalog) -> Iterator[DeclaredAlarm]:
    """One for each job that was measured on two chips, at the same size, precision and layout, and each pair of chips
    whose declared ratio the measurements contradict. Entries relative to predictions are left out: what they say is
    how wrong a model is, not the table."""
    measured = [entry for entry in entries if not entry.relative and entry.belief.runs]
    for job, group in itertools.groupby(sorted(measured, key=_job), key=_job):
        for here, there in itertools.combinations(group, 2):
            pair = catalog.get(here.cell.accelerator), catalog.get(there.cell.accelerator)
            work_class = _work_class(here.cell)
            declared = _declared(pair[0], pair[1], work_class)
            if declared is None or here.cell.accelerator == there.cell.accelerator:
                continue
            alarm = ratio_alarm(declared, _speed(here), _speed(there))
            if alarm is not None:
                yield DeclaredAlarm(job.family, work_class, here.cell.accelerator, there.cell.accelerator, alarm)


def _job(entry: Known) -> Cell:
    return structs.replace(entry.cell, accelerator="", stack=Stack())


def _work_class(cell: Cell) -> WorkClass:
    return CLASSES.get(cell.metric, WorkClass.DENSE_TRAINING)


def _speed(entry: Known) -> Belief:
    """Of times the speed is the inverse."""
    belief = entry.belief
    return structs.replace(belief, mean=-belief.mean) if entry.cell.metric.is_time else belief


def _declared(here: Accelerator | None, there: Accelerator | None, work_class: WorkClass) -> Rate | None:
    one, two = (relative_rate(chip, work_class) if chip else None for chip in (here, there))
    if one is None or two is None:
        return None
    return Rate(one.value / two.value, one.low / two.high, one.high / two.low, Provenance.DERIVED, absolute=False)
