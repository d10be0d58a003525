"""Jobs back to the form of a job file: `decode_job(encode(job)) == job`, and defaults are left out."""

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from scheduler.config.document import SCHEMA
from scheduler.config.job_work import FORMATS, default_class
from scheduler.config.values import format_date, format_duration
from scheduler.model.jobs import (
    MAIN_ROLE,
    Checkpoint,
    Job,
    JobType,
    Load,
    Objectives,
    Resources,
    Retries,
    Role,
    Service,
    Topology,
    Work,
    WorkUnit,
)
from scheduler.model.units import WHOLE_DEVICE

__all__ = ["encode"]

Form = dict[str, Any]


def encode(job: Job) -> Form:
    """Plain values in the order of the job file's reference, fit for JSON and YAML."""
    base = Job(name="", type=job.type, roles=())
    form: Form = {"schema": SCHEMA, "kind": "job", "type": job.type.value, "name": job.name}
    _put(form, "tenant", job.tenant, base.tenant)
    _put(form, "class", job.job_class.value, base.job_class.value)
    _put(form, "priority", job.priority, base.priority)
    form |= _roles(job.roles)
    _put(form, "workdir", job.workdir, base.workdir)
    _put(form, "secrets", list(job.secrets), [])
    _put(form, "mounts", [{"name": m.name, "path": m.path, "mode": m.mode} for m in job.mounts], [])
    _put(form, "workload", _work(job.work, job.type), {})
    if job.service is not None:
        form["service"] = _service(job.service)
    _put(form, "moves", job.moves.value, base.moves.value)
    if job.checkpoint is not None:
        form["checkpoint"] = _checkpoint(job.checkpoint)
    _put_duration(form, "time_limit", job.time_limit_us, None)
    _put(form, "retries", _retries(job.retries), {})
    _put_duration(form, "no_progress_timeout", job.no_progress_timeout_us, None)
    _put(form, "after", [{"job": d.job, "on": d.on.value} for d in job.after], [])
    if job.deadline_us is not None:
        form["deadline"] = format_date(job.deadline_us)
    _put(form, "labels", dict(job.labels), {})
    if job.array is not None:
        form["array"] = {"range": f"{job.array.first}-{job.array.last}"}
        _put(form["array"], "max_running", job.array.max_running, 0)
    return form


def _put(form: Form, key: str, value: object, default: object) -> None:
    if value != default:
        form[key] = value


def _put_duration(form: Form, key: str, us: int | None, default: int | None) -> None:
    if us is not None and us != default:
        form[key] = format_duration(us)


def _number(value: float) -> float | int:
    """Whole numbers without their `.0`; the reader takes both."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _roles(roles: tuple[Role, ...]) -> Form:
    if len(roles) == 1 and roles[0].name == MAIN_ROLE:
        return _role(roles[0])
    return {"roles": {role.name: _role(role) for role in roles}}


def _role(role: Role) -> Form:
    form: Form = {"entrypoint": list(role.entrypoint)}
    _put(form, "image", role.image, "")
    _put(form, "env", dict(role.env), {})
    _put(form, "resources", _resources(role.resources), {})
    return form


def _resources(resources: Resources) -> Form:
    base = Resources()
    form: Form = {}
    options = []
    for option in resources.options:
        counts = option.counts
        entry: Form = {"accelerator": option.accelerator, "count": counts[0] if len(counts) == 1 else list(counts)}
        _put(entry, "share", option.thousandths / WHOLE_DEVICE, 1.0)
        _put_duration(entry, "after_wait", option.after_wait_us, 0)
        _put(entry, "image", option.image, "")
        options.append(entry)
    _put(form, "options", options, [])
    _put(form, "ranks_per", resources.ranks_per.value, base.ranks_per.value)
    _put(form, "prefer", resources.prefer.value, base.prefer.value)
    _put(form, "elastic", resources.elastic, base.elastic)
    _put(form, "min_efficiency", resources.min_efficiency, base.min_efficiency)
    if resources.per_device is not None:
        cpus, memory = resources.per_device.cpu_milli / 1000, resources.per_device.memory_mib / 1024
        form["per_device"] = {"cpus": _number(cpus), "memory_gib": _number(memory)}
    _put(form, "topology", _topology(resources.topology), {})
    return form


def _topology(topology: Topology) -> Form:
    base = Topology()
    form: Form = {}
    _put(form, "prefer", topology.prefer.value, base.prefer.value)
    _put(form, "require", topology.require.value, base.require.value)
    return form


def _work(work: Work, kind: JobType) -> Form:
    form: Form = {}
    _put(form, "class", work.work_class.value, default_class(kind).value)
    if work.model is not None:
        shape = work.model
        form["model"] = {"name": shape.name} if shape.name else {"params": _number(shape.params)}
        if not shape.name:
            _put(form["model"], "active_params", _number(shape.active_params), 0)
        for key in ("seq_len",) if shape.name else ("layers", "hidden", "seq_len"):
            _put(form["model"], key, getattr(shape, key), 0)
    if work.amount is not None:
        form[work.unit.value] = _number(work.amount)
    else:
        _put(form, "unit", work.unit.value, WorkUnit.STEPS.value)
    _put(form, "global_batch", work.global_batch, 0)
    rows = [{"accelerator": m.accelerator, "count": m.count, "rate": _number(m.rate)} for m in work.measured]
    _put(form, "measured", rows, [])
    for key, name in FORMATS.items():
        _put(form, key, getattr(work.numerics, name), "")
    _put(form, "engine", {key: value for key, value in structs.asdict(work.engine).items() if value}, {})
    return form


def _checkpoint(checkpoint: Checkpoint) -> Form:
    form: Form = {"path": checkpoint.path}
    for key in ("every", "save", "restart"):
        _put_duration(form, key, getattr(checkpoint, f"{key}_us"), 0)
    _put(form, "portable", checkpoint.portable, False)
    return form


def _retries(retries: Retries) -> Form:
    base = Retries()
    form: Form = {}
    _put(form, "limit", retries.limit, base.limit)
    if retries.on != base.on:
        form["on"] = [cause.value for cause in retries.on]
    _put_duration(form, "backoff", retries.backoff_us, base.backoff_us)
    _put_duration(form, "backoff_max", retries.backoff_max_us, base.backoff_max_us)
    return form


def _service(service: Service) -> Form:
    form: Form = {}
    _put(form, "model", service.model, "")
    _put(form, "objectives", _objectives(service.objectives), {})
    _put(form, "load", _load(service.load), {})
    form |= {"min_replicas": service.min_replicas, "max_replicas": service.max_replicas}
    return form


def _objectives(objectives: Objectives) -> Form:
    values: Mapping[str, float | None] = {"ttft_ms_p99": objectives.ttft_ms_p99, "tpot_ms_p99": objectives.tpot_ms_p99}
    return {key: _number(value) for key, value in values.items() if value is not None}


def _load(load: Load) -> Form:
    form: Form = {}
    _put(form, "requests_per_s", _number(load.requests_per_s), 0)
    _put(form, "prompt_tokens", load.prompt_tokens, 0)
    _put(form, "output_tokens", load.output_tokens, 0)
    _put(form, "trace", load.trace, "")
    return form
