"""What a role runs and on what: its command line, image, and the options it could take."""

from scheduler.config.cluster import known_accelerator
from scheduler.config.cursor import Cursor
from scheduler.config.limits import MAX_ARGUMENTS, MAX_COUNT, MAX_COUNTS, MAX_OPTIONS, MAX_SCALAR
from scheduler.config.values import cpu_milli, duration, memory_mib
from scheduler.model.accelerators import Catalog
from scheduler.model.jobs import Level, Option, PerDevice, Prefer, RanksPer, Resources, Topology
from scheduler.model.units import WHOLE_DEVICE

__all__ = ["arguments", "image", "resources"]


def arguments(cursor: Cursor) -> tuple[str, ...]:
    """A command line as a list; no shell ever sees it."""
    if not cursor.is_list:
        raise cursor.expected("a list of arguments", "write [python, train.py, --lr, 0.1]")
    found = tuple(item.text(MAX_SCALAR, 0) for item in cursor.items(MAX_ARGUMENTS, least=1))
    if not found[0].strip():
        raise cursor.wrong("the first argument is empty", "name the program to run")
    if sum(map(len, found)) > MAX_SCALAR:
        raise cursor.wrong(f"is longer than {MAX_SCALAR:,} characters in all")
    return found


def image(cursor: Cursor) -> str:
    text = cursor.line_of_text(512)
    if " " in text or text.startswith("-"):
        raise cursor.wrong(f"`{text[:80]}` is not an image", "such as registry.example/train:cuda")
    return text


def resources(cursor: Cursor, catalog: Catalog | None) -> Resources:
    fields = cursor.fields("options", "ranks_per", "prefer", "elastic", "min_efficiency", "per_device", "topology")
    listed, ranks, prefer = fields.get("options"), fields.get("ranks_per"), fields.get("prefer")
    elastic, efficiency = fields.get("elastic"), fields.get("min_efficiency")
    per_device, topology = fields.get("per_device"), fields.get("topology")
    made = Resources(
        options=_options(listed, catalog) if listed else (),
        ranks_per=ranks.enum(RanksPer) if ranks else RanksPer.DIE,
        prefer=prefer.enum(Prefer) if prefer else Prefer.BALANCED,
        elastic=elastic.boolean() if elastic else False,
        min_efficiency=efficiency.number(0, 1) if efficiency else 0.0,
        per_device=_per_device(per_device) if per_device else None,
        topology=_topology(topology) if topology else Topology(),
    )
    if elastic and made.elastic and made.options and all(len(option.counts) == 1 for option in made.options):
        raise elastic.wrong("an elastic job needs an option with several counts", "such as count: [8, 16]")
    return made


def _options(cursor: Cursor, catalog: Catalog | None) -> tuple[Option, ...]:
    made: list[Option] = []
    seen: set[tuple[str, int]] = set()
    for item in cursor.items(MAX_OPTIONS, least=1):
        option = _option(item, catalog)
        for count in option.counts:
            if (option.accelerator, count) in seen:
                raise item.wrong(f"{count} x {option.accelerator} is listed twice", "remove one")
            seen.add((option.accelerator, count))
        made.append(option)
    return tuple(made)


def _option(cursor: Cursor, catalog: Catalog | None) -> Option:
    fields = cursor.fields("accelerator", "count", "share", "after_wait", "image")
    share, wait, own = fields.get("share"), fields.get("after_wait"), fields.get("image")
    counts = _counts(fields["count"])
    return Option(
        accelerator=known_accelerator(fields["accelerator"], catalog),
        counts=counts,
        thousandths=_thousandths(share, counts) if share else WHOLE_DEVICE,
        after_wait_us=duration(wait) if wait else 0,
        image=image(own) if own else "",
    )


def _thousandths(cursor: Cursor, counts: tuple[int, ...]) -> int:
    """A share of one device, between a thousandth and the whole."""
    thousandths = round(cursor.number(0, 1, above=True) * WHOLE_DEVICE)
    if not thousandths:
        raise cursor.wrong("is less than a thousandth of a device", "ask for at least 0.001")
    if thousandths < WHOLE_DEVICE and counts != (1,):
        raise cursor.wrong("a share is of one device", "write count: 1, or leave out `share`")
    return thousandths


def _counts(cursor: Cursor) -> tuple[int, ...]:
    if not cursor.is_list:
        return (cursor.integer(1, MAX_COUNT),)
    counts = tuple(item.integer(1, MAX_COUNT) for item in cursor.items(MAX_COUNTS, least=1))
    if list(counts) != sorted(set(counts)):
        raise cursor.wrong("counts must ascend", f"write {sorted(set(counts))}")
    return counts


def _per_device(cursor: Cursor) -> PerDevice:
    fields = cursor.fields("cpus", "memory_gib")
    return PerDevice(cpu_milli=cpu_milli(fields["cpus"]), memory_mib=memory_mib(fields["memory_gib"]))


def _topology(cursor: Cursor) -> Topology:
    fields = cursor.fields("prefer", "require")
    prefer, require = fields.get("prefer"), fields.get("require")
    return Topology(
        prefer=prefer.enum(Level) if prefer else Level.CELL,
        require=require.enum(Level) if require else Level.CELL,
    )
