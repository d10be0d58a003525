"""What was seen of speeds, and on what: cells of equal job, chip, software, precision and layout."""

from enum import StrEnum

from msgspec import Struct

from scheduler.model.accelerators import Provenance

__all__ = ["Cell", "CellRate", "Metric", "Observation", "Stack"]


class Metric(StrEnum):
    """What a figure counts. Times are better when small, all others when large."""

    STEPS = "steps_per_s"
    SAMPLES = "samples_per_s"
    TOKENS = "tokens_per_s"  # of the whole job: input and output in training, output in serving
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

    `batch`: samples or sequences of a step, or requests at once in serving. `place`: file and line.
    """

    cell: Cell
    value: float
    count: int = 1
    batch: float = 0.0
    seq_in: int = 0
    seq_out: int = 0
    provenance: Provenance = Provenance.MEASURED
    source: str = ""
    place: str = ""


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
