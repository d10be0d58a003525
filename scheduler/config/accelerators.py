"""Accelerator files to the catalog: every figure with its band, provenance, confidence and source."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from scheduler.config.cursor import Cursor, Fields
from scheduler.config.document import from_values, open_one
from scheduler.config.limits import MAX_ACCELERATORS
from scheduler.config.refusal import refusal
from scheduler.config.values import name
from scheduler.model.accelerators import Accelerator, Catalog, Confidence, Figure, Provenance, Rings, Track, WorkClass
from scheduler.model.cluster import MAX_DEVICES_PER_NODE

__all__ = ["accelerators_of", "decode_accelerators", "joined", "load_accelerators"]

FIGURES: Final = {
    "hbm_gib": 8192.0, "bandwidth_tb_per_s": 200.0, "bf16_tflops": 1e5, "fp8_tflops": 1e5, "fp4_tflops": 1e6,
    "int8_tflops": 1e5, "link_gb_per_s": 2e4, "network_gb_per_s": 5e3, "tdp_w": 1e5, "price_cny": 1e9,
}  # fmt: skip
"""With what no single device reaches: beyond it, units are mixed up, such as megabytes for gigabytes."""

FIELDS: Final = (
    "name", "family", "vendor", "adapter", "track", "compute_units", "dies", "devices_per_node", "grants", "ring",
    *FIGURES, "rates", "notes", "defaults",
)  # fmt: skip


class _Origin(Struct, frozen=True):
    """Where figures come from that do not say it themselves."""

    provenance: Provenance | None = None
    confidence: Confidence | None = None
    source: str = ""


class _Origins(Struct, frozen=True):
    """`defaults: {figures: {from, confidence, source}, rates: {...}}` of a file or of one accelerator."""

    figures: _Origin = _Origin()
    rates: _Origin = _Origin()


def load_accelerators(path: str | Path) -> tuple[Accelerator, ...]:
    return accelerators_of(open_one(path, "accelerators"))


def decode_accelerators(values: object, source: str) -> tuple[Accelerator, ...]:
    return accelerators_of(from_values(values, source, "accelerators"))


def joined(parts: Iterable[tuple[str, tuple[Accelerator, ...]]]) -> Catalog:
    """One catalog of several files, in order of name. Raises ConfigError where two define the same name."""
    found: dict[str, tuple[str, Accelerator]] = {}
    for source, accelerators in parts:
        for accelerator in accelerators:
            if accelerator.name in found:
                first = found[accelerator.name][0]
                problem = f"accelerator `{accelerator.name}` is defined again, first in {first}"
                raise refusal(problem, "remove one of them", file=source)
            found[accelerator.name] = (source, accelerator)
    return Catalog(tuple(found[key][1] for key in sorted(found)))


def accelerators_of(cursor: Cursor) -> tuple[Accelerator, ...]:
    fields = cursor.fields("schema", "kind", "defaults", "accelerators")
    origins = _origins(fields.get("defaults"), _Origins())
    made: list[Accelerator] = []
    for item in fields["accelerators"].items(MAX_ACCELERATORS, least=1):
        accelerator = _accelerator(item, origins)
        if any(accelerator.name == other.name for other in made):
            raise item.wrong(f"accelerator `{accelerator.name}` is defined twice", "remove one of them")
        made.append(accelerator)
    return tuple(made)


def _accelerator(cursor: Cursor, above: _Origins) -> Accelerator:
    fields = cursor.fields(*FIELDS)
    origins = _origins(fields.get("defaults"), above)
    per_node = fields.get("devices_per_node")
    dies = fields.get("dies")
    notes, ring = fields.get("notes"), fields.get("ring")
    fields["hbm_gib"]  # which every device must say
    own = {key: _figure(item, origins.figures, most) for key, most in FIGURES.items() if (item := fields.get(key))}
    return Accelerator(
        name=name(fields["name"]),
        family=name(fields["family"], "family"),
        vendor=name(fields["vendor"], "vendor"),
        adapter=name(fields["adapter"], "adapter"),
        track=fields["track"].enum(Track),
        compute_units=fields["compute_units"].integer(0, 10**9),
        dies=dies.integer(1, 64) if dies else 1,
        devices_per_node=per_node.integer(1, MAX_DEVICES_PER_NODE) if per_node else 8,
        grants=_grants(fields),
        ring=_ring(ring) if ring else None,
        rates=_rates(fields.get("rates"), origins.rates),
        notes=notes.text(4096, 0) if notes else "",
        **own,
    )


def _grants(fields: Fields) -> tuple[int, ...]:
    cursor = fields.get("grants")
    if cursor is None:
        return ()
    counts = tuple(item.integer(1, MAX_DEVICES_PER_NODE) for item in cursor.items())
    if list(counts) != sorted(set(counts)):
        raise cursor.wrong("counts must ascend")
    return counts


def _ring(cursor: Cursor) -> Rings:
    """`{devices: 8, grants: [...]}` of nodes that have several rings."""
    fields = cursor.fields("devices", "grants")
    ring = Rings(fields["devices"].integer(2, MAX_DEVICES_PER_NODE // 2), _grants(fields))
    across = [count for count in ring.grants if count > ring.devices]
    if any(count % 2 or count > 2 * ring.devices for count in across):
        raise fields["grants"].wrong("more devices than one ring has lie half in each of two", "write even counts")
    return ring


def _rates(cursor: Cursor | None, origin: _Origin) -> Mapping[WorkClass, Figure]:
    if cursor is None:
        return {}
    fields = cursor.fields(*(member.value for member in WorkClass))
    return {member: _figure(item, origin) for member in WorkClass if (item := fields.get(member.value))}


def _origins(cursor: Cursor | None, above: _Origins) -> _Origins:
    if cursor is None:
        return above
    fields = cursor.fields("figures", "rates")
    return _Origins(_origin(fields.get("figures"), above.figures), _origin(fields.get("rates"), above.rates))


def _origin(cursor: Cursor | None, above: _Origin) -> _Origin:
    return above if cursor is None else _said(cursor.fields("from", "confidence", "source"), above)


def _said(fields: Fields, above: _Origin) -> _Origin:
    origin, confidence, source = fields.get("from"), fields.get("confidence"), fields.get("source")
    return _Origin(
        origin.enum(Provenance) if origin else above.provenance,
        confidence.enum(Confidence) if confidence else above.confidence,
        source.text(1024) if source else above.source,
    )


def _figure(cursor: Cursor, above: _Origin, most: float = 1e6) -> Figure:
    """A number, `[value, low, high]`, or a mapping that may also say where the figure comes from."""
    if cursor.is_mapping:
        fields = cursor.fields("value", "low", "high", "from", "confidence", "source")
        value, low, high = fields["value"], fields.get("low"), fields.get("high")
        origin = _said(fields, above)
    elif cursor.is_list:
        value, low, high = cursor.items(3, least=3)
        origin = above
    else:
        value, low, high = cursor, None, None
        origin = above
    if origin.provenance is None or origin.confidence is None or not origin.source:
        raise cursor.wrong("does not say where it comes from", "give `from`, `confidence` and `source`, or `defaults`")
    if origin.provenance is Provenance.MODELLED and (low is None or high is None):
        raise cursor.wrong("is modelled and has no band", "give `low` and `high`")
    mean = value.number()
    if mean > most:
        raise value.wrong(f"{mean:g} is more than any device has, {most:g}", "check the unit that the name ends in")
    band = (low.number() if low else mean, high.number() if high else mean)
    if not band[0] <= mean <= band[1]:
        raise cursor.wrong(f"{mean:g} lies outside its band [{band[0]:g}, {band[1]:g}]")
    return Figure(mean, *band, origin.provenance, origin.confidence, origin.source)
