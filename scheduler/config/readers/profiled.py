"""Public profiles of small models: Gavel's step rates by chip and gang, Sia's step times by placement and batch."""

import re
from collections import Counter
from pathlib import Path
from typing import Final

from scheduler.config.readers.readings import Readings, accelerator_called, observation
from scheduler.config.readers.table import read_table
from scheduler.model.accelerators import Catalog, Provenance
from scheduler.model.rates import Cell, Metric, Observation, Stack

__all__ = ["GAVEL_COLUMNS", "SIA_COLUMNS", "read_gavel_profiles", "read_sia_profiles"]

GAVEL_COLUMNS: Final = ("gpu_type", "job_type", "scale_factor", "colocated_job_type", "steps_per_s")
SIA_COLUMNS: Final = ("application", "cluster", "local_bsz", "step_time")
SPREAD: Final = "_unconsolidated"
BATCH: Final = re.compile(r"\(batch size (\d+)\)")
SIA_CLUSTERS: Final = {
    "aws": "t4",
    "rtx": "rtx-2080-ti",
    "quad": "quadro-rtx-6000",
    "dgx": "a100-40",
    "dgx-ext": "a100-40",
}
"""What the authors' clusters consist of; `azure` is not described."""


def read_gavel_profiles(path: str | Path, catalog: Catalog) -> Readings:
    """Steps a second of jobs that have their chips for themselves; the layout `spread` stands for several nodes."""
    found: list[Observation] = []
    left_out: Counter[str] = Counter()
    for line in read_table(path, GAVEL_COLUMNS):
        label = line.text("gpu_type")
        chip = accelerator_called(catalog, label.removesuffix(SPREAD))
        rate = line.real("steps_per_s", 0, 1e9)
        reason = ""
        if line.values["colocated_job_type"]:
            reason = "shares its device"
        elif rate <= 0:
            reason = "does not fit"
        elif chip is None:
            reason = "device that the catalog does not have"
        if reason or chip is None:
            left_out[reason] += 1
            continue
        kind = line.text("job_type")
        batch = BATCH.search(kind)
        cell = Cell(
            family=re.sub(r"[^a-z0-9.]+", "-", BATCH.sub("", kind).strip().lower()).strip("-"),
            accelerator=chip.name,
            precision="",
            layout="spread" if label.endswith(SPREAD) else "",
            metric=Metric.STEPS,
            stack=Stack(framework="pytorch"),
        )
        seen = Observation(
            cell=cell,
            value=rate,
            count=line.whole("scale_factor", 1, 1024),
            batch=float(batch[1]) if batch else 0.0,
            provenance=Provenance.PUBLISHED,
            source="Gavel (OSDI 2020), simulation_throughputs",
        )
        found.append(observation(line, "steps_per_s", seen))
    return Readings(tuple(found), left_out)


def read_sia_profiles(path: str | Path, catalog: Catalog) -> Readings:
    """Seconds a step; the layout names the placement, one digit for each node, or nodes and replicas."""
    found: list[Observation] = []
    left_out: Counter[str] = Counter()
    for line in read_table(path, SIA_COLUMNS):
        said = line.values
        chip = catalog.get(SIA_CLUSTERS.get(said["cluster"], ""))
        if chip is None:
            left_out["cluster that is not described"] += 1
            continue
        placement = said.get("placement", "").strip()
        if not placement and not {"num_nodes", "num_replicas"} <= said.keys():
            raise line.wrong("placement", "says neither the placement nor nodes and replicas", "fill one in")
        nodes = len(placement) if placement else line.whole("num_nodes", 1, 4096)
        count = sum(int(d) for d in placement if d.isdecimal()) if placement else line.whole("num_replicas", 1, 4096)
        cell = Cell(
            family=line.text("application"),
            accelerator=chip.name,
            precision="",
            layout="" if nodes == 1 else f"spread:{placement or nodes}",
            metric=Metric.STEP_TIME,
            stack=Stack(framework="pytorch"),
        )
        seen = Observation(
            cell=cell,
            value=line.real("step_time", 1e-9, 1e9),
            count=max(count, 1),
            batch=line.real("local_bsz", 0, 1e9) * max(count, 1),
            provenance=Provenance.PUBLISHED,
            source="Sia (SOSP 2023), profiles",
        )
        found.append(observation(line, "step_time", seen))
    return Readings(tuple(found), left_out)
