"""Jobs and their options as columns, kept by each event, so that a cycle gathers what it needs without a Python loop.

Options of a job are consecutive rows; so are the (row, amount) pairs that an option uses. Rows of jobs that ended stay
until more than half are dead; then everything is laid anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.options import OptionRow
from scheduler.model.lifecycle import JobState
from scheduler.model.tenants import JobClass

__all__ = ["CLASSES", "Columns", "Gathered", "STATES"]

STATES: Final = tuple(JobState)
CLASSES: Final = tuple(JobClass)
NONE: Final = -1

REMEMBERED_BLOCKS = 8192
"""Rows of options that many jobs share, kept as tuples."""

_JOB_COLUMNS = {
    "state": np.int8,
    "job_class": np.int8,
    "priority": np.int64,
    "owner": np.int64,  # a number for the tenant and user who submitted it
    "submitted_us": np.int64,
    "not_before_us": np.int64,
    "started_us": np.int64,  # of the present attempt, FOREVER_US while it has not started
    "gated": np.bool_,  # has dependencies, or belongs to an array with a limit
    "elastic": np.bool_,
    "first": np.int64,  # of its options
    "count": np.int64,
    "current": np.int64,  # option held, counted from `first`, or NONE
    "reason": np.int64,  # key of the reason last given, see engine.reasons
    "tenant": np.int64,  # in the numbering of the tree
    "service": np.bool_,
    "moves": np.int8,  # how far a running job may go: see engine.progress
    "prefer": np.int8,  # place in model.jobs.Prefer
    "deadline_us": np.int64,  # FOREVER_US: none
    "amount": np.float64,  # of work declared, infinite where unknown
    "done": np.float64,  # of it, when last told
    "saved": np.float64,
    "seen_us": np.int64,  # when `done` was true
    "pace": np.float64,  # units per second of the running attempt, 0 while none runs
    "declared": np.bool_,  # says what its checkpoints cost
    "overhead_us": np.int64,  # of saving and restarting
    "save_us": np.int64,
    "attained_s": np.float64,  # device-seconds of attempts that have ended
    "counted": np.int64,  # how many those are
    "held_us": np.int64,  # since when it holds devices, FOREVER_US while it holds none
}
_OPTION_COLUMNS = {
    "rate": np.float64,
    "rank": np.int64,
    "kind": np.int64,  # accelerator of the first role, in the numbering of the fleet
    "devices": np.int64,  # of the first role
    "after_us": np.int64,
    "absolute": np.bool_,  # the rate is in the job's own unit of work, not only a ratio
    "mix": np.int64,  # equal for options on the same accelerators, role by role
    "family": np.int64,  # equal for options on the same families
    "allowed": np.bool_,  # False: the job has progress elsewhere and may not move here
    "use_first": np.int64,
    "use_count": np.int64,
}
_USE_COLUMNS = {"row": np.int64, "amount": np.int64}


class _Table:
    """Growing arrays of equal length, by column name.

    Rows are taken as tuples, one value per column in the order of the columns, and written column by column when
    somebody looks: an array is slow to write to one value at a time, and a submission brings fifty of them.
    """

    def __init__(self, columns: Mapping[str, type]) -> None:
        self.size = 0
        self._written = 0
        self._pending: list[tuple[object, ...]] = []
        self._array: dict[str, NDArray[Any]] = {name: np.zeros(64, dtype=kind) for name, kind in columns.items()}
        self._at = {name: column.data for name, column in self._array.items()}

    def fork(self) -> Self:
        """An independent copy."""
        copy = type(self)({})
        copy.size, copy._written, copy._pending = self.size, self._written, self._pending.copy()
        copy._array = {name: column.copy() for name, column in self._array.items()}
        copy._at = {name: column.data for name, column in copy._array.items()}
        return copy

    @property
    def array(self) -> dict[str, NDArray[Any]]:
        """Each column, with spare room behind its `size` values."""
        if self._pending:
            self._write()
        return self._array

    @property
    def at(self) -> dict[str, "memoryview[Any]"]:
        """The same for one value at a time, which is faster by half."""
        if self._pending:
            self._write()
        return self._at

    def add(self, rows: Iterable[tuple[object, ...]]) -> int:
        """Returns the number of the first."""
        first = self.size
        self._pending.extend(rows)
        self.size = self._written + len(self._pending)
        return first

    def _write(self) -> None:
        first, rows = self._written, self._pending
        for name, values in zip(self._array, zip(*rows, strict=True), strict=True):
            column = self._array[name]
            if self.size > len(column):
                self._array[name] = np.zeros(max(2 * len(column), self.size), dtype=column.dtype)
                self._array[name][:first] = column[:first]
                self._at[name] = self._array[name].data
            self._array[name][first : self.size] = values
        self._written, self._pending = self.size, []


@dataclass(frozen=True, slots=True)
class Gathered:
    """Options of some jobs in compressed rows, as `policies.Problem` wants them. `option` is the global number."""

    ptr: NDArray[np.int64]
    option: NDArray[np.int64]
    use_ptr: NDArray[np.int64]
    use_row: NDArray[np.int64]
    use_amount: NDArray[np.int64]


class Columns:
    def __init__(self) -> None:
        self.jobs = _Table(_JOB_COLUMNS)
        self.options = _Table(_OPTION_COLUMNS)
        self.uses = _Table(_USE_COLUMNS)
        self.dead = 0
        self._mixes: dict[tuple[str, ...], int] = {}
        self._blocks: dict[int, list[tuple[object, ...]]] = {}

    def fork(self) -> Self:
        """An independent copy."""
        copy = type(self)()
        copy.jobs, copy.options, copy.uses = self.jobs.fork(), self.options.fork(), self.uses.fork()
        copy.dead, copy._mixes, copy._blocks = self.dead, self._mixes.copy(), self._blocks.copy()
        return copy

    def job(self, name: str) -> NDArray[Any]:
        return self.jobs.array[name][: self.jobs.size]

    def option(self, name: str) -> NDArray[Any]:
        return self.options.array[name][: self.options.size]

    def put(self, number: int, values: Mapping[str, object]) -> None:
        """Write values of one job, by column."""
        at = self.jobs.at
        for name, value in values.items():
            at[name][number] = value

    def enter(self, values: Mapping[str, object]) -> int:
        """Add a job: a value for each column. Returns its number here."""
        return self.jobs.add((tuple(map(values.__getitem__, _JOB_COLUMNS)),))

    def lay(
        self,
        rows: Sequence[OptionRow],
        kinds: Mapping[str, int],
        families: Mapping[str, str] | None = None,
        alike: int = 0,
    ) -> dict[str, object]:
        """Append the options of a job, and return where they are: values of its columns. `kinds` numbers the
        accelerators, `families` names the family of each. Jobs with the same number `alike`, not 0, differ in what
        limits them and nothing else.
        """
        block = self._blocks.get(alike)
        if block is None:
            block = self._block(rows, kinds, families or {})
            if len(self._blocks) >= REMEMBERED_BLOCKS:
                self._blocks.clear()
            if alike:
                self._blocks[alike] = block
        past = self.uses.size
        laid = []
        for row, values in zip(rows, block, strict=True):
            laid.append((*values, past, len(row.uses)))
            past += len(row.uses)
        for row in rows:
            self.uses.add(row.uses)
        return {"first": self.options.add(laid), "count": len(rows), "current": NONE}

    def _block(
        self, rows: Sequence[OptionRow], kinds: Mapping[str, int], families: Mapping[str, str]
    ) -> list[tuple[object, ...]]:
        """Columns of the options that do not depend on who asks: all but the last two, in their order."""
        found: list[tuple[object, ...]] = []
        for row in rows:
            option, first_role = row.option, row.option.chosen[0]
            mix = tuple(chosen.accelerator for chosen in option.chosen)
            kin = tuple(families.get(name, name) for name in mix)
            found.append(
                (
                    option.weighed, option.rank, kinds[first_role.accelerator], first_role.count,
                    option.after_wait_us, option.rate.absolute, self._mix(mix), self._mix(kin), True,
                )
            )  # fmt: skip
        return found

    def _mix(self, names: tuple[str, ...]) -> int:
        return self._mixes.setdefault(names, len(self._mixes))

    def bury(self, number: int) -> None:
        """The job has ended: its options count as dead."""
        self.dead += int(self.job("count")[number])
        self.job("count")[number] = 0

    @property
    def wasteful(self) -> bool:
        return self.dead > 4096 and 2 * self.dead > self.options.size

    def in_state(self, *states: JobState) -> NDArray[np.int64]:
        """Numbers of the jobs in one of `states`, ascending."""
        chosen: NDArray[np.bool_] = _members(states)[self.job("state")]
        return chosen.nonzero()[0]

    def gather(self, numbers: NDArray[np.int64]) -> Gathered:
        ptr, option = _spans(self.job("first")[numbers], self.job("count")[numbers])
        use_ptr, use = _spans(self.option("use_first")[option], self.option("use_count")[option])
        return Gathered(ptr, option, use_ptr, self.uses.array["row"][use], self.uses.array["amount"][use])

    def uses_of(self, options: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and amounts of everything that the options, by their global numbers, take."""
        _, use = _spans(self.option("use_first")[options], self.option("use_count")[options])
        return self.uses.array["row"][use], self.uses.array["amount"][use]


@cache
def _members(states: tuple[JobState, ...]) -> NDArray[np.bool_]:
    """bool[states]: looking a whole column up in it costs one pass, however many states are asked for."""
    return np.array([state in states for state in STATES], dtype=np.bool_)


def _spans(first: NDArray[np.int64], count: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offsets, and the concatenation of the ranges `first[i]:first[i] + count[i]`."""
    ptr = np.zeros(len(first) + 1, dtype=np.int64)
    np.cumsum(count, out=ptr[1:])
    return ptr, np.repeat(first - ptr[:-1], count) + np.arange(ptr[-1], dtype=np.int64)
