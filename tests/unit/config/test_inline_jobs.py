"""Jobs from a command line, and errors that name the flag."""

import pytest

from scheduler.config import inline, load_catalog
from scheduler.errors import ConfigError
from scheduler.model.jobs import JobType, Option
from scheduler.model.tenants import JobClass


def test_a_command_line_is_a_job():
    job = inline(
        ["python", "src/My_Train.py", "--lr", "0.10"],
        accelerator="h200:8, h20-96:32/64",
        time="12h",
        tenant="search/ranking",
        job_class="production",
        priority=700,
        image="registry.example/x:1",
        env=["A=1=2"],
        labels=["team=x"],
    )
    assert job.name == "my-train"
    assert job.type is JobType.TRAINING
    assert job.job_class is JobClass.PRODUCTION
    assert job.roles[0].entrypoint[-1] == "0.10"
    assert job.roles[0].env == {"A": "1=2"}
    assert job.roles[0].resources.options == (
        Option(accelerator="h200", counts=(8,)),
        Option(accelerator="h20-96", counts=(32, 64)),
    )
    assert job.time_limit_us == 12 * 3600 * 10**6
    assert job.labels == {"team": "x"}


def test_a_program_lends_its_name():
    assert inline(["/bin/sleep", "3"], accelerator="cpu:1").name == "sleep"
    assert inline(["..."], accelerator="cpu:1").name == "job"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"accelerator": "h200"}, "--accelerator: `h200` is not an accelerator with a count; write NAME:COUNT"),
        ({"accelerator": "h200:8,"}, "--accelerator: `` is not an accelerator with a count"),
        ({"accelerator": "h200:0"}, "--accelerator: `0` is out of range; 1 to 1,000,000"),
        ({"accelerator": "h2000:8"}, "--accelerator: unknown accelerator `h2000`; did you mean `h200`?"),
        ({"time": "12"}, "--time: a duration is expected, not `12`"),
        ({"name": "A"}, "--name: `A` is not a name"),
        ({"tenant": "a b"}, "--tenant: `a b` is not a tenant"),
        ({"env": ["A"]}, "--env: `A` is not KEY=VALUE"),
        ({"env": ["A=1", "A=2"]}, "--env: `A` is given twice"),
        ({"env": ["LD_PRELOAD=x"]}, "--env: the variable `LD_PRELOAD`"),
        ({"labels": ["=x"]}, "--label: `=x` is not KEY=VALUE"),
        ({"type": "inference"}, "an inference job needs `service`"),
        ({"priority": 5000}, "--priority: `5000` is out of range"),
    ],
)
def test_a_mistake_names_its_flag(given, message):
    with pytest.raises(ConfigError) as caught:
        inline(["x"], **{"accelerator": "h200:8", "catalog": load_catalog(), **given})
    assert str(caught.value).startswith(message)


def test_no_command_is_no_job():
    with pytest.raises(ConfigError, match="no command is given"):
        inline([], accelerator="h200:8")
