"""Files as text for the tests of the reader, and one way to see what it says about them."""

import pytest

from scheduler.config import parse_jobs
from scheduler.errors import ConfigError

JOB = """\
schema: dualtrack/v1
kind: job
type: training
name: llama
entrypoint: [python, train.py]
resources:
  options:
    - {accelerator: h200, count: 8}
"""

SERVICE = """\
schema: dualtrack/v1
kind: job
type: inference
name: chat
entrypoint: [python, serve.py]
resources: {options: [{accelerator: h20-96, count: 1}]}
service: {model: qwen, min_replicas: 1, max_replicas: 2}
"""


def job_with(lines: str, base: str = JOB) -> str:
    """A job file with more lines at its end."""
    return base + lines


def refusal(text: str, base: str = JOB) -> str:
    """What the reader says about a job file with these lines added."""
    with pytest.raises(ConfigError) as caught:
        parse_jobs(job_with(text, base), "a.yaml")
    return str(caught.value)
