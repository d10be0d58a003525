"""What was seen of speeds, and on what: cells of equal job, chip, software, precision and layout."""

import re
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, structs

from scheduler.model.figures import Provenance

__all__ = [
    "LAYOUT_AXES",
    "Cell",
    "CellRate",
    "Metric",
    "Observation",
    "Stack",
    "in_tokens",
    "layout_parts",
    "layout_text",
]

LAYOUT_AXES = ("tp", "pp", "dp", "ep", "cp", "adp", "zero", "mb", "rc")
"""Parts of a written layout: devices by axis (`adp`: data parallelism of attention in serving), stage of ZeRO,
micro-batch, and recomputation (none, selective, full)."""

PART = re.compile(r"(tp|pp|dp|ep|cp|adp|mb)=([1-9]\d{0,5})|(zero)=([0-3])|(rc)=(none|selective|full)")


def layout_parts(text: str) -> dict[str, str]:
    """The parts of a layout such as `tp=8,pp=2,rc=full`. ValueError for anything else, with what is wrong."""
    found: dict[str, str] = {}
    for part in (part.strip() for part in text.split(",") if part.strip()):
        name = part.partition("=")[0]
        if PART.fullmatch(part) is None or name in found:
            raise ValueError(f"`{part[:20]}` in a layout; write such as tp=8,pp=2, with {', '.join(LAYOUT_AXES)}")
        found[name] = part.partition("=")[2]
    return found


def layout_text(parts: Mapping[str, str]) -> str:
    """As a layout is written: its parts in order, without axes of 1 and what is not recomputed."""
    told = {name: value for name, value in parts.items() if name == "zero" or value not in ("1", "none")}
    return ",".join(f"{name}={told[name]}" for name in LAYOUT_AXES if name in told)


class Metric(StrEnum):
    """What a figure counts. Times are better when small, all others when large."""

    STEPS = "steps_per_s"
    SAMPLES = "samples_per_s"
    TOKENS = "tokens_per_s"  # of the whole job, in training
    OUTPUT_TOKENS = "output_tokens_per_s"  # of the whole instance, in serving
    PREFILL_TOKENS = "prefill_tokens_per_s"
    REQUESTS = "requests_per_s"
    STEP_TIME = "step_s"
    RUN_TIME = "run_s"
    TTFT = "ttft_ms"
    TPOT = "tpot_ms"

    @property
    def is_time(self) -> bool:
        return self in (Metric.STEP_TIME, Metric.RUN_TIME, Metric.TTFT, Metric.TPOT)


class Stack(Struct, frozen=True, kw_only=True, order=True):
    """The software that a figure holds for; empty means not stated. `runtime` is CUDA or CANN with its version."""

    driver: str = ""
    runtime: str = ""
    framework: str = ""
    image: str = ""

    def __str__(self) -> str:
        return ", ".join(part for part in (self.framework, self.runtime, self.driver, self.image) if part) or "-"


class Cell(Struct, frozen=True, kw_only=True, order=True):
    """What a rate is kept for. `family` names the kind of job, such as `llama-3.1-8b` or `resnet-50`; `layout` is as it
    is written, such as `tp=8,pp=1`, empty for one device or where the framework decides."""

    family: str
    accelerator: str
    precision: str = "bf16"
    layout: str = ""
    metric: Metric = Metric.STEPS
    stack: Stack = Stack()


class Observation(Struct, frozen=True, kw_only=True):
    """One figure of a cell at a size: `value` in the metric's unit on `count` devices; 0 of the others: not stated.

    `batch`: samples or sequences of a step, or requests at once in serving. `run`: figures of the same name are steps
    of one run, in order; empty: a figure is a run's own summary. `place`: file and line.
    """

    cell: Cell
    value: float
    count: int = 1
    batch: float = 0.0
    seq_in: int = 0
    seq_out: int = 0
    run: str = ""
    provenance: Provenance = Provenance.MEASURED
    source: str = ""
    place: str = ""


def in_tokens(seen: Observation) -> Observation:
    """Steps and samples of training as tokens a second, by which models and job files tell the same cell; as it is
    where that needs a batch or a length that is not stated."""
    per_step = seen.batch * seen.seq_in
    factor = {Metric.STEPS: per_step, Metric.SAMPLES: float(seen.seq_in), Metric.STEP_TIME: per_step}.get(
        seen.cell.metric, 0.0
    )
    if not factor:
        return seen
    value = factor / seen.value if seen.cell.metric.is_time else factor * seen.value
    return structs.replace(seen, cell=structs.replace(seen.cell, metric=Metric.TOKENS), value=value)


class CellRate(Struct, frozen=True, kw_only=True):
    """A cell's belief as files hold it: `value` with its 90 % band, from `runs` runs.

    `relative`: the value is what to multiply a model's prediction by, and has no unit. `noise`: log units by which one
    run differs from the next. `version` counts the stacks that the cell has seen.
    """

    cell: Cell
    value: float
    low: float
    high: float
    runs: int = 0
    noise: float = 0.05
    relative: bool = False
    provenance: Provenance = Provenance.MODELLED
    source: str = ""
    version: int = 1
