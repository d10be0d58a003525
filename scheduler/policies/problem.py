"""The problem that every policy solves: one option or none for each job, within rows of capacity and quota.

Policies see arrays and nothing else. Jobs are numbered 0..n-1 here, options 0..m-1, rows 0..r-1; options of job i are
`ptr[i]:ptr[i+1]`, what option o takes is `use_row[use_ptr[o]:use_ptr[o+1]]` with the matching `use_amount`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from scheduler.model.policy import Policy as Settings

__all__ = ["Certificate", "Choice", "NONE", "Policy", "Problem", "Standing", "entries_of", "part_of", "spans"]

NONE = -1

Int = NDArray[np.int64]
Real = NDArray[np.float64]
Flag = NDArray[np.bool_]


def _no_ints() -> Int:
    return np.zeros(0, dtype=np.int64)


def _no_reals() -> Real:
    return np.zeros(0)


@dataclass(frozen=True, slots=True)
class Standing:
    """Prices of the last whole solution, float64[r] by tier, to decide about newcomers alone.

    `new` is bool[n]: who is to be decided about. Rows that are `kept`, bool[r], are closed to them.
    """

    prices: Mapping[int, Real]
    new: Flag
    kept: Flag


@dataclass(frozen=True, slots=True)
class Problem:
    """One cycle's problem. Live jobs (with a current option) and waiting ones stand side by side.

    `pinned` jobs keep their current option. `displaceable` ones may lose it to a job that goes first. `elastic` ones
    may change their count within the accelerator and cell of the current option, once `resizable`.

    The fields from `left_s` on weigh jobs and options; policies that walk in an order are not given them.

    `adders` is what rules add to the cost of waiting jobs' options, as a part of the job's own best speed: an option of
    speed s (its rate over the job's best) is worth s minus its adder. `rank` has it in already.
    """

    number: Int  # [n] of acceptance: the last tie-break
    job_class: Int  # [n] 0 production, 1 standard, 2 opportunistic
    priority: Int  # [n]
    submitted_us: Int  # [n]
    current: Int  # [n] option held, or NONE
    pinned: Flag  # [n]
    displaceable: Flag  # [n]
    elastic: Flag  # [n]
    resizable: Flag  # [n]
    ptr: Int  # [n + 1]
    rate: Real  # [m] work units per second; comparable between options of one job only
    rank: Int  # [m] of the job's own preference, 0 is best
    open: Flag  # [m] False: not allowed at this moment, or masked because it found no room
    use_ptr: Int  # [m + 1]
    use_row: Int  # [nnz]
    use_amount: Int  # [nnz]
    available: Int  # [r] what all jobs of the problem together may take
    capacity_rows: int  # rows below this number are devices, those from it on are limits of tenants and users
    resize_gain: float
    prices: Mapping[int, float]  # by row, of the last cycle
    claim: Int = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # [n] `quota.Claim`; empty: by class
    turn: Int = field(default_factory=_no_ints)  # [n] of who waits to borrow: least past use first; empty: none
    adders: Real = field(default_factory=lambda: np.zeros(0))  # [m] price of rules, see below; empty: none
    left_s: Real = field(default_factory=_no_reals)  # [n] seconds of work on its best option; infinite: unknown
    whole_s: Real = field(default_factory=_no_reals)  # [n] of all its work on its best option; infinite: unknown
    attained_s: Real = field(default_factory=_no_reals)  # [n] device-seconds received so far
    age_s: Real = field(default_factory=_no_reals)  # [n] since submission
    move_s: Real = field(default_factory=_no_reals)  # [n] lost if the running attempt stops now; 0 if it holds nothing
    deadline_s: Real = field(default_factory=_no_reals)  # [n] from now; infinite: none
    h20: Real = field(default_factory=_no_reals)  # [m] H20-equivalents
    cost: Real = field(default_factory=_no_reals)  # [m] fen per hour; compute units where no price is known
    tenant: Int = field(default_factory=_no_ints)  # [n]
    tenant_parent: Int = field(default_factory=_no_ints)  # [t] NONE for the root
    tenant_weight: Real = field(default_factory=_no_reals)  # [t]
    service: Flag = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))  # [n]
    prefer: Int = field(default_factory=_no_ints)  # [n] place in `model.jobs.Prefer`
    resumes: Flag = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))  # [n] keeps its progress when stopped
    ran_s: Real = field(default_factory=_no_reals)  # [n] of the running attempt; 0 if none runs
    settings: Settings = field(default_factory=Settings)  # the operator's
    carried: Mapping[str, float] = field(default_factory=dict)  # what the last choice left for this one
    standing: Standing | None = None  # None: decide about everybody

    @property
    def right(self) -> Int:
        """int64[n]: the lower, the better the right to devices; nobody may be displaced for a job of a worse one."""
        return self.claim if len(self.claim) else self.job_class


def part_of(problem: Problem, jobs: Int) -> Problem:
    """The problem over `jobs` alone, int64[k] ascending: the rows are the same, and so is what is available."""
    ptr, option = spans(problem.ptr[jobs], problem.ptr[jobs + 1] - problem.ptr[jobs])
    use_ptr, use = spans(problem.use_ptr[option], problem.use_ptr[option + 1] - problem.use_ptr[option])
    held = problem.current[jobs]
    of_jobs = {name: getattr(problem, name)[jobs] for name in _OF_JOBS if len(getattr(problem, name))}
    of_options = {name: getattr(problem, name)[option] for name in _OF_OPTIONS if len(getattr(problem, name))}
    return replace(
        problem,
        **of_jobs,
        **of_options,
        current=np.where(held == NONE, NONE, held - problem.ptr[jobs] + ptr[:-1]),
        ptr=ptr,
        use_ptr=use_ptr,
        use_row=problem.use_row[use],
        use_amount=problem.use_amount[use],
    )


_OF_JOBS = (
    "number", "job_class", "priority", "submitted_us", "pinned", "displaceable", "elastic", "resizable", "claim",
    "turn", "left_s", "whole_s", "attained_s", "age_s", "move_s", "deadline_s", "tenant", "service", "prefer",
    "resumes", "ran_s",
)  # fmt: skip
_OF_OPTIONS = ("rate", "rank", "open", "adders", "h20", "cost")


def entries_of(problem: Problem, option: Int) -> tuple[Int, Int, Int]:
    """Offsets, rows and amounts of what each of `option` takes, in compressed rows."""
    ptr, entry = spans(problem.use_ptr[option], problem.use_ptr[option + 1] - problem.use_ptr[option])
    return ptr, problem.use_row[entry], problem.use_amount[entry]


def spans(first: Int, count: Int) -> tuple[Int, Int]:
    """Offsets, and the concatenation of the ranges first[i]:first[i] + count[i]."""
    ptr = np.concatenate(([0], np.cumsum(count))).astype(np.int64)
    return ptr, np.repeat(first - ptr[:-1], count) + np.arange(ptr[-1], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Certificate:
    """No choice is worth more than `bound`, tier by tier, given what the tiers before were given; this one is worth
    `value`; both with what is pinned. For newcomers alone the two are sums over them.

    `prices`, float64[r] by tier, prove it; `left` is what the choice leaves of each row, int64[r]; rows that are
    `kept`, bool[r], wait for somebody who has waited too long. Options that take more of a row than a tier could have
    are left out of the bound; `dense`, float64[r], is the most that a unit of the row is worth to one of them, and
    `room`, int64[r], the most that such a tier could have: what they may gain if the row grows.
    """

    value: float
    bound: float
    prices: Mapping[int, Real]
    left: Int
    kept: Flag
    dense: Real = field(default_factory=_no_reals)
    room: Int = field(default_factory=_no_ints)

    @property
    def gap(self) -> float:
        """The part of the bound that may be missing."""
        return max(0.0, self.bound - self.value) / self.bound if self.bound > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """`option` is int64[n], NONE for no option; `order` the sequence in which waiting jobs are to be placed.

    `blocked_by` is int64[n]: for a job without an option the row that stood in the way of its best open one, NONE where
    it was not looked at because an earlier job has first claim. `carry` is `carried` of the next cycle. `worth` is
    float64[m], what each option was weighed at, in the unit of the prices; empty for policies that weigh none, which
    have no `certificate` either.
    """

    option: Int
    order: Int
    blocked_by: Int
    prices: Mapping[int, float]
    carry: Mapping[str, float] = field(default_factory=dict)
    worth: Real = field(default_factory=lambda: np.zeros(0))
    certificate: Certificate | None = None


Policy = Callable[[Problem], Choice]
"""Chooses for every job within `available`; equal problems give equal choices."""
