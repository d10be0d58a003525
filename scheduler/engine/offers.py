"""Options of waiting jobs, cut out of the problem for the rules: how fast each is, what it takes of each track."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.snapshot import Snapshot
from scheduler.model.jobs import MAX_ROLES
from scheduler.model.rules import Measure
from scheduler.policies import NONE, Problem

__all__ = ["Offers", "cut", "uses_of"]

Int = NDArray[np.int64]
Real = NDArray[np.float64]
Flag = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Offers:
    """Options `option` of the problem, by job: those of `job[i]` are ptr[i]:ptr[i + 1] here, `owner` tells i.

    `speed` is the rate over the job's best. `imported` and `domestic` are devices, `units` the compute units of one, in
    thousandths (of several accelerators the largest).
    """

    job: Int  # [w]
    ptr: Int  # [w + 1]
    option: Int  # [k]
    owner: Int  # [k]
    open: Flag  # [k]
    speed: Real  # [k]
    imported: Int  # [k]
    domestic: Int  # [k]
    imported_units: Int  # [k]
    domestic_units: Int  # [k]

    def amounts(self, measure: Measure) -> tuple[Int, Int]:
        """Imported and domestic, int64[k]: thousandths of devices or of compute units."""
        if measure is Measure.DEVICE_HOURS:
            return 1000 * self.imported, 1000 * self.domestic
        return self.imported_units, self.domestic_units

    def most(self, values: Real, among: Flag | None = None) -> Real:
        """float64[w]: the largest of `values` over each job's options, of those `among`; 0 for a job without any."""
        shown = values if among is None else np.where(among, values, 0.0)
        found = np.zeros(len(self.job))
        some = np.diff(self.ptr) > 0
        if some.any():
            found[some] = np.maximum.reduceat(shown, self.ptr[:-1][some])
        return found


def cut(snapshot: Snapshot, problem: Problem) -> Offers:
    """All options of all waiting jobs of the problem."""
    job = np.flatnonzero(problem.current == NONE)
    count = np.diff(problem.ptr)[job]
    ptr = np.concatenate(([0], np.cumsum(count)))
    option = np.repeat(problem.ptr[job] - ptr[:-1], count) + np.arange(ptr[-1])
    owner = np.repeat(np.arange(len(job)), count)
    imported, domestic, imported_units, domestic_units = _devices(snapshot, problem, option)
    nothing = np.zeros(len(option))
    offers = Offers(
        job=job,
        ptr=ptr,
        option=option,
        owner=owner,
        open=problem.open[option],
        speed=nothing,
        imported=imported,
        domestic=domestic,
        imported_units=imported_units,
        domestic_units=domestic_units,
    )
    rate = problem.rate[option]
    speed = rate / np.maximum(offers.most(rate), 1e-300)[owner]
    return Offers(job, ptr, option, owner, offers.open, speed, imported, domestic, imported_units, domestic_units)


def _devices(snapshot: Snapshot, problem: Problem, option: Int) -> tuple[Int, Int, Int, Int]:
    """Imported and domestic devices, and their compute units. Rows of devices come first among those of an option, one
    for each of its few roles at most."""
    shelf_imported, shelf_units = snapshot.book.shelves()
    found = np.zeros((4, len(option)), dtype=np.int64)
    first, past = problem.use_ptr[option], problem.use_ptr[option + 1]
    place = np.arange(len(option))
    for role in range(MAX_ROLES):
        place = place[first[place] + role < past[place]]
        row = problem.use_row[first[place] + role]
        device = row < problem.capacity_rows
        place, row = place[device], row[device]
        if not len(place):
            break
        amount, foreign = problem.use_amount[first[place] + role], shelf_imported[row]
        found[0, place] += np.where(foreign, amount, 0)
        found[1, place] += np.where(foreign, 0, amount)
        found[2, place] += np.where(foreign, amount * shelf_units[row], 0)
        found[3, place] += np.where(foreign, 0, amount * shelf_units[row])
    return found[0], found[1], found[2], found[3]


def uses_of(problem: Problem, options: Int) -> tuple[Int, Int]:
    """(use, position among `options`) of everything that the options take."""
    first = problem.use_ptr[options]
    count = problem.use_ptr[options + 1] - first
    past = np.cumsum(count)
    use = np.repeat(first - past + count, count) + np.arange(past[-1] if len(past) else 0)
    return use, np.repeat(np.arange(len(options)), count)
