"""The smaller parts of a job file: mounts, checkpoint, retries, dependencies, array, service."""

import re
from typing import Final

from scheduler.config.cursor import Cursor
from scheduler.config.limits import MAX_ARRAY, MAX_REPLICAS, MAX_RETRIES
from scheduler.config.values import duration, name
from scheduler.model.jobs import (
    Array,
    Checkpoint,
    Dependency,
    DependsOn,
    Load,
    Mount,
    Objectives,
    Retries,
    RetryOn,
    Service,
)

__all__ = ["after", "array", "checkpoint", "mounts", "retries", "service"]

RANGE: Final = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
JOB_REFERENCE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,79}(?:\[[0-9]{1,9}\])?")


def mounts(cursor: Cursor) -> tuple[Mount, ...]:
    made: dict[str, Mount] = {}
    for item in cursor.items():
        fields = item.fields("name", "path", "mode")
        mode, path = fields.get("mode"), fields["path"].line_of_text(1024)
        if not path.startswith("/"):
            raise fields["path"].wrong(f"`{path[:80]}` is not an absolute path", "start it with /")
        if path in made:
            raise fields["path"].wrong(f"`{path[:80]}` is mounted twice", "remove one")
        made[path] = Mount(name=name(fields["name"]), path=path, mode=mode.choice("ro", "rw") if mode else "ro")
    return tuple(made.values())


def checkpoint(cursor: Cursor) -> Checkpoint:
    fields = cursor.fields("path", "every", "save", "restart", "portable")
    portable = fields.get("portable")
    times = {f"{key}_us": duration(item) for key in ("every", "save", "restart") if (item := fields.get(key))}
    return Checkpoint(
        path=fields["path"].line_of_text(4096), portable=portable.boolean() if portable else False, **times
    )


def retries(cursor: Cursor) -> Retries:
    fields = cursor.fields("limit", "on", "backoff", "backoff_max")
    base = Retries()
    limit, on, first, longest = (fields.get(key) for key in ("limit", "on", "backoff", "backoff_max"))
    made = Retries(
        limit=limit.integer(0, MAX_RETRIES) if limit else base.limit,
        on=_causes(on) if on else base.on,
        backoff_us=duration(first) if first else base.backoff_us,
        backoff_max_us=duration(longest) if longest else base.backoff_max_us,
    )
    if made.backoff_us > made.backoff_max_us:
        raise (first or cursor).wrong("`backoff` is longer than `backoff_max`")
    return made


def _causes(cursor: Cursor) -> tuple[RetryOn, ...]:
    causes = tuple(item.enum(RetryOn) for item in cursor.items())
    if len(set(causes)) != len(causes):
        raise cursor.wrong("names a cause twice")
    return causes


def after(cursor: Cursor) -> tuple[Dependency, ...]:
    made: list[Dependency] = []
    for item in cursor.items():
        fields = item.fields("job", "on")
        job, on = fields["job"].text(128), fields.get("on")
        if not JOB_REFERENCE.fullmatch(job):
            raise fields["job"].wrong(f"`{job[:80]}` is neither the name nor the id of a job")
        if any(job == other.job for other in made):
            raise fields["job"].wrong(f"`{job}` is named twice", "keep one")
        made.append(Dependency(job=job, on=on.enum(DependsOn) if on else DependsOn.SUCCESS))
    return tuple(made)


def array(cursor: Cursor) -> Array:
    fields = cursor.fields("range", "max_running")
    text, most = fields["range"].text(64), fields.get("max_running")
    found = RANGE.fullmatch(text)
    if found is None:
        raise fields["range"].wrong(f"`{text}` is not a range", "first and last index, such as 0-99")
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise fields["range"].wrong(f"`{text}` ends before it begins", f"write {last}-{first}")
    if last - first + 1 > MAX_ARRAY:
        raise fields["range"].wrong(f"`{text}` makes {last - first + 1:,} jobs, more than {MAX_ARRAY:,}")
    return Array(first=first, last=last, max_running=most.integer(1, MAX_ARRAY) if most else 0)


def service(cursor: Cursor) -> Service:
    fields = cursor.fields("model", "objectives", "load", "min_replicas", "max_replicas")
    model, aims, load = fields.get("model"), fields.get("objectives"), fields.get("load")
    least, most = fields.get("min_replicas"), fields.get("max_replicas")
    low = least.integer(0, MAX_REPLICAS) if least else 1
    high = most.integer(1, MAX_REPLICAS) if most else max(low, 1)
    if low > high:
        raise (most or cursor).wrong(f"`max_replicas` is {high}, less than `min_replicas`, which is {low}")
    return Service(
        model=model.line_of_text(512) if model else "",
        objectives=_objectives(aims) if aims else Objectives(),
        load=_load(load) if load else Load(),
        min_replicas=low,
        max_replicas=high,
    )


def _objectives(cursor: Cursor) -> Objectives:
    fields = cursor.fields("ttft_ms_p99", "tpot_ms_p99")
    first, each = fields.get("ttft_ms_p99"), fields.get("tpot_ms_p99")
    return Objectives(
        ttft_ms_p99=first.number(0, 1e9, above=True) if first else None,
        tpot_ms_p99=each.number(0, 1e9, above=True) if each else None,
    )


def _load(cursor: Cursor) -> Load:
    fields = cursor.fields("requests_per_s", "prompt_tokens", "output_tokens", "trace")
    rate, prompt, output, trace = (
        fields.get(key) for key in ("requests_per_s", "prompt_tokens", "output_tokens", "trace")
    )
    return Load(
        requests_per_s=rate.number(0, 1e9) if rate else 0.0,
        prompt_tokens=prompt.integer(0, 10**9) if prompt else 0,
        output_tokens=output.integer(0, 10**9) if output else 0,
        trace=trace.line_of_text(4096) if trace else "",
    )
