"""Any file of measurements, by what its heading says it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from scheduler.config.readers.own import OWN_COLUMNS, read_json, read_own
from scheduler.config.readers.profiled import GAVEL_COLUMNS, SIA_COLUMNS, read_gavel_profiles, read_sia_profiles
from scheduler.config.readers.published import (
    MLPERF_COLUMNS,
    PUBLISHED_COLUMNS,
    SILICON_COLUMNS,
    read_mlperf,
    read_published,
    read_silicon,
)
from scheduler.config.readers.readings import Readings, Told
from scheduler.config.readers.table import read_heading
from scheduler.errors import ConfigError
from scheduler.model.accelerators import Catalog

__all__ = ["read_measurements"]

PUBLIC: Final[tuple[tuple[tuple[str, ...], Callable[[str | Path, Catalog], Readings]], ...]] = (
    (SILICON_COLUMNS, read_silicon),
    (MLPERF_COLUMNS, read_mlperf),
    (GAVEL_COLUMNS, read_gavel_profiles),
    (SIA_COLUMNS, read_sia_profiles),
    (PUBLISHED_COLUMNS, read_published),
)
HALF: Final = 0.6
"""Share of a format's columns from which a table is taken for one of it, so that it can say which are missing."""


def read_measurements(path: str | Path, catalog: Catalog, told: Told | None = None) -> Readings:
    """Observations of a table or of a benchmark's JSON. Raises ConfigError with file and line for what is wrong."""
    if Path(path).suffix in (".json", ".jsonl"):
        return read_json(path, catalog, told)
    heading = set(read_heading(path))
    alike = [len(heading & set(columns)) / len(columns) for columns, _ in PUBLIC]
    most = max(range(len(PUBLIC)), key=alike.__getitem__)
    reader = PUBLIC[most][1]
    if alike[most] >= HALF:
        return reader(path, catalog)
    if heading & set(OWN_COLUMNS):
        return read_own(path, catalog, told)
    remedy = f"a table of your own has {', '.join(OWN_COLUMNS)} and a column such as step_s or tokens_per_s"
    raise ConfigError("is no table of measurements that is known", remedy, file=str(path), line=1)
