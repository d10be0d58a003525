"""What devices are worth to a job: its speed on them in H20-equivalents."""

from collections.abc import Sequence

from scheduler.model.accelerators import Catalog
from scheduler.model.allocations import Chosen
from scheduler.model.jobs import Work
from scheduler.model.units import WHOLE_DEVICE
from scheduler.profiles.table import rate_of

__all__ = ["REFERENCE", "h20_equivalents"]

REFERENCE = "h20-96"

MOST_OF_A_DEVICE = 100.0
"""H20-equivalents: users state what rates they like, and no chip of the catalog is worth a sixth of that."""


def h20_equivalents(work: Work, chosen: Sequence[Chosen], catalog: Catalog) -> float:
    """How many times faster than on one h20-96 the job runs; roles are summed.

    Where nothing is known of its speed there, or on an h20-96, the operator's compute units stand in: 1000 are one.
    """
    unit = catalog.get(REFERENCE)
    single = rate_of(work, unit, 1, catalog) if unit else None
    found = 0.0
    for part in chosen:
        chip = catalog.get(part.accelerator)
        if chip is None:
            continue
        here = rate_of(work, chip, part.count, catalog)
        known = here is not None and single is not None and single.value > 0 and here.absolute == single.absolute
        whole = here.value / single.value if known and here and single else chip.compute_units * part.count / 1000
        found += min(whole, MOST_OF_A_DEVICE * part.count) * part.thousandths / WHOLE_DEVICE
    return found
