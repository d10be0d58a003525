"""The fastest layout that fits, for every useful count of devices: a job may then say only its model and the chips.

All layouts of an accelerator are judged at once, as arrays. Tensor parallelism stays within a node.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from scheduler.errors import UsageError
from scheduler.model.accelerators import Accelerator, Provenance
from scheduler.model.transformers import Transformer
from scheduler.profiles.footprint import Footprint, training_footprint
from scheduler.profiles.layouts import Layout, Precision, Recompute
from scheduler.profiles.memory import OutOfMemory, fits
from scheduler.profiles.steps import Models, Splits, chips_of, models_of
from scheduler.profiles.table import Rate
from scheduler.profiles.training_rates import TrainingCoefficients, log_reach, step_seconds

__all__ = ["Arrangement", "search_layouts", "usual_counts"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MICRO_BATCHES = (1, 2, 4, 8, 16, 32)
VIRTUAL_STAGES = (1, 2, 4)
CONTEXTS = (1, 2, 4, 8)
LONG_SEQUENCE = 16_384
"""Tokens from which on a sequence may be split over devices."""

DEEPEST_PIPELINE = 64
MOST_UNEVEN = 1.15
"""Layers of the fullest stage over an even share, up to which stages may differ."""

LEAST_GAIN = 0.02
"""A count is useful when it is faster than every smaller one by so much."""


class Arrangement(Struct, frozen=True, kw_only=True):
    """The fastest layout of `count` devices. `rate`: tokens a second of the job; `memory`: bytes predicted a device."""

    accelerator: str
    count: int
    layout: Layout
    step_s: float
    rate: Rate
    memory: float

    @property
    def per_device(self) -> float:
        return self.rate.value / self.count


class _Layouts(Struct, frozen=True):
    """Every layout of some counts, side by side; `count` (n,) devices of each, `footprint` the memory it takes."""

    count: IntArray
    splits: Splits
    footprint: Footprint


def usual_counts(node: int, most: int) -> tuple[int, ...]:
    """Up to `most` devices: powers of two within a node, nodes one by one up to eight, then four in each doubling."""
    within = [2**k for k in range(int(math.log2(node)) + 1)]
    nodes = [*range(1, 9), *(m * 2**k for k in range(1, 24) for m in (5, 6, 7, 8))]
    return tuple(sorted({n for n in [*within, *(node * m for m in nodes)] if n <= most}))


def search_layouts(
    transformer: Transformer,
    accelerators: Sequence[Accelerator],
    coefficients: TrainingCoefficients,
    *,
    global_batch: int,
    seq_len: int,
    counts: Mapping[str, Sequence[int]] | None = None,
    most: int = 64,
    precision: Precision = Precision.BF16,
    min_efficiency: float = 0.5,
    seen: Iterable[OutOfMemory] = (),
    engine: str = "",
) -> dict[str, tuple[Arrangement, ...]]:
    """By accelerator, the fastest layout of each useful count, fewest devices first; empty where none fits.

    `counts` by accelerator, else the usual ones up to `most` devices. A count is useful when it is faster than all
    smaller ones and reaches `min_efficiency` of the best rate per device. `seen`: what ran out of memory before.
    `engine`: the software with its version, empty for an average one.
    UsageError where the batch or sequence is below 1, or the catalog lacks an accelerator's figures.
    """
    if global_batch < 1 or seq_len < 1:
        raise UsageError(f"a batch of {global_batch} sequences of {seq_len} tokens", "give both as at least 1")
    models, facts = models_of(transformer, seq_len), tuple(seen)
    known: dict[tuple[object, ...], _Layouts] = {}
    found = {}
    for accelerator in accelerators:
        node = accelerator.devices_per_node
        wanted = tuple((counts or {}).get(accelerator.name) or usual_counts(node, most))
        if (wanted, node) not in known:
            known[wanted, node] = _layouts(transformer, wanted, node, global_batch, seq_len, precision)
        best = _best(transformer, models, accelerator, coefficients, known[wanted, node], facts, engine)
        found[accelerator.name] = tuple(_useful(best, min_efficiency))
    return found


def _useful(best: Sequence[Arrangement], min_efficiency: float) -> Iterator[Arrangement]:
    most_per_device = max((a.per_device for a in best), default=0.0)
    fastest = 0.0
    for arrangement in best:
        rate = arrangement.rate.value
        if rate > fastest * (1 + LEAST_GAIN) and arrangement.per_device >= min_efficiency * most_per_device:
            fastest = rate
            yield arrangement


def _best(
    transformer: Transformer,
    models: Models,
    accelerator: Accelerator,
    coefficients: TrainingCoefficients,
    layouts: _Layouts,
    seen: Sequence[OutOfMemory],
    engine: str,
) -> list[Arrangement]:
    chips = chips_of(accelerator)
    footprint = layouts.footprint
    kept = np.flatnonzero(fits(footprint, chips.memory, model=transformer.name, seen=seen))
    if not len(kept):
        return []
    splits, count = _chosen(layouts.splits, kept), layouts.count[kept]
    seconds, shares = step_seconds(coefficients, accelerator, models, chips, splits, engine)
    order = np.lexsort((seconds, count))
    first = order[np.unique(count[order], return_index=True)[1]]
    reach = log_reach(coefficients, accelerator, shares[first], engine)
    known = accelerator.name in coefficients.devices
    made = []
    for place, beyond in zip(first, reach, strict=True):
        layout = _layout(splits, place)
        batch = layout.data * layout.micro_batch * splits.micro_batches[place]  # type: ignore[index]
        tokens = float(batch * models.seq_len / seconds[place])
        provenance = Provenance.DERIVED if known else Provenance.MODELLED
        made.append(
            Arrangement(
                accelerator=accelerator.name,
                count=int(count[place]),
                layout=layout,
                step_s=float(seconds[place]),
                rate=Rate(tokens, tokens * math.exp(-beyond), tokens * math.exp(beyond), provenance),
                memory=float(footprint.total[kept[place]]),
            )
        )
    return made


def _chosen(splits: Splits, places: IntArray) -> Splits:
    return Splits(**{name: column[places] for name, column in structs.asdict(splits).items()})


def _layout(splits: Splits, place: int) -> Layout:
    row = {name: int(column[place]) for name, column in structs.asdict(splits).items()}
    return Layout(
        data=row["data"],
        tensor=row["tensor"],
        pipeline=row["pipeline"],
        expert=row["expert"],
        context=row["context"],
        zero=row["zero"],
        recompute=Recompute.FULL if row["full"] else Recompute.NONE,
        micro_batch=row["micro_batch"],
        virtual_stages=row["virtual_stages"],
    )


def _layouts(
    t: Transformer, counts: Sequence[int], node: int, global_batch: int, seq_len: int, precision: Precision
) -> _Layouts:
    """Every layout that divides devices, model, batch and sequence; memory is judged later."""
    axes = np.array([row for n in counts for row in _axes(t, n, node, global_batch, seq_len)], dtype=np.int64)
    axes = axes.reshape(-1, 6)
    choices = np.array(list(itertools.product(MICRO_BATCHES, VIRTUAL_STAGES, (1, 3), (0, 1))), dtype=np.int64)
    rows = np.hstack([np.repeat(axes, len(choices), axis=0), np.tile(choices, (len(axes), 1))])
    _, _, pipeline, _, context, data, micro, virtual, zero, _ = rows.T
    chunks = pipeline * virtual
    whole = (global_batch % (data * micro) == 0) & (-(-t.layers // chunks) * chunks <= MOST_UNEVEN * t.layers)
    whole &= (virtual == 1) | (pipeline > 1)
    whole &= (zero == 1) | ((pipeline == 1) & (data * context > 1))
    rows = rows[whole]
    splits = _splits(rows, global_batch, precision)
    return _Layouts(rows[:, 0], splits, training_footprint(models_of(t, seq_len), splits))


def _axes(
    t: Transformer, n: int, node: int, global_batch: int, seq_len: int
) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Count, tensor, pipeline, expert, context and data of every split of n devices."""
    tensors = [k for k in _powers(node) if n % k == 0 and t.heads % k == 0]
    contexts = [k for k in CONTEXTS if seq_len % k == 0] if seq_len >= LONG_SEQUENCE else [1]
    experts = [k for k in _powers(t.experts) if t.experts % k == 0] if t.experts else [1]
    for tensor, context in itertools.product(tensors, contexts):
        rest, left_over = divmod(n, tensor * context)
        if left_over:
            continue
        for pipeline in range(1, min(rest, DEEPEST_PIPELINE, t.layers) + 1):
            if rest % pipeline or global_batch % (rest // pipeline):
                continue
            data = rest // pipeline
            for expert in experts:
                if data * context * tensor % expert == 0:
                    yield n, tensor, pipeline, expert, context, data


def _powers(most: int) -> list[int]:
    return [2**k for k in range(int(math.log2(most)) + 1)]


def _splits(rows: IntArray, global_batch: int, precision: Precision) -> Splits:
    columns = rows.T.astype(np.float64)
    _, tensor, pipeline, expert, context, data, micro, virtual, zero, full = columns
    return Splits(
        data=data,
        tensor=tensor,
        pipeline=pipeline,
        expert=expert,
        context=context,
        zero=zero,
        full=full,
        selective=np.zeros_like(full),
        micro_batch=micro,
        micro_batches=global_batch / (data * micro),
        virtual_stages=virtual,
        parallel=np.ones_like(full),
        low=np.full_like(full, float(precision is Precision.FP8)),
    )
