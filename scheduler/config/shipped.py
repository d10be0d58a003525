"""The files that ship with dualtrack, found by short name wherever the package is installed."""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Final

from msgspec import structs

from scheduler.config.accelerators import joined, load_accelerators
from scheduler.config.cursor import nearest
from scheduler.config.limits import SMALL_LIMITS
from scheduler.config.models import joined_models, load_models_file
from scheduler.config.profiles import load_profiles
from scheduler.config.refusal import refusal
from scheduler.model.accelerators import Catalog
from scheduler.model.transformers import Transformer

__all__ = ["load_catalog", "load_models", "shipped", "shipped_names", "with_profiles"]

PACKAGE: Final = "cluster_configs"
FOLDERS: Final = {
    "accelerators": "accelerators",
    "cluster": "clusters",
    "tenants": "tenants",
    "rules": "rules",
    "policy": "policies",
    "workload": "workloads",
    "scenario": "scenarios",
    "models": "models",
    "profiles": "profiles",
}
MAX_FILES: Final = 1_000


def load_catalog(directory: str | Path | None = None) -> Catalog:
    """Every accelerator file of a directory as one catalog in order of name; without one, the shipped files. With it
    the shipped architectures and profiles."""
    paths = _files(directory, "accelerators")
    found = joined((str(path), load_accelerators(path)) for path in paths)
    return with_profiles(structs.replace(found, models=load_models()), _files(None, "profiles"))


def with_profiles(catalog: Catalog, paths: Iterable[str | Path]) -> Catalog:
    """The catalog with what profile files hold; of two figures of one cell, and of two fits, the later one counts."""
    rates, fits = {rate.cell: rate for rate in catalog.rates}, dict(catalog.fits)
    for path in paths:
        profiles = load_profiles(path, catalog)
        rates |= {rate.cell: rate for rate in profiles.rates}
        fits |= profiles.fits
    return structs.replace(catalog, rates=tuple(rates.values()), fits=fits)


def load_models(directory: str | Path | None = None) -> tuple[Transformer, ...]:
    """Every model file of a directory; without one, the shipped architectures."""
    return joined_models((str(path), load_models_file(path)) for path in _files(directory, "models"))


def _files(directory: str | Path | None, kind: str) -> list[Path]:
    folder = Path(directory) if directory is not None else _folder(kind)
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    except OSError as error:
        raise refusal(f"cannot be read: {error.strerror}", file=str(folder)) from None
    if not paths or len(paths) > MAX_FILES:
        raise refusal(f"holds {len(paths)} files of kind {kind}, 1 to {MAX_FILES} needed", file=str(folder))
    if sum(path.stat().st_size for path in paths) > 4 * SMALL_LIMITS.size:
        raise refusal(f"holds more text than files of kind {kind} may", file=str(folder))
    return paths


def shipped_names(kind: str) -> tuple[str, ...]:
    """Short names of the shipped files of a kind, such as `demo` of kind `cluster`."""
    folder = _folder(kind)
    return tuple(sorted(path.stem for path in folder.glob("*.yaml"))) if folder.is_dir() else ()


def shipped(kind: str, name: str) -> Path:
    """The shipped file of a kind with a short name. Raises ConfigError that names the nearest."""
    known = shipped_names(kind)
    if name not in known:
        raise refusal(f"no {kind} file called `{name[:80]}` is shipped", nearest(name, known))
    return _folder(kind) / f"{name}.yaml"


def _folder(kind: str) -> Path:
    if kind not in FOLDERS:
        raise refusal(f"no files of kind `{kind[:80]}` are shipped", nearest(kind, FOLDERS))
    return Path(str(resources.files(PACKAGE).joinpath(FOLDERS[kind])))
