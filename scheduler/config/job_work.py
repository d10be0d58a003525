"""What a job computes: its class, its model, how much of it there is, and the speeds its user has seen."""

from typing import Final

from msgspec import structs

from scheduler.config.cluster import known_accelerator
from scheduler.config.cursor import Cursor, Fields, nearest
from scheduler.config.limits import MAX_COUNT, MAX_LIST
from scheduler.model.accelerators import Catalog, WorkClass
from scheduler.model.jobs import JobType, Measured, ModelShape, Work, WorkUnit
from scheduler.model.precisions import SERVED_IN, TRAINED_IN, Engine, Numerics
from scheduler.model.transformers import find_transformer
from scheduler.model.weights import active_parameters, parameters

__all__ = ["FORMATS", "default_class", "no_work", "work"]

FORMATS: Final = {"precision": "precision", "experts_precision": "experts", "kv_precision": "cache"}
"""How the file calls the formats of a model, and how the model does."""


def default_class(kind: JobType) -> WorkClass:
    """What a job computes that does not say so."""
    return WorkClass.DECODE if kind is JobType.INFERENCE else WorkClass.DENSE_TRAINING


def no_work(kind: JobType) -> Work:
    return Work(work_class=default_class(kind))


def work(cursor: Cursor, kind: JobType, catalog: Catalog | None) -> Work:
    units = tuple(unit.value for unit in WorkUnit)
    fields = cursor.fields("class", "model", *units, "unit", "global_batch", "measured", *FORMATS, "engine")
    given, model = fields.get("class"), fields.get("model")
    batch, measured, engine = fields.get("global_batch"), fields.get("measured"), fields.get("engine")
    unit, amount = _amount(fields)
    return Work(
        work_class=given.enum(WorkClass) if given else default_class(kind),
        unit=unit,
        amount=amount,
        model=_model(model, catalog) if model else None,
        global_batch=batch.integer(1, 10**12) if batch else 0,
        measured=_measured(measured, catalog) if measured else (),
        numerics=_numerics(fields, kind),
        engine=_engine(engine) if engine else Engine(),
    )


def _numerics(fields: Fields, kind: JobType) -> Numerics:
    """Training has one format, that of its products; serving keeps weights, experts and cache apart."""
    given = {name: item for key, name in FORMATS.items() if (item := fields.get(key))}
    if kind is JobType.TRAINING:
        for name in given.keys() - {"precision"}:
            raise given[name].wrong("is of models that are served", "training takes `precision` alone")
    known = TRAINED_IN if kind is JobType.TRAINING else SERVED_IN
    for item in given.values():
        if item.is_list or item.is_mapping or item.text(64) not in known:
            raise item.wrong(f"unknown precision {item.described()}", f"one of {', '.join(known)}")
    return Numerics(**{name: item.text() for name, item in given.items()})


def _engine(cursor: Cursor) -> Engine:
    """A name, or the name with version and runtime."""
    if not cursor.is_mapping:
        return Engine(name=_word(cursor))
    fields = cursor.fields("name", "version", "runtime")
    version, runtime = fields.get("version"), fields.get("runtime")
    return Engine(
        name=_word(fields["name"]),
        version=_word(version) if version else "",
        runtime=runtime.line_of_text(64) if runtime else "",
    )


def _word(cursor: Cursor) -> str:
    text = cursor.line_of_text(64)
    if " " in text:
        raise cursor.wrong(f"`{text}` is more than a word", "write {name: vllm, version: 0.12.0}")
    return text


def _amount(fields: Fields) -> tuple[WorkUnit, float | None]:
    """At most one of steps, samples and tokens; `unit` says what rates count where no amount does."""
    named = [unit for unit in WorkUnit if unit.value in fields]
    if len(named) > 1:
        both = " and ".join(f"`{unit}`" for unit in named)
        raise fields[named[1].value].wrong(f"{both} are given", "say the work in one unit")
    stated = fields.get("unit")
    if not named:
        return (stated.enum(WorkUnit) if stated else WorkUnit.STEPS), None
    if stated and stated.enum(WorkUnit) is not named[0]:
        raise stated.wrong(f"contradicts `{named[0]}`", "leave `unit` out")
    return named[0], fields[named[0].value].number(0, 1e24, above=True)


def _model(cursor: Cursor, catalog: Catalog | None) -> ModelShape:
    """A name that the catalog knows, alone or with the sequence length; or sizes."""
    if not cursor.is_mapping:
        return _named(cursor, catalog)
    fields = cursor.fields("name", "params", "active_params", "layers", "hidden", "seq_len")
    called, length = fields.get("name"), fields.get("seq_len")
    if called is not None:
        extra = [key for key in cursor.fields_named() if key not in ("name", "seq_len")]
        if extra:
            raise fields[extra[0]].wrong(f"the model is named, and {extra[0]} follows from that", "give one of the two")
        return structs.replace(_named(called, catalog), seq_len=length.integer(1, 1_000_000_000) if length else 0)
    params = fields["params"].number(0, 1e16, above=True)
    active = fields.get("active_params")
    layers, hidden, seq_len = fields.get("layers"), fields.get("hidden"), fields.get("seq_len")
    made = ModelShape(
        params=params,
        active_params=active.number(0, 1e16, above=True) if active else 0.0,
        layers=layers.integer(1, 1_000_000) if layers else 0,
        hidden=hidden.integer(1, 10_000_000) if hidden else 0,
        seq_len=seq_len.integer(1, 1_000_000_000) if seq_len else 0,
    )
    if active and made.active_params > params:
        raise active.wrong("more parameters are active than there are", f"at most {params:g}")
    return made


def _named(cursor: Cursor, catalog: Catalog | None) -> ModelShape:
    name = cursor.line_of_text(128)
    if catalog is None:
        return ModelShape(params=0.0, name=name)
    found = find_transformer(catalog.models, name)
    if found is None:
        remedy = nearest(name, [t.name for t in catalog.models]) if catalog.models else "give its sizes: params, layers"
        raise cursor.wrong(f"no model is called `{name}`", remedy)
    total, active = float(parameters(found)), float(active_parameters(found))
    return ModelShape(
        params=total,
        active_params=active if found.experts else 0.0,
        layers=found.layers,
        hidden=found.hidden,
        name=found.name,
    )


def _measured(cursor: Cursor, catalog: Catalog | None) -> tuple[Measured, ...]:
    made: list[Measured] = []
    for item in cursor.items(MAX_LIST):
        fields = item.fields("accelerator", "count", "rate")
        row = Measured(
            accelerator=known_accelerator(fields["accelerator"], catalog),
            count=fields["count"].integer(1, MAX_COUNT),
            rate=fields["rate"].number(0, 1e18, above=True),
        )
        if any((row.accelerator, row.count) == (other.accelerator, other.count) for other in made):
            raise item.wrong(f"a rate on {row.count} x {row.accelerator} is given twice", "keep one")
        made.append(row)
    return tuple(made)
