"""Text to model: bounded YAML, strict decoding, and errors that name file, line and path."""

from scheduler.config.accelerators import decode_accelerators, load_accelerators
from scheduler.config.cluster import decode_cluster, driven, load_cluster
from scheduler.config.dump import dump_yaml
from scheduler.config.hopeless import Problem, refuse_hopeless
from scheduler.config.inline import inline
from scheduler.config.job import decode_job, load_jobs, parse_jobs
from scheduler.config.job_encode import encode
from scheduler.config.kinds import Loaded, load_any, read_text
from scheduler.config.policy import decode_policy, load_policy
from scheduler.config.profiles import Profiles, encode_profiles, load_fit, load_profiles, plain_fit, rates_as_csv
from scheduler.config.references import check_job_against
from scheduler.config.rules import decode_rules, load_rules
from scheduler.config.scenario import Scenario, decode_scenario, load_scenario
from scheduler.config.shipped import load_catalog, load_models, shipped, shipped_names, with_profiles
from scheduler.config.tenant_encode import encode_tenants
from scheduler.config.tenants import decode_tenants, load_tenants
from scheduler.config.workload import decode_workload, load_workload

__all__ = [
    "Loaded",
    "Problem",
    "Profiles",
    "Scenario",
    "check_job_against",
    "decode_accelerators",
    "decode_cluster",
    "decode_job",
    "decode_policy",
    "decode_rules",
    "decode_scenario",
    "decode_tenants",
    "decode_workload",
    "driven",
    "dump_yaml",
    "encode",
    "encode_profiles",
    "encode_tenants",
    "inline",
    "load_accelerators",
    "load_any",
    "load_catalog",
    "load_cluster",
    "load_fit",
    "load_jobs",
    "load_models",
    "load_policy",
    "load_profiles",
    "load_rules",
    "load_scenario",
    "load_tenants",
    "load_workload",
    "parse_jobs",
    "plain_fit",
    "rates_as_csv",
    "read_text",
    "refuse_hopeless",
    "shipped",
    "shipped_names",
    "with_profiles",
]
