"""Any file by the kind that it says it is, for whoever only wants to know whether it is right."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from scheduler.config.accelerators import accelerators_of
from scheduler.config.bounded_yaml import parse, read_bytes
from scheduler.config.cluster import cluster_of
from scheduler.config.cursor import Cursor
from scheduler.config.document import kind_of, parsed
from scheduler.config.job import job_of
from scheduler.config.limits import ANY_LIMITS
from scheduler.config.models import models_of
from scheduler.config.policy import policy_of
from scheduler.config.profiles import Profiles, profiles_of
from scheduler.config.rules import rules_of
from scheduler.config.scenario import Scenario, scenario_of
from scheduler.config.tenants import tenants_of
from scheduler.config.workload import workload_of
from scheduler.model.accelerators import Accelerator, Catalog
from scheduler.model.cluster import Cluster
from scheduler.model.jobs import Job
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.tenants import Tenants
from scheduler.model.transformers import Transformer
from scheduler.model.workload import Workload

__all__ = ["Loaded", "load_any", "read_text"]

Loaded = (
    list[Job]
    | Cluster
    | Tenants
    | Rules
    | Policy
    | Workload
    | Scenario
    | Profiles
    | tuple[Accelerator, ...]
    | tuple[Transformer, ...]
)

DECODERS: Final[dict[str, Callable[[list[Cursor], Catalog | None], Loaded]]] = {
    "job": lambda documents, catalog: [job_of(document, catalog) for document in documents],
    "cluster": lambda documents, catalog: cluster_of(documents[0], catalog),
    "tenants": lambda documents, catalog: tenants_of(documents[0], catalog),
    "rules": lambda documents, catalog: rules_of(documents[0], catalog),
    "policy": lambda documents, catalog: policy_of(documents[0]),
    "workload": lambda documents, catalog: workload_of(documents[0], catalog),
    "scenario": lambda documents, catalog: scenario_of(documents[0]),
    "accelerators": lambda documents, catalog: accelerators_of(documents[0]),
    "models": lambda documents, catalog: models_of(documents[0]),
    "profiles": lambda documents, catalog: profiles_of(documents[0], catalog),
}


def load_any(path: str | Path, catalog: Catalog | None = None, cluster: Cluster | None = None) -> tuple[str, Loaded]:
    """The kind of a file and what it holds. With a cluster, rules that it cannot satisfy are refused."""
    return read_text(read_bytes(path, ANY_LIMITS), str(path), catalog, cluster)


def read_text(
    text: str | bytes, source: str, catalog: Catalog | None = None, cluster: Cluster | None = None
) -> tuple[str, Loaded]:
    """The kind of a text and what it holds. It is parsed twice, the second time within its kind's own limits."""
    kind = kind_of(Cursor(parse(text, source, ANY_LIMITS)[0], source))
    if kind == "rules" and cluster is not None:
        return kind, rules_of(parsed(text, source, kind)[0], catalog, cluster)
    return kind, DECODERS[kind](parsed(text, source, kind), catalog)
