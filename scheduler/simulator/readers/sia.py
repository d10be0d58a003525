"""Sia's public workloads and profiles (SOSP 2023): rigid training jobs on T4, RTX 2080 Ti and A100.

A job asks for a number of devices and a batch size. Its rate on a type of node is that of the profile of the placement
that fills nodes one after the other, at the batch of one device; where that batch does not fit, gradients are
accumulated over as few steps as fit, each without the exchange. Steps a second are divided by the factor by which the
authors found real runs slower than their profiles. A gang that is spread over more nodes runs at the mean of the
placements measured on so many: the world knows that, the scheduler does not.

What a job has to do is not in the published workloads. The steps to the last epoch stand in the convergence files of
Pollux's artifact (OSDI 2021, petuum/adaptdl, simulator/traces), for some batch sizes; for the others they follow from
the gradient noise of those files by Pollux's efficiency, (noise + smaller batch) over (noise + larger batch).
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from scheduler.config.readers.table import Line, read_table
from scheduler.errors import ConfigError
from scheduler.model.jobs import Checkpoint, Job, JobType, Measured, Moves, Option, Resources, Role, Work
from scheduler.model.units import to_us
from scheduler.model.workload import Arrival, Truth, Workload

__all__ = ["SIA_FLEET", "SiaNodes", "SiaProfiles", "read_sia_jobs", "read_sia_profiles", "sia_workloads"]

TENANT = "sia"
MAX_DEVICES = 4096

RESTART_S: Final[Mapping[str, float]] = {
    "cifar10": 50.0,
    "deepspeech2": 25.0,
    "bert": 120.0,
    "yolov3": 80.0,
    "imagenet": 250.0,
}
"""Save, stop, load and go on: measured by the authors for each model (Sia's artifact, `rescale_time`)."""

SLOWDOWN: Final[Mapping[str, float]] = {
    "cifar10": 1.8,
    "deepspeech2": 1.2,
    "bert": 1.2,
    "yolov3": 1.2,
    "imagenet": 1.2,
}
"""Real run time over the profile's (Sia's artifact, `SLOWDOWNS`)."""

STEPS: Final[Mapping[tuple[str, int], float]] = {
    ("cifar10", 2048): 3178.0,
    ("cifar10", 4096): 1990.0,  # by efficiency, from 2048
    ("deepspeech2", 320): 2264.0,
    ("deepspeech2", 640): 1423.0,
    ("bert", 384): 480.0,
    ("yolov3", 64): 14577.0,
    ("imagenet", 1600): 79290.0,  # by efficiency, from 800
    ("imagenet", 3200): 43820.0,  # by efficiency, from 800
}
"""Steps to the last epoch, by application and batch size."""


class SiaNodes(Struct, frozen=True):
    """Nodes of one type: the profile's name for them, and devices in each."""

    cluster: str
    devices_per_node: int
    nodes: int


SIA_FLEET: Final[Mapping[str, SiaNodes]] = {
    "t4": SiaNodes("aws", 4, 6),
    "rtx-2080-ti": SiaNodes("rtx", 8, 3),
    "a100": SiaNodes("dgx-ext", 8, 2),
}
"""The paper's heterogeneous cluster of 64 devices, by accelerator."""


class _Curve(Struct, frozen=True):
    """Seconds of a step and of its exchange, over batches of one device, ascending."""

    batch: tuple[float, ...]
    step_s: tuple[float, ...]
    sync_s: tuple[float, ...]

    def at(self, batch: float) -> tuple[float, float] | None:
        """Linear in between; None outside what was measured."""
        if not self.batch[0] <= batch <= self.batch[-1]:
            return None
        upper = bisect_left(self.batch, batch)
        if self.batch[upper] == batch:
            return self.step_s[upper], self.sync_s[upper]
        lower = upper - 1
        share = (batch - self.batch[lower]) / (self.batch[upper] - self.batch[lower])
        step_s = self.step_s[lower] + share * (self.step_s[upper] - self.step_s[lower])
        return step_s, self.sync_s[lower] + share * (self.sync_s[upper] - self.sync_s[lower])


class SiaProfiles(Struct, frozen=True):
    """Measured steps by (application, cluster, placement); a placement has a digit for each node."""

    curves: Mapping[tuple[str, str, str], _Curve]
    placements: Mapping[tuple[str, str, int, int], tuple[str, ...]]  # by application, cluster, devices and nodes

    def spread(self, application: str, nodes: SiaNodes, devices: int, batch_size: int) -> tuple[float, ...]:
        """Rate of the job on 1, 2, ... nodes over that where nodes are filled one after the other.

        The mean of the placements that were measured on so many nodes; where none was, as on one node less.
        """
        base = self.steps_per_s(application, nodes, devices, batch_size)
        found: list[float] = []
        for count in range(1, min(devices, nodes.nodes) + 1):
            rates = [
                rate
                for placement in self.placements.get((application, nodes.cluster, devices, count), ())
                for rate in (self._rate(application, nodes, devices, batch_size, placement),)
                if rate is not None
            ]
            before = found[-1] if found else 1.0
            found.append(sum(rates) / len(rates) / base if rates and base else before)
        return tuple(found)

    def steps_per_s(self, application: str, nodes: SiaNodes, devices: int, batch_size: int) -> float | None:
        """Rate of a job that keeps its batch size; None where it was not measured, or the devices are not there."""
        if devices > nodes.nodes * nodes.devices_per_node:
            return None
        return self._rate(application, nodes, devices, batch_size, _placement(devices, nodes.devices_per_node))

    def _rate(self, application: str, nodes: SiaNodes, devices: int, batch_size: int, placement: str) -> float | None:
        curve = self.curves.get((application, nodes.cluster, placement))
        if curve is None:
            return None
        local = math.ceil(batch_size / devices)
        passes = math.ceil(local / curve.batch[-1])
        found = curve.at(math.ceil(local / passes))
        if found is None:
            return None
        step_s, sync_s = found
        return 1.0 / ((step_s + (passes - 1) * (step_s - sync_s)) * SLOWDOWN.get(application, 1.0))


def _placement(devices: int, per_node: int) -> str:
    """Full nodes and a rest, as the profile writes them: the smallest of its rotations."""
    whole, rest = divmod(devices, per_node)
    return (str(rest) if rest else "") + str(per_node) * whole


def read_sia_profiles(path: str | Path) -> SiaProfiles:
    """The table of placements. Raises ConfigError with the line of what is wrong.

    In a few lines the exchange was measured as longer than the step that it is a part of: there it is all of the step.
    """
    points: dict[tuple[str, str, str], dict[float, tuple[float, float]]] = {}
    for line in read_table(path, ("application", "cluster", "placement", "local_bsz", "step_time", "sync_time")):
        placement = line.text("placement", 20)
        if not (placement.isdecimal() and placement.isascii() and "0" not in placement):
            raise line.wrong("placement", f"{placement!r} is no list of devices on each node")
        step_s, sync_s = line.real("step_time", 1e-9, 1e6), line.real("sync_time", 0, 1e6)
        key = line.text("application"), line.text("cluster"), placement
        points.setdefault(key, {})[line.real("local_bsz", 1e-9, 1e9)] = (step_s, min(sync_s, step_s))
    if not points:
        raise ConfigError("holds no measured placement", file=str(path))
    curves = {key: _curve(found) for key, found in points.items()}
    placements: dict[tuple[str, str, int, int], tuple[str, ...]] = {}
    for application, cluster, placement in sorted(curves):
        shape = application, cluster, sum(int(digit) for digit in placement), len(placement)
        placements[shape] = (*placements.get(shape, ()), placement)
    return SiaProfiles(curves, placements)


def _curve(found: Mapping[float, tuple[float, float]]) -> _Curve:
    batches = tuple(sorted(found))
    return _Curve(batches, tuple(found[b][0] for b in batches), tuple(found[b][1] for b in batches))


def sia_workloads(path: str | Path) -> list[int]:
    """Numbers of the workloads that the file holds, ascending."""
    return sorted({line.whole("workload", 0, 1_000_000) for line in read_table(path, ("workload",))})


def read_sia_jobs(
    path: str | Path, profiles: SiaProfiles, number: int, fleet: Mapping[str, SiaNodes] = SIA_FLEET
) -> Workload:
    """Workload `number` of the file. Raises ConfigError for a job that is not known or fits nowhere, with its line."""
    arrivals: list[Arrival] = []
    for line in read_table(path, ("workload", "name", "time", "application", "num_replicas", "batch_size")):
        if line.whole("workload", 0, 1_000_000) == number:
            arrivals.append(_arrival(line, profiles, fleet))
    if not arrivals:
        raise ConfigError(f"has no workload {number}", file=str(path))
    arrivals.sort(key=lambda arrival: arrival.at_us)
    return Workload(name=f"{Path(path).name.split('.')[0]}-{number}", arrivals=tuple(arrivals))


def _arrival(line: Line, profiles: SiaProfiles, fleet: Mapping[str, SiaNodes]) -> Arrival:
    application = line.text("application")
    devices, batch_size = line.whole("num_replicas", 1, MAX_DEVICES), line.whole("batch_size", 1, 10_000_000)
    steps = STEPS.get((application, batch_size))
    if steps is None:
        raise line.wrong("application", f"nobody has published how long {application[:40]!r} at {batch_size} takes")
    rates = {name: profiles.steps_per_s(application, nodes, devices, batch_size) for name, nodes in fleet.items()}
    measured = tuple(Measured(accelerator=n, count=devices, rate=rate) for n, rate in rates.items() if rate is not None)
    if not measured:
        raise line.wrong("num_replicas", f"{application[:40]!r} was measured on no fleet with {devices} devices")
    name = line.text("name")
    options = tuple(Option(accelerator=part.accelerator, counts=(devices,)) for part in measured)
    job = Job(
        name=name,
        type=JobType.TRAINING,
        tenant=TENANT,
        roles=(Role(entrypoint=("train",), resources=Resources(options=options)),),
        work=Work(amount=steps, measured=measured, global_batch=batch_size),
        moves=Moves.ANY,
        checkpoint=Checkpoint(path=f"checkpoints/{name}", restart_us=to_us(RESTART_S[application]), portable=True),
        labels={"application": application},
    )
    spread = {m.accelerator: profiles.spread(application, fleet[m.accelerator], devices, batch_size) for m in measured}
    return Arrival(at_us=to_us(line.real("time", 0, 1e9)), job=job, user=TENANT, truth=Truth(spread_factor=spread))
