"""Any file by the kind that it says it is, for whoever only wants to know whether it is right."""

from collections.abc import Callable
from pathlib import Path

from scheduler.config.accelerators import load_accelerators
from scheduler.config.bounded_yaml import read
from scheduler.config.cluster import load_cluster
from scheduler.config.cursor import Cursor
from scheduler.config.document import kind_of
from scheduler.config.job import load_jobs
from scheduler.config.limits import WORKLOAD_LIMITS
from scheduler.config.policy import load_policy
from scheduler.config.rules import load_rules
from scheduler.config.scenario import Scenario, load_scenario
from scheduler.config.tenants import load_tenants
from scheduler.config.workload import load_workload
from scheduler.model.accelerators import Accelerator, Catalog
from scheduler.model.cluster import Cluster
from scheduler.model.jobs import Job
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.tenants import Tenants
from scheduler.model.workload import Workload

__all__ = ["Loaded", "load_any"]

Loaded = list[Job] | Cluster | Tenants | Rules | Policy | Workload | Scenario | tuple[Accelerator, ...]


def load_any(path: str | Path, catalog: Catalog | None = None) -> tuple[str, Loaded]:
    """The kind of a file and what it holds. The file is read twice, the second time within its kind's own limits."""
    kind = kind_of(Cursor(read(path, WORKLOAD_LIMITS)[0], str(path)))
    loaders: dict[str, Callable[[], Loaded]] = {
        "job": lambda: load_jobs(path, catalog),
        "cluster": lambda: load_cluster(path, catalog),
        "tenants": lambda: load_tenants(path, catalog),
        "rules": lambda: load_rules(path, catalog),
        "policy": lambda: load_policy(path),
        "workload": lambda: load_workload(path, catalog),
        "scenario": lambda: load_scenario(path),
        "accelerators": lambda: load_accelerators(path),
    }
    return kind, loaders[kind]()
