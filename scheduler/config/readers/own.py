"""What users measure themselves: a table of step times, and the result files of vLLM's benchmark and of genai-perf."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from scheduler.config.cursor import nearest
from scheduler.config.readers.readings import (
    Readings,
    Told,
    accelerator_called,
    check_rate,
    named,
    normal_layout,
    normal_precision,
    observation,
)
from scheduler.config.readers.table import Line, read_table
from scheduler.errors import ConfigError
from scheduler.model.accelerators import Accelerator, Catalog
from scheduler.model.rates import Cell, Metric, Observation, Stack, in_tokens, layout_parts
from scheduler.model.transformers import find_transformer
from scheduler.model.weights import active_parameters

__all__ = ["OWN_COLUMNS", "is_genai_perf", "is_vllm", "read_json", "read_own"]

OWN_COLUMNS: Final = ("family", "devices")
OWN_METRICS: Final = {metric.value: metric for metric in Metric}
OPTIONAL: Final = (
    "accelerator", "precision", "layout", "batch", "seq_in", "seq_out", "driver", "runtime", "framework", "image",
    "source", "run", "step",
)  # fmt: skip
MAX_JSON_BYTES: Final = 64 << 20

VLLM: Final[Mapping[str, Metric]] = {
    "median_ttft_ms": Metric.TTFT,
    "median_tpot_ms": Metric.TPOT,
    "output_throughput": Metric.OUTPUT_TOKENS,
    "request_throughput": Metric.REQUESTS,
}
"""Medians, because the mean of a benchmark holds its first, cold requests; where a file has none, the mean."""

GENAI_PERF: Final[Mapping[str, tuple[Metric, str]]] = {
    "time_to_first_token": (Metric.TTFT, "p50"),
    "inter_token_latency": (Metric.TPOT, "p50"),
    "output_token_throughput": (Metric.OUTPUT_TOKENS, "avg"),
    "request_throughput": (Metric.REQUESTS, "avg"),
}
PER_UNIT: Final[Mapping[str, float]] = {
    "ms": 1.0, "s": 1e3, "sec": 1e3, "us": 1e-3, "ns": 1e-6, "tokens/sec": 1.0, "tokens/s": 1.0, "requests/sec": 1.0,
    "requests/s": 1.0, "req/s": 1.0,
}  # fmt: skip
"""What one of a unit is in ours: milliseconds, or per second."""

REUSED: Final = 30.0
"""Parts of a prompt of which one may be new: the rest lies in the cache. Seconds for milliseconds are further off."""

MILLISECONDS: Final = ("ms", "s", "sec", "us", "ns")


def read_own(path: str | Path, catalog: Catalog, told: Told | None = None) -> Readings:
    """A table with `family`, `devices` and at least one of the metrics' names for a column, such as `step_s`. With a
    column `step` or `run` a row is one step, and the rows of a run are in the order of its steps."""
    told = told or Told()
    found: list[Observation] = []
    for line in read_table(path, OWN_COLUMNS):
        known = (*OWN_COLUMNS, *OPTIONAL, *OWN_METRICS)
        for column in line.values:
            if column not in known:
                raise ConfigError(f"unknown column {column[:40]!r}", nearest(column, known), file=line.file, line=1)
        metrics = [metric for name, metric in OWN_METRICS.items() if line.values.get(name, "").strip()]
        if not metrics:
            problem, remedy = "holds no measurement", f"have a column named {', '.join(OWN_METRICS)}"
            raise ConfigError(problem, remedy, file=line.file, line=line.number)
        for metric in metrics:
            found.append(_row(line, metric, line.real(metric.value, 0, 1e15), catalog, told))
    return Readings(tuple(found))


def read_json(path: str | Path, catalog: Catalog, told: Told | None = None) -> Readings:
    """A result of `vllm bench serve --save-result` (or of its older script), one or a line each, or genai-perf's
    `profile_export_genai_perf.json`. Neither names the chip: `told` does, or vLLM's `--metadata accelerator=h200`."""
    told = told or Told()
    found: list[Observation] = []
    for number, document in _documents(Path(path)):
        if is_vllm(document):
            found.extend(_vllm(document, Line(str(path), number, _texts(document)), catalog, told))
        elif is_genai_perf(document):
            found.extend(_genai_perf(document, Line(str(path), number, _texts(document)), catalog, told))
        else:
            remedy = "results of vLLM's serving benchmark and of genai-perf are read"
            raise ConfigError("is JSON of an unknown kind", remedy, file=str(path), line=number)
    return Readings(tuple(found))


