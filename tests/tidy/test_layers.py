"""A package imports only from the packages below it, and the core touches nothing of the outside world."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tree import ROOT, module_name, sources

LAYERS = (
    "scheduler.errors",
    "scheduler.model",
    "scheduler.ports",
    "scheduler.config",
    "scheduler.profiles",
    "scheduler.quota",
    "scheduler.policies",
    "scheduler.placement",
    "scheduler.engine",
    "scheduler.journal",
    "scheduler.simulator",
    "scheduler.planning",
    "scheduler.service",
    "scheduler.cli",
)
BACKENDS_MAY = ("scheduler.errors", "scheduler.model", "scheduler.ports", "backends")
WIRING = "scheduler.service.wiring"
PURE = tuple(f"scheduler.{name}" for name in ("model", "profiles", "quota", "policies", "placement", "engine"))
OUTSIDE_WORLD = frozenset(
    {"time", "datetime", "random", "secrets", "uuid", "logging", "os", "pathlib", "io", "tempfile", "shutil", "httpx"}
    | {"sqlite3", "sqlalchemy", "socket", "subprocess", "threading", "multiprocessing", "asyncio", "urllib"}
)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def layer(name: str) -> int | None:
    return next((rank for rank, package in enumerate(LAYERS) if within(name, package)), None)


def imported(path: Path) -> Iterator[str]:
    """Absolute names of everything the file imports, at the top and inside functions."""
    here = module_name(path).split(".")
    if path.name != "__init__.py":
        here = here[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*here[: len(here) - node.level + 1], *([node.module] if node.module else [])]
            name = ".".join(base) if node.level else node.module or ""
            yield from (f"{name}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sources("scheduler"), ids=module_name)
def test_a_module_imports_only_from_lower_layers(path):
    rank = layer(module_name(path))
    higher = [name for name in imported(path) if rank is not None and (layer(name) or 0) > rank]
    assert not higher, f"{module_name(path)} imports {higher}"


@pytest.mark.parametrize("path", sources("backends"), ids=module_name)
def test_backends_know_only_the_errors_the_model_and_the_ports(path):
    known = [n for n in imported(path) if within(n, "scheduler") and not any(within(n, may) for may in BACKENDS_MAY)]
    assert not known, f"{module_name(path)} imports {known}"


@pytest.mark.parametrize("path", sources("scheduler"), ids=module_name)
def test_the_scheduler_imports_no_executor_and_only_config_reads_yaml(path):
    module = module_name(path)
    heads = {name.split(".")[0] for name in imported(path)}
    assert not heads & {"ray", "torch"}
    assert "backends" not in heads or module == WIRING
    assert "yaml" not in heads or within(module, "scheduler.config")


@pytest.mark.parametrize("package", PURE)
def test_the_core_imports_nothing_of_the_outside_world(package):
    for path in sources("scheduler"):
        if within(module_name(path), package):
            impure = {name.split(".")[0] for name in imported(path)} & OUTSIDE_WORLD
            assert not impure, f"{module_name(path)} imports {sorted(impure)}"


def test_every_package_of_the_scheduler_has_a_layer():
    packages = {module_name(path) for path in (ROOT / "scheduler").glob("*/__init__.py")}
    assert packages <= set(LAYERS)
