"""Whatever job there is, its written form reads as the same job, as values, as JSON and as YAML."""

import json

from hypothesis import HealthCheck, given, settings

from scheduler.config import decode_job, dump_yaml, encode, parse_jobs
from tests.support.config_texts import JOB
from tests.support.job_strategies import jobs

quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(jobs())
def test_an_encoded_job_decodes_as_itself(job):
    assert decode_job(encode(job)) == job


@quick
@given(jobs())
def test_an_encoded_job_survives_json_and_yaml(job):
    form = encode(job)
    assert decode_job(json.loads(json.dumps(form, allow_nan=False))) == job
    assert parse_jobs(dump_yaml(form), "a.yaml") == [job]


def test_defaults_are_left_out():
    (job,) = parse_jobs(JOB, "a.yaml")
    assert encode(job) == {
        "schema": "dualtrack/v1",
        "kind": "job",
        "type": "training",
        "name": "llama",
        "entrypoint": ["python", "train.py"],
        "resources": {"options": [{"accelerator": "h200", "count": 8}]},
    }