def is_vllm(document: Mapping[str, Any]) -> bool:
    return "model_id" in document and "request_throughput" in document and "duration" in document


def is_genai_perf(document: Mapping[str, Any]) -> bool:
    return isinstance(document.get("request_throughput"), dict) and isinstance(document.get("request_latency"), dict)


def _documents(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", "check the name", file=str(path)) from None
    if len(data) > MAX_JSON_BYTES:
        raise ConfigError(f"has more than {MAX_JSON_BYTES >> 20} MiB", file=str(path))
    try:
        whole = msgspec.json.decode(data)
        parts = [(1, whole)]
    except msgspec.DecodeError:
        parts = [(n, _decoded(path, n, line)) for n, line in enumerate(data.splitlines(), 1) if line.strip()]
    for number, part in parts:
        for document in part if isinstance(part, list) else [part]:
            if not isinstance(document, dict):
                raise ConfigError("an object is expected", file=str(path), line=number)
            yield number, document


def _decoded(path: Path, number: int, line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise ConfigError(f"is not JSON: {error}", file=str(path), line=number) from None


def _texts(document: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in document.items() if isinstance(value, str | int | float)}


def _row(line: Line, metric: Metric, value: float, catalog: Catalog, told: Told, **shape: float) -> Observation:
    said = {column: line.values.get(column, "").strip() for column in OPTIONAL}
    label = named(line, told.accelerator, "accelerator", "accelerator")
    chip = accelerator_called(catalog, label)
    if chip is None:
        raise line.wrong("accelerator", f"unknown accelerator {label[:40]!r}", nearest(label.lower(), catalog.names))
    layout = normal_layout(line, "layout", said["layout"] or told.layout)
    devices = line.whole("devices", 1, 10**6) if "devices" in line.values else told.count
    cell = Cell(
        family=_family(line.values.get("family", "").strip() or told.family),
        accelerator=chip.name,
        precision=normal_precision(line, "precision", said["precision"] or told.precision) or "bf16",
        layout=layout,
        metric=metric,
        stack=Stack(**{part: said[part] or getattr(told.stack, part) for part in Stack.__struct_fields__}),
    )
    sizes = layout_parts(layout)
    seen = Observation(
        cell=cell,
        value=value,
        count=devices or math.prod(int(sizes.get(axis, 1)) for axis in ("tp", "pp", "dp")),
        batch=shape.get("batch", line.real("batch", 0, 1e9) if said["batch"] else 0.0),
        seq_in=int(shape.get("seq_in", line.whole("seq_in", 0, 10**8) if said["seq_in"] else 0)),
        seq_out=int(shape.get("seq_out", line.whole("seq_out", 0, 10**8) if said["seq_out"] else 0)),
        run=f"{line.file}:{said['run'] or 1}" if said["run"] or said["step"] else "",
        source=said["source"] or Path(line.file).name,
    )
    found = observation(line, metric.value, seen)
    _check_speed(line, metric.value, found, chip, catalog)
    return found


def _check_speed(line: Line, column: str, seen: Observation, chip: Accelerator, catalog: Catalog) -> None:
    """Refused where the chip's arithmetic cannot do it, of a model whose size is known."""
    model = find_transformer(catalog.models, seen.cell.family)
    told, per_s = in_tokens(seen), 1000.0 / seen.value
    tokens_per_s = {
        Metric.TOKENS: told.value,
        Metric.OUTPUT_TOKENS: told.value,
        Metric.PREFILL_TOKENS: told.value,
        Metric.TPOT: per_s * max(seen.batch, 1.0),
        Metric.TTFT: per_s * seen.seq_in / REUSED,
    }.get(told.cell.metric)
    if model is not None and tokens_per_s is not None:
        kind = "train" if told.cell.metric is Metric.TOKENS else "infer"
        size = active_parameters(model) / 1e9
        check_rate(line, column, chip, kind, tokens_per_s / seen.count, size, seen.cell.precision)


def _vllm(document: Mapping[str, Any], line: Line, catalog: Catalog, told: Told) -> Iterable[Observation]:
    completed = _number(document, line, "completed")
    if completed < 1:
        raise line.wrong("completed", "no request was completed", "measure again")
    shape = {
        "seq_in": round(_number(document, line, "total_input_tokens") / completed),
        "seq_out": round(_number(document, line, "total_output_tokens") / completed),
        "batch": _at_once(document, line),
    }
    told = _told(told, document, family=str(document["model_id"]), framework=str(document.get("backend", "vllm")))
    for column, metric in VLLM.items():
        name = column if column in document else column.replace("median_", "mean_")
        if name in document:
            value = _number(document, line, name)
            if value > 0:  # a benchmark of one output token has no time per further token
                yield _row(line, metric, value, catalog, told, **shape)


def _at_once(document: Mapping[str, Any], line: Line) -> float:
    """Requests at once, where they were kept at that: 0 where they came at a rate of their own, for then a server
    answers what comes and nobody knows how many it had."""
    paced = document.get("request_rate")
    if isinstance(paced, int | float) and math.isfinite(paced):
        return 0.0
    return _number(document, line, "max_concurrency") if document.get("max_concurrency") else 0.0


def _genai_perf(document: Mapping[str, Any], line: Line, catalog: Catalog, told: Told) -> Iterable[Observation]:
    given = _part(document, "input_config")
    models = given.get("model") or given.get("model_names") or ""
    model = models[0] if isinstance(models, list) else models
    stimulus = _part(_part(given, "perf_analyzer"), "stimulus")
    at_once = stimulus if "concurrency" in stimulus else given
    shape = {
        "seq_in": round(_statistic(document, line, "input_sequence_length", "avg", 1.0) or 0),
        "seq_out": round(_statistic(document, line, "output_sequence_length", "avg", 1.0) or 0),
        "batch": _number(at_once, line, "concurrency") if at_once.get("concurrency") else 0.0,
    }
    told = _told(told, {}, family=str(model), framework=str(given.get("backend") or ""))
    for name, (metric, statistic) in GENAI_PERF.items():
        value = _statistic(document, line, name, statistic, None if metric.is_time else 1.0)
        if value:
            yield _row(line, metric, value, catalog, told, **shape)


def _part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _told(told: Told, document: Mapping[str, Any], family: str, framework: str) -> Told:
    """What the caller tells, completed by what the file says beside."""
    tp = document.get("tensor_parallel_size") or document.get("tp")
    stack = told.stack if told.stack.framework else msgspec.structs.replace(told.stack, framework=framework)
    return msgspec.structs.replace(
        told,
        family=told.family or family,
        layout=told.layout or (f"tp={tp}" if tp else ""),
        stack=stack,
    )


def _number(document: Mapping[str, Any], line: Line, name: str) -> float:
    found = document.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e15:
        raise line.wrong(name, f"a number is expected, not {str(found)[:40]!r}", "is the file whole?")
    return float(found)


def _statistic(document: Mapping[str, Any], line: Line, name: str, which: str, factor: float | None) -> float | None:
    """A statistic in our unit; None where the file does not have the metric."""
    part = document.get(name)
    if not isinstance(part, dict) or not ({which, "avg"} & part.keys()):
        return None
    unit = str(part.get("unit", "ms" if factor is None else ""))
    if factor is None and unit not in MILLISECONDS:
        raise line.wrong(name, f"a time in {unit[:20]!r}", f"units are {', '.join(MILLISECONDS)}")
    if factor is not None and unit in MILLISECONDS:
        raise line.wrong(name, f"a rate or a length in {unit!r}", "is the file whole?")
    scale = PER_UNIT[unit] if factor is None else factor
    return _number(part, line, which if which in part else "avg") * scale


def _family(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.rsplit("/", 1)[-1].lower()).strip("-")[:64]
