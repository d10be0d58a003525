"""Problems as policies see them, from a few words about each job."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scheduler.model.jobs import Prefer
from scheduler.model.policy import Policy
from scheduler.policies import NONE, Choice, Problem

H200, H20, QUOTA = 0, 1, 2
"""Rows: two shelves and a limit."""

HOUR = 3600.0


def problem(jobs: Sequence[Mapping[str, Any]], available: Sequence[int], **more: Any) -> Problem:
    """`jobs` are mappings: `options` a list of {row: amount}, `rate` one for each, and what differs from a waiting
    standard job of tenant 1 with an hour left. `more` are settings, `carried` and `capacity_rows`."""
    ptr, use_ptr, rows, amounts, rates, ranks, opened, worth = [0], [0], [], [], [], [], [], []
    for job in jobs:
        rate = job.get("rate", [1.0] * len(job["options"]))
        order = sorted(range(len(rate)), key=lambda o: -rate[o])
        for place, uses in enumerate(job["options"]):
            rows += sorted(uses)
            amounts += [uses[row] for row in sorted(uses)]
            use_ptr.append(len(rows))
            ranks.append(job.get("rank", [order.index(o) for o in range(len(rate))])[place])
            rates.append(rate[place])
            opened.append(place not in job.get("closed", ()))
            worth.append(job.get("cost", [1.0] * len(rate))[place])
        ptr.append(len(use_ptr) - 1)
    held = [job.get("held", NONE) for job in jobs]
    flags = {key: [bool(job.get(key)) for job in jobs] for key in ("elastic", "resizable", "service", "pinned")}
    ints = {
        "number": [job.get("number", i) for i, job in enumerate(jobs)],
        "job_class": [job.get("job_class", 1) for job in jobs],
        "priority": [job.get("priority", 500) for job in jobs],
        "submitted_us": [0] * len(jobs),
        "current": [NONE if h == NONE else ptr[i] + h for i, h in enumerate(held)],
        "tenant": [job.get("tenant", 1) for job in jobs],
        "tenant_parent": [NONE, 0, 0],
        "prefer": [list(Prefer).index(job.get("prefer", Prefer.BALANCED)) for job in jobs],
    }
    reals = {
        "left_s": [job.get("left_s", HOUR) for job in jobs],
        "attained_s": [job.get("attained_s", 0.0) for job in jobs],
        "age_s": [job.get("age_s", 0.0) for job in jobs],
        "move_s": [job.get("move_s", 0.0) for job in jobs],
        "ran_s": [job.get("ran_s", np.inf) for job in jobs],
        "deadline_s": [job.get("deadline_s", np.inf) for job in jobs],
        "tenant_weight": [1.0, 1.0, 1.0],
    }
    carried, capacity_rows = more.pop("carried", {}), more.pop("capacity_rows", 2)
    pinned = np.array(flags.pop("pinned"), dtype=np.bool_)
    return Problem(
        **{key: np.array(values, dtype=np.int64) for key, values in ints.items()},
        **{key: np.array(values, dtype=np.float64) for key, values in reals.items()},
        **{key: np.array(values, dtype=np.bool_) for key, values in flags.items()},
        pinned=pinned,
        resumes=np.array([job.get("resumes", True) for job in jobs], dtype=np.bool_),
        displaceable=(np.array(held) != NONE) & ~pinned,
        ptr=np.array(ptr, dtype=np.int64),
        rate=np.array(rates, dtype=np.float64),
        rank=np.array(ranks, dtype=np.int64),
        h20=np.array(rates, dtype=np.float64),
        cost=np.array(worth, dtype=np.float64),
        open=np.array(opened, dtype=np.bool_),
        use_ptr=np.array(use_ptr, dtype=np.int64),
        use_row=np.array(rows, dtype=np.int64),
        use_amount=np.array(amounts, dtype=np.int64),
        available=np.array(available, dtype=np.int64),
        capacity_rows=capacity_rows,
        resize_gain=0.1,
        prices={},
        settings=Policy(**more),
        carried=carried,
    )


def places(found: Choice, of: Problem) -> list[int]:
    """For each job the position of its option among its own, or NONE."""
    return [NONE if o == NONE else int(o - of.ptr[i]) for i, o in enumerate(found.option.tolist())]


def used(found: Choice, of: Problem) -> list[int]:
    """What the choice takes from each row."""
    total = np.zeros(len(of.available), dtype=np.int64)
    for option in found.option[found.option != NONE].tolist():
        span = slice(int(of.use_ptr[option]), int(of.use_ptr[option + 1]))
        np.add.at(total, of.use_row[span], of.use_amount[span])
    return total.tolist()
