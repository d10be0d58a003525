"""Text to model: bounded YAML, strict decoding, and errors that name file, line and path."""

from scheduler.config.accelerators import decode_accelerators, load_accelerators
from scheduler.config.cluster import decode_cluster, load_cluster
from scheduler.config.job import decode_job, load_jobs
from scheduler.config.policy import decode_policy, load_policy
from scheduler.config.shipped import load_catalog, shipped, shipped_names
from scheduler.config.tenants import decode_tenants, load_tenants
from scheduler.config.workload import decode_workload, load_workload

__all__ = [
    "decode_accelerators",
    "decode_cluster",
    "decode_job",
    "decode_policy",
    "decode_tenants",
    "decode_workload",
    "load_accelerators",
    "load_catalog",
    "load_cluster",
    "load_jobs",
    "load_policy",
    "load_tenants",
    "load_workload",
    "shipped",
    "shipped_names",
]
