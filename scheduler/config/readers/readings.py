"""What readers of measurements share: names of chips, precisions and layouts, limits of each metric, and complaints."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field, structs

from scheduler.config.cursor import nearest
from scheduler.config.readers.table import Line
from scheduler.errors import ConfigError
from scheduler.model.accelerators import Accelerator, Catalog
from scheduler.model.precisions import PRECISIONS
from scheduler.model.rates import Metric, Observation, Stack, layout_parts, layout_text

__all__ = [
    "LIMITS", "Readings", "Told", "accelerator_called", "check_rate", "check_value",
    "named", "normal_layout", "normal_precision", "observation",
]  # fmt: skip

LIMITS: Final[Mapping[Metric, tuple[float, float]]] = {
    Metric.STEPS: (1e-6, 1e6),
    Metric.SAMPLES: (1e-6, 1e9),
    Metric.TOKENS: (1e-3, 1e11),
    Metric.OUTPUT_TOKENS: (1e-3, 1e11),
    Metric.PREFILL_TOKENS: (1e-3, 1e11),
    Metric.REQUESTS: (1e-6, 1e8),
    Metric.STEP_TIME: (1e-6, 1e5),
    Metric.RUN_TIME: (1.0, 1e9),
    Metric.TTFT: (0.1, 1e7),
    Metric.TPOT: (0.05, 1e5),
}
"""Outside of these no measurement lies that is in the metric's unit."""

USUAL_UNIT: Final[Mapping[Metric, str]] = {
    Metric.TTFT: "milliseconds are expected, are these seconds or microseconds?",
    Metric.TPOT: "milliseconds are expected, are these seconds or microseconds?",
    Metric.STEP_TIME: "seconds are expected, are these milliseconds?",
    Metric.RUN_TIME: "seconds are expected, are these hours or milliseconds?",
}

ABOVE_PEAK: Final = 1.05
"""Share of a chip's arithmetic beyond which a rate is no rate of this chip."""

FLOPS_PER_WEIGHT: Final[Mapping[str, float]] = {"train": 6.0, "infer": 2.0}


class Told(Struct, frozen=True, kw_only=True):
    """What whoever hands over a file says of all that it holds, where the file itself does not say it."""

    family: str = ""
    accelerator: str = ""
    precision: str = ""
    layout: str = ""
    count: int = 0
    stack: Stack = Stack()


class Readings(Struct, frozen=True):
    """What a file holds, and how many of its rows were left out, by reason."""

    observations: tuple[Observation, ...]
    left_out: Mapping[str, int] = field(default_factory=Counter)


def accelerator_called(catalog: Catalog, label: str) -> Accelerator | None:
    """The catalog's chip that a publication means: `H100-80G` and `NVIDIA H100-SXM5-80GB` are `h100`; where a memory
    size tells two apart it counts (`A100-40G` is `a100-40`); a family stands for its first member."""
    plain = re.sub(r"\([^)]*\)", "", label.lower()).strip().replace("_", "-").replace(" ", "-")
    plain = re.sub(r"^(nvidia|huawei|tesla|amd)-", "", re.sub(r"^(nvidia|huawei|amd)-", "", plain))
    plain = re.sub(r"-(sxm\d?|hbm\d?e?)(?=-|$)", "", plain).replace("--", "-").strip("-")
    plain = re.sub(r"(\d+)gb?(?=-|$)", r"\1", plain)
    for name in (plain, re.sub(r"-\d+$", "", plain)):
        found = catalog.get(name)
        if found is not None:
            return found
    return next((a for a in catalog if plain in (a.family, f"{a.vendor}-{a.family}", f"ascend-{a.family}")), None)


def normal_precision(line: Line, column: str, text: str) -> str:
    """The precision in small letters. Raises ConfigError for one that is none."""
    plain = text.strip().lower()
    if plain and plain not in PRECISIONS:
        raise line.wrong(column, f"unknown precision {text[:40]!r}", nearest(plain, PRECISIONS))
    return plain


def normal_layout(line: Line, column: str, text: str) -> str:
    """A layout in its usual order. Raises ConfigError where a part is not such as `tp=8`, or stands twice."""
    try:
        return layout_text(layout_parts(text))
    except ValueError as error:
        raise line.wrong(column, str(error)) from None


def check_value(line: Line, column: str, metric: Metric, value: float) -> float:
    """The value, refused where it cannot be in the metric's unit."""
    low, high = LIMITS[metric]
    if not low <= value <= high:
        remedy = USUAL_UNIT.get(metric, "check the unit")
        raise line.wrong(column, f"{value:g} lies outside {low:g} to {high:g} of {metric.value}", remedy)
    return value


def check_rate(
    line: Line,
    column: str,
    chip: Accelerator,
    kind: str,
    tokens_per_s_per_device: float,
    params_b: float,
    precision: str,
) -> None:
    """Refused where the chip's arithmetic cannot process so many tokens a second, by `kind` train or infer."""
    if params_b > 1e5:
        raise line.wrong(
            "params_b", f"{params_b:g} billion parameters are none of a model", "write billions of parameters"
        )
    peak = _peak_tflops(chip, precision)
    needed = FLOPS_PER_WEIGHT[kind] * params_b * 1e-3 * tokens_per_s_per_device
    if peak and needed > ABOVE_PEAK * peak:
        problem = (
            f"{tokens_per_s_per_device:g} tokens/s per device need {needed:,.0f} TFLOP/s, {chip.name} has {peak:,.0f}"
        )
        remedy = "check the unit: tokens of one device or of all, thousands, parameters in billions"
        raise line.wrong(column, problem, remedy)


def _peak_tflops(chip: Accelerator, precision: str) -> float:
    """The most that any of the chip's arithmetic that the precision may use can do; 0 where nobody published it."""
    figures = [chip.bf16_tflops]
    if "8" in precision or "4" in precision:
        figures += [chip.fp8_tflops, chip.int8_tflops]
    if "4" in precision:
        figures += [chip.fp4_tflops]
    return max((figure.high for figure in figures if figure), default=0.0)


def observation(line: Line, column: str, seen: Observation) -> Observation:
    """`seen` with its place, its value checked and its layout fitted to the devices."""
    check_value(line, column, seen.cell.metric, seen.value)
    sizes = layout_parts("" if seen.cell.layout.startswith("spread") else seen.cell.layout)
    tied = math.prod(int(sizes.get(axis, 1)) for axis in ("tp", "pp", "cp"))
    copies = int(sizes.get("dp", 0))
    if seen.count % tied or (copies and tied * copies != seen.count):
        problem = f"the layout {seen.cell.layout} does not divide {seen.count} devices"
        remedy = "tp x pp x cp divides the devices of a job, and dp is how often"
        raise line.wrong("layout" if "layout" in line.values else column, problem, remedy)
    return structs.replace(seen, place=f"{line.file}:{line.number}")


def named(line: Line, told: str, column: str, what: str) -> str:
    """What the file says in a column, else what was told with it. Raises ConfigError where neither says it."""
    found = line.values.get(column, "").strip() or told
    if not found:
        raise ConfigError(f"does not say the {what}", f"name it with --{what}", file=line.file, line=line.number)
    return found
