"""Job files to jobs: the fields of the whole, and what must agree between them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from msgspec import structs

from scheduler.config.cursor import Cursor, Fields
from scheduler.config.document import from_values, opened, parsed
from scheduler.config.environment import environment
from scheduler.config.job_parts import after, array, checkpoint, mounts, retries, service
from scheduler.config.job_resources import arguments, image, resources
from scheduler.config.job_work import no_work, work
from scheduler.config.limits import MAX_PRIORITY, MAX_ROLES
from scheduler.config.values import date, duration, labels, name, names, tenant_path
from scheduler.model.accelerators import Catalog
from scheduler.model.jobs import MAIN_ROLE, Job, JobType, Moves, Resources, Role
from scheduler.model.tenants import JobClass
from scheduler.model.transformers import find_transformer, kept_in

__all__ = ["decode_job", "job_of", "load_jobs", "parse_jobs"]

HEAD: Final = ("schema", "kind")
WHOLE: Final = (
    "type", "name", "tenant", "class", "priority", "workdir", "secrets", "mounts", "workload", "service", "moves",
    "checkpoint", "time_limit", "retries", "no_progress_timeout", "after", "deadline", "labels", "array",
)  # fmt: skip
PART: Final = ("entrypoint", "image", "env", "resources")


def load_jobs(path: str | Path, catalog: Catalog | None = None) -> list[Job]:
    """Every job of a file: its documents, separated by `---`. With a catalog, unknown accelerators are refused."""
    return [job_of(cursor, catalog) for cursor in opened(path, "job")]


def parse_jobs(text: str | bytes, source: str, catalog: Catalog | None = None) -> list[Job]:
    """Every job of a text that did not come from a file, such as standard input."""
    return [job_of(cursor, catalog) for cursor in parsed(text, source, "job")]


def decode_job(values: object, source: str = "", catalog: Catalog | None = None) -> Job:
    """A job from plain values, such as a JSON body; `schema` and `kind` may be missing."""
    return job_of(from_values(values, source, "job"), catalog)


def job_of(cursor: Cursor, catalog: Catalog | None = None) -> Job:
    fields = cursor.fields(*HEAD, *WHOLE, *PART, "roles")
    kind = fields["type"].enum(JobType)
    found_work = fields.get("workload")
    job = Job(
        name=name(fields["name"]),
        type=kind,
        roles=_roles(fields, catalog),
        work=work(found_work, kind, catalog) if found_work else no_work(kind),
        **_rest(fields),
    )
    _agree(job, fields, catalog)
    return job if catalog is None else _as_kept(job, catalog)


def _as_kept(job: Job, catalog: Catalog) -> Job:
    """The job with the format that the weights it serves are published in, where it says none."""
    kept = kept_in(catalog.models, job.service.model) if job.service is not None else ""
    if not kept or job.work.numerics.precision:
        return job
    numerics = structs.replace(job.work.numerics, precision=kept)
    return structs.replace(job, work=structs.replace(job.work, numerics=numerics))


def _positive(cursor: Cursor) -> int:
    us = duration(cursor)
    if us == 0:
        raise cursor.wrong("must be longer than zero", "leave the field out for no limit")
    return us


_ALONE: Final[dict[str, tuple[str, Callable[[Cursor], object]]]] = {
    "tenant": ("tenant", tenant_path),
    "class": ("job_class", lambda c: c.enum(JobClass)),
    "priority": ("priority", lambda c: c.integer(0, MAX_PRIORITY)),
    "workdir": ("workdir", lambda c: c.line_of_text(4096)),
    "secrets": ("secrets", lambda c: names(c, "secret")),
    "mounts": ("mounts", mounts),
    "service": ("service", service),
    "moves": ("moves", lambda c: c.enum(Moves)),
    "checkpoint": ("checkpoint", checkpoint),
    "time_limit": ("time_limit_us", _positive),
    "retries": ("retries", retries),
    "no_progress_timeout": ("no_progress_timeout_us", _positive),
    "after": ("after", after),
    "deadline": ("deadline_us", date),
    "labels": ("labels", labels),
    "array": ("array", array),
}


def _rest(fields: Fields) -> dict[str, Any]:
    """The fields that stand alone, as far as they are given."""
    return {to: reader(item) for key, (to, reader) in _ALONE.items() if (item := fields.get(key))}


def _roles(fields: Fields, catalog: Catalog | None) -> tuple[Role, ...]:
    several = fields.get("roles")
    if several is None:
        return (_role(fields, MAIN_ROLE, catalog, None),)
    for key in ("entrypoint", "resources"):
        if key in fields:
            raise fields[key].wrong("belongs into each role of a job that has `roles`", "move it there")
    roles = []
    for key, item in several.pairs(MAX_ROLES, least=2):
        roles.append(_role(item.fields(*PART), _role_name(key, item), catalog, fields))
    return tuple(roles)


def _role_name(key: str, item: Cursor) -> str:
    return name(item.key_as_value(key), "role")


def _role(fields: Fields, role: str, catalog: Catalog | None, shared: Fields | None) -> Role:
    """A role; `shared` are the fields of the whole job, whose image and env hold for roles that say nothing else."""
    asked = fields.get("resources")
    picture = fields.get("image") or (shared.get("image") if shared else None)
    env: dict[str, str] = {}
    for source in (shared, fields):
        given = source.get("env") if source else None
        if given:
            env.update(environment(given))
    return Role(
        name=role,
        entrypoint=arguments(fields["entrypoint"]),
        image=image(picture) if picture else "",
        env=env,
        resources=resources(asked, catalog) if asked else Resources(),
    )


def _agree(job: Job, fields: Fields, catalog: Catalog | None) -> None:
    """What no field can tell alone."""
    if job.type is JobType.INFERENCE and job.service is None:
        raise fields.place.wrong("an inference job needs `service`", "say what it serves, or change `type`")
    if job.type is not JobType.INFERENCE and job.service is not None:
        raise fields["service"].wrong(f"a {job.type} job does not serve", "change `type` to inference, or remove it")
    if job.type is JobType.INFERENCE and job.work.amount is not None:
        raise fields["workload"].wrong("an inference job serves and has no work to finish", f"remove `{job.work.unit}`")
    portable = job.checkpoint is not None and job.checkpoint.portable
    if job.moves is Moves.ANY and not portable:
        remedy = "set `checkpoint.portable: true` if any device type can resume it, else `moves: same_accelerator`"
        raise fields["moves"].wrong("`any` needs a checkpoint that is portable", remedy)
    told = job.work.model is not None or _serves_a_known_model(job, catalog)
    if not told and any(not role.resources.options for role in job.roles):
        lacking = next(role.name for role in job.roles if not role.resources.options)
        where = f"of role `{lacking}` " if len(job.roles) > 1 else ""
        remedy = "list accelerators with counts, or describe the model so that options can be proposed"
        raise fields.place.wrong(f"`resources.options` {where}or `workload.model` is needed", remedy)


def _serves_a_known_model(job: Job, catalog: Catalog | None) -> bool:
    return job.service is not None and catalog is not None and bool(find_transformer(catalog.models, job.service.model))
