"""From file names to the configuration in force: short names mean shipped files, anything else is a path."""

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from scheduler.config import (
    driven,
    load_catalog,
    load_cluster,
    load_policy,
    load_rules,
    load_tenants,
    shipped,
    shipped_names,
    with_profiles,
)
from scheduler.errors import ConfigError
from scheduler.model.accelerators import Catalog
from scheduler.model.cluster import Cluster
from scheduler.model.events import Configured
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.tenants import Tenant, Tenants
from scheduler.placement import STRATEGIES
from scheduler.policies import POLICIES

__all__ = ["DEFAULT_TENANT", "Sources", "configured", "file_of"]

DEFAULT_TENANT: Final = "default"
"""The only tenant where no file lists any, and the one of jobs that name none."""

_FALLBACK: Final = Tenants(tenants=(Tenant(name=DEFAULT_TENANT),))


class Sources(Struct, frozen=True, kw_only=True):
    """Files or shipped names; empty ones take a default. `executor` overrides that of every cell. `profiles`: a file of
    rates and fits that go before the shipped ones."""

    cluster: str
    tenants: str = ""
    rules: str = ""
    policy: str = ""
    placement: str = ""
    executor: str = ""
    profiles: str = ""


def file_of(kind: str, name: str) -> Path:
    """The file that `name` means. Raises ConfigError that names the nearest shipped one."""
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or "/" in name or path.is_file():
        return path
    return shipped(kind, name)


def configured(sources: Sources, known: Configured | None = None) -> Configured:
    """Everything that the files say, checked against each other. Raises ConfigError.

    Without a cluster among the sources, what they do not name is that of `known`, which was in force before.
    """
    catalog = load_catalog()
    if sources.profiles:
        catalog = with_profiles(catalog, [Path(sources.profiles).expanduser()])
    before = known if known is not None and not sources.cluster else None
    cluster = before.cluster if before else load_cluster(file_of("cluster", sources.cluster), catalog)
    if sources.executor:
        cells = tuple(driven(cell, sources.executor) for cell in cluster.cells)
        cluster = msgspec.structs.replace(cluster, cells=cells)
    rules = before.rules if before else Rules()
    again = sources.policy or sources.placement
    return Configured(
        catalog=catalog,
        cluster=cluster,
        tenants=before.tenants if before and not sources.tenants else _tenants(sources, cluster, catalog),
        rules=load_rules(file_of("rules", sources.rules), catalog, cluster) if sources.rules else rules,
        policy=before.policy if before and not again else _policy(sources, cluster),
    )


def _tenants(sources: Sources, cluster: Cluster, catalog: Catalog) -> Tenants:
    """The named file, else the shipped one that belongs to the cluster, else one tenant without limits."""
    name = sources.tenants or (cluster.name if cluster.name in shipped_names("tenants") else "")
    return load_tenants(file_of("tenants", name), catalog) if name else _FALLBACK


def _policy(sources: Sources, cluster: Cluster) -> Policy:
    """The named file or policy, else the shipped one that belongs to the cluster, else the default."""
    known = shipped_names("policy")
    name = sources.policy or (cluster.name if cluster.name in known else "")
    if not name:
        policy = Policy()
    elif name in POLICIES and name not in known:
        policy = Policy(name=name)
    else:
        policy = load_policy(file_of("policy", name))
    if sources.placement:
        policy = msgspec.structs.replace(policy, placement=sources.placement)
    if policy.name not in POLICIES:
        raise ConfigError(f"no policy is called {policy.name[:60]!r}", f"use one of {', '.join(POLICIES)}")
    if policy.placement not in STRATEGIES:
        raise ConfigError(f"no placement is called {policy.placement[:60]!r}", f"use one of {', '.join(STRATEGIES)}")
    return policy
