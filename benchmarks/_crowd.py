"""A tenant's crowd for the benchmarks of scale: the six types of chip it asks for, its tree of quotas, its jobs.

Seeded: equal arguments give equal crowds. The sizes are those of published traces in shape (most jobs small, most
devices in large ones), not fitted to any of them.
"""

import json
import os
import platform
import random
import resource
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy

import scheduler
from scheduler.model.events import Actor
from scheduler.model.jobs import Job, JobType, Measured, Option, Resources, Role, Work
from scheduler.model.rules import (
    DomesticShare,
    Eligibility,
    Licence,
    Lot,
    Measure,
    Mode,
    Price,
    Rules,
    ShareBasis,
)
from scheduler.model.tenants import JobClass, Quota, Tenant, Tenants
from scheduler.model.units import US_PER_S

TYPES = ("h200", "h20-96", "h20-141", "ascend-910b3", "ascend-910c", "hygon-bw1000")
"""Of `cluster_configs/clusters/tenant-300k.yaml`; its ascend-910b2 is left to others."""

SIZES = ((1, 0.35), (2, 0.15), (4, 0.15), (8, 0.3), (16, 0.05))
"""Devices of a job and how often: 4.3 on average."""

WORKLOADS = 2_000
"""Distinct combinations of types, size and speeds, of which jobs are drawn; people run the same programs again."""

MIX = ((("h200", "h20-96"), 0.35), (("h200",), 0.15), (("h200", "ascend-910c", "h20-96"), 0.2),
       (("ascend-910c", "ascend-910b3"), 0.15), (("h20-141", "h20-96"), 0.1),
       (("hygon-bw1000", "ascend-910b3"), 0.05))  # fmt: skip

FEN = (1450, 680, 720, 600, 750, 500)
"""Per device-hour, by type."""

CHILDREN = 25
"""Tenants under each top one, itself included."""


def tenants(count: int, devices: dict[str, int], slack: float = 2.0) -> Tenants:
    """`count` tenants in two levels, each with a quota on every type of `devices`.

    Nominal is `slack` times an even share, so that some limits bind and most do not.
    """
    found = []
    tops = max(1, count // CHILDREN)
    for n in range(count):
        top, child = divmod(n, CHILDREN)
        top = min(top, tops - 1)
        name = f"org-{top}" if child == 0 and n // CHILDREN == top else f"org-{top}/team-{n}"
        share = slack / (tops if "/" not in name else count)
        quotas = tuple(Quota(resource=kind, nominal=max(8, round(share * total))) for kind, total in devices.items())
        found.append(Tenant(name=name, quotas=quotas))
    return Tenants(tenants=tuple(found))


def rules() -> Rules:
    """A price on imported options that keeps three tenths of what is used domestic, licences, eligibility, prices."""
    share = DomesticShare(
        id="used-30",
        basis=ShareBasis.USED,
        measure=Measure.COMPUTE_UNIT_HOURS,
        target=0.3,
        window_us=30 * 86_400 * US_PER_S,
        warn_below=0.4,
        mode=Mode.PRICE,
    )
    lots = tuple(
        Lot(id=f"lot-2026-0{n}", accelerator="h200", licence=Licence(ref=f"L{n}", sites=("north", "south")))
        for n in range(1, 5)
    )
    kept = Eligibility(id="kept-north", data_classes=("personal",), sites=("north",), mode=Mode.HOLD)
    prices = tuple(Price(of=kind, fen_per_device_hour=fen) for kind, fen in zip(TYPES, FEN, strict=True))
    return Rules(lots=lots, domestic_shares=(share,), eligibility=(kept,), prices=prices)


def workloads(draw: random.Random, types: Sequence[str] = TYPES) -> list[tuple[tuple[Option, ...], Work]]:
    mixes = [(tuple(kind for kind in kinds if kind in types), weight) for kinds, weight in MIX]
    kinds_of, weights = zip(*((kinds, weight) for kinds, weight in mixes if kinds), strict=True)
    sizes, chances = zip(*SIZES, strict=True)
    found = []
    for _ in range(WORKLOADS):
        kinds = draw.choices(kinds_of, weights)[0]
        size = draw.choices(sizes, chances)[0]
        speeds = tuple(Measured(accelerator=kind, count=size, rate=draw.lognormvariate(0.0, 0.6)) for kind in kinds)
        options = tuple(Option(accelerator=kind, counts=(size,)) for kind in kinds)
        found.append((options, Work(amount=1e5, measured=speeds)))
    return found


def jobs(count: int, tree: Tenants, seed: int = 0, types: Sequence[str] = TYPES) -> Iterator[tuple[Job, Actor]]:
    """Jobs and who submits them, without end of names: `job-0` to `job-<count - 1>`."""
    draw = random.Random(seed)
    known = workloads(draw, types)
    leaves = [t.name for t in tree.tenants]
    classes = ((JobClass.PRODUCTION, 0.2), (JobClass.STANDARD, 0.6), (JobClass.OPPORTUNISTIC, 0.2))
    kinds, weights = zip(*classes, strict=True)
    for n in range(count):
        options, work = draw.choice(known)
        tenant = draw.choice(leaves)
        yield (
            Job(
                name=f"job-{seed}-{n}",
                type=JobType.TRAINING,
                roles=(Role(entrypoint=("python", "train.py"), resources=Resources(options=options)),),
                tenant=tenant,
                job_class=draw.choices(kinds, weights)[0],
                priority=draw.choice((300, 500, 700)),
                work=work,
            ),
            Actor(f"user-{draw.randrange(5)}", tenant, True),
        )


def machine() -> dict[str, Any]:
    return {"system": platform.system(), "arch": platform.machine(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}


def peak_rss_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def show(rows: Sequence[dict[str, Any]], output: str) -> None:
    """One JSON object, or one line per row."""
    if output == "json":
        versions = {"dualtrack": scheduler.__version__, "python": platform.python_version(), "numpy": numpy.__version__}
        document = {"schema": "dualtrack/v1", "command": " ".join(sys.argv), "machine": machine(), "versions": versions}
        print(json.dumps({**document, "results": list(rows)}, indent=1))
        return
    for row in rows:
        print("  ".join(f"{key}={value}" for key, value in row.items()))
