"""Job files: every field of the contract, and each mistake with its place and remedy."""

import pytest

from scheduler.config import check_job_against, decode_job, load_catalog, load_jobs, parse_jobs
from scheduler.errors import ConfigError
from scheduler.model.accelerators import WorkClass
from scheduler.model.jobs import Array, JobType, Level, Moves, Option, PerDevice, Prefer, RanksPer, RetryOn, WorkUnit
from scheduler.model.tenants import JobClass
from tests.support.config_texts import JOB, SERVICE, job_with, refusal

FULL = """\
schema: dualtrack/v1
kind: job
type: training
name: llama-8b-pretrain
tenant: search/ranking
class: production
priority: 700
entrypoint: [python, train.py, --lr, 0.10, --flag, yes]
image: registry.example/train:cuda
workdir: .
env: {OMP_NUM_THREADS: 8}
secrets: [wandb-key]
mounts: [{name: datasets, path: /data, mode: rw}]
workload:
  class: dense_training
  model: {params: 8e9, layers: 32, hidden: 4096, seq_len: 8192}
  tokens: 1.5e11
  global_batch: 1024
  measured: [{accelerator: h20-96, count: 32, rate: 90000}]
resources:
  options:
    - {accelerator: h200, count: 8}
    - {accelerator: h20-96, count: [32, 64], after_wait: 4h}
    - {accelerator: ascend-910c, count: 16, image: "registry.example/train:cann"}
  ranks_per: node
  prefer: cheapest
  elastic: true
  min_efficiency: 0.6
  per_device: {cpus: 12, memory_gib: 180}
  topology: {prefer: node, require: domain}
moves: any
checkpoint: {path: checkpoints/llama-8b, every: 10m, save: 40s, restart: 2m, portable: true}
time_limit: 30d
retries: {limit: 5, on: [interrupted, failed], backoff: 5s, backoff_max: 1h}
no_progress_timeout: 30m
after: [{job: tokenise-corpus, on: success}]
deadline: 2026-12-24T00:00:00Z
labels: {project: llama}
array: {range: 0-99, max_running: 10}
"""


def only(text: str):
    (job,) = parse_jobs(text, "a.yaml")
    return job


def test_every_field_of_the_contract_is_read():
    job = only(FULL)
    assert (job.type, job.name, job.tenant) == (JobType.TRAINING, "llama-8b-pretrain", "search/ranking")
    assert (job.job_class, job.priority, job.moves) == (JobClass.PRODUCTION, 700, Moves.ANY)
    (role,) = job.roles
    assert role.name == "main"
    assert role.entrypoint == ("python", "train.py", "--lr", "0.10", "--flag", "yes")
    assert role.env == {"OMP_NUM_THREADS": "8"}
    resources = role.resources
    assert resources.options[1] == Option(accelerator="h20-96", counts=(32, 64), after_wait_us=4 * 3600 * 10**6)
    assert resources.options[2].image == "registry.example/train:cann"
    assert (resources.ranks_per, resources.prefer, resources.elastic) == (RanksPer.NODE, Prefer.CHEAPEST, True)
    assert resources.per_device == PerDevice(cpu_milli=12_000, memory_mib=184_320)
    assert (resources.topology.prefer, resources.topology.require) == (Level.NODE, Level.DOMAIN)
    assert (job.work.work_class, job.work.unit, job.work.amount) == (WorkClass.DENSE_TRAINING, WorkUnit.TOKENS, 1.5e11)
    assert job.work.model is not None
    assert job.work.model.params == 8e9
    assert job.work.measured[0].rate == 90_000
    assert job.checkpoint is not None
    assert job.checkpoint.save_us == 40_000_000
    assert job.retries.on == (RetryOn.INTERRUPTED, RetryOn.FAILED)
    assert job.time_limit_us == 30 * 86_400 * 10**6
    assert job.deadline_us == 1_798_070_400_000_000
    assert job.array == Array(first=0, last=99, max_running=10)
    assert job.mounts[0].mode == "rw"


def test_all_but_a_few_fields_have_defaults():
    job = only(JOB)
    assert (job.job_class, job.priority, job.moves) == (JobClass.STANDARD, 500, Moves.SAME_ACCELERATOR)
    assert job.retries.limit == 3
    assert job.checkpoint is None


def test_a_model_alone_is_enough_for_options_to_be_proposed():
    text = JOB[: JOB.index("resources:")] + "workload: {model: {params: 8e9}, steps: 100}\n"
    assert only(text).roles[0].resources.options == ()


def test_an_inference_job_has_a_service_and_its_own_class_of_work():
    job = only(SERVICE)
    assert job.service is not None
    assert (job.service.min_replicas, job.service.max_replicas) == (1, 2)
    assert job.work.work_class is WorkClass.DECODE


def test_several_roles_share_the_image_and_environment_of_the_whole():
    job = only(
        """\
schema: dualtrack/v1
kind: job
type: training
name: rl
image: base
env: {A: 1, B: 2}
roles:
  learner:
    entrypoint: [python, learn.py]
    resources: {options: [{accelerator: h200, count: 8}]}
  rollout:
    entrypoint: [python, roll.py]
    image: other
    env: {B: 3}
    resources: {options: [{accelerator: h20-96, count: [8, 16]}]}
"""
    )
    learner, rollout = job.roles
    assert (learner.name, learner.image, learner.env) == ("learner", "base", {"A": "1", "B": "2"})
    assert (rollout.name, rollout.image, rollout.env) == ("rollout", "other", {"A": "1", "B": "3"})


def test_one_file_may_hold_several_jobs(tmp_path):
    path = tmp_path / "jobs.yaml"
    path.write_text(JOB + "---\n" + SERVICE)
    assert [job.name for job in load_jobs(path)] == ["llama", "chat"]


def test_a_body_without_schema_and_kind_is_a_job_too():
    values = {
        "type": "batch",
        "name": "x",
        "entrypoint": ["true"],
        "resources": {"options": [{"accelerator": "cpu", "count": 1}]},
    }
    assert decode_job(values, "body").name == "x"
    with pytest.raises(ConfigError, match=r"^body: kind: a file of kind `job` is expected, not `cluster`"):
        decode_job({**values, "kind": "cluster"}, "body")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("prority: 3\n", "a.yaml:9: prority: unknown field `prority`; did you mean `priority`?"),
        ("priority: 1001\n", "a.yaml:9: priority: `1001` is out of range; 0 to 1,000"),
        ("priority: high\n", "a.yaml:9: priority: a whole number is expected, not `high`"),
        ("priority: true\n", "a.yaml:9: priority: a whole number is expected, not `true`"),
        (
            "class: prod\n",
            "a.yaml:9: class: `prod` is not allowed; did you mean `production`? one of production, standard",
        ),
        ("tenant: Search\n", "a.yaml:9: tenant: `Search` is not a tenant"),
        ("time_limit: 12\n", "a.yaml:9: time_limit: a duration is expected, not `12`"),
        ("time_limit: 0s\n", "a.yaml:9: time_limit: must be longer than zero"),
        ("time_limit:\n", "a.yaml:9: time_limit: has no value"),
        ("env: {LD_PRELOAD: x}\n", "a.yaml:9: env.LD_PRELOAD: the variable `LD_PRELOAD` changes which code"),
        ("env: {'A-B': x}\n", "a.yaml:9: env.A-B: is not the name of a variable"),
        ("moves: any\n", "a.yaml:9: moves: `any` needs a checkpoint that is portable"),
        ("moves: any\ncheckpoint: {path: x}\n", "a.yaml:9: moves: `any` needs a checkpoint that is portable"),
        ("checkpoint: {every: 10m}\n", "a.yaml:9: checkpoint: the field `path` is missing"),
        ("service: {model: x}\n", "a.yaml:9: service: a training job does not serve"),
        ("roles: {a: {}, b: {}}\n", "a.yaml:5: entrypoint: belongs into each role"),
        ("array: {range: 9-3}\n", "a.yaml:9: array.range: `9-3` ends before it begins"),
        ("array: {range: 0-10000}\n", "a.yaml:9: array.range: `0-10000` makes 10,001 jobs, more than 10,000"),
        ("array: {range: a-b}\n", "a.yaml:9: array.range: `a-b` is not a range"),
        ("after: [{job: 'a b'}]\n", "a.yaml:9: after[0].job: `a b` is neither the name nor the id of a job"),
        ("after: [{job: a}, {job: a}]\n", "a.yaml:9: after[1].job: `a` is named twice"),
        ("mounts: [{name: d, path: data}]\n", "a.yaml:9: mounts[0].path: `data` is not an absolute path"),
        ("mounts: [{name: d, path: /data, mode: w}]\n", "a.yaml:9: mounts[0].mode: `w` is not allowed; one of ro, rw"),
        ("retries: {on: [hung, hung]}\n", "a.yaml:9: retries.on: names a cause twice"),
        ("retries: {backoff: 2h}\n", "a.yaml:9: retries.backoff: `backoff` is longer than `backoff_max`"),
        ("workload: {steps: 1, tokens: 2}\n", "a.yaml:9: workload.tokens: `steps` and `tokens` are given"),
        ("workload: {steps: -1}\n", "a.yaml:9: workload.steps: `-1` is out of range"),
        ("workload: {steps: 0}\n", "a.yaml:9: workload.steps: `0` is out of range"),
        (
            "workload: {model: {params: 1e9, active_params: 2e9}}\n",
            "a.yaml:9: workload.model.active_params: more parameters",
        ),
        (
            "workload: {class: training}\n",
            "a.yaml:9: workload.class: `training` is not allowed; did you mean `dense_training`?",
        ),
        ("deadline: 2026-12-24\n", "a.yaml:9: deadline: a date is expected, not `2026-12-24`"),
        ("secrets: [A]\n", "a.yaml:9: secrets[0]: `A` is not a secret"),
    ],
)
def test_a_mistake_is_named_with_its_place(lines, message):
    assert refusal(lines).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("[{accelerator: h200}]", "a.yaml:7: resources.options[0]: the field `count` is missing"),
        (
            "[{accelerator: h200, count: 0}]",
            "a.yaml:7: resources.options[0].count: `0` is out of range; 1 to 1,000,000",
        ),
        (
            "[{accelerator: h200, count: [8, 4]}]",
            "a.yaml:7: resources.options[0].count: counts must ascend; write [4, 8]",
        ),
        ("[{accelerator: h200, count: [4, 4]}]", "a.yaml:7: resources.options[0].count: counts must ascend; write [4]"),
        ("[{accelerator: h200, count: []}]", "a.yaml:7: resources.options[0].count: holds 0 entries"),
        ("[{accelerator: h200, count: 1.5}]", "a.yaml:7: resources.options[0].count: a whole number is expected"),
        ("[]", "a.yaml:7: resources.options: holds 0 entries, at least 1 needed"),
        ("h200", "a.yaml:7: resources.options: a list is expected, not `h200`"),
        (
            "[{accelerator: h200, count: 8}, {accelerator: h200, count: [4, 8]}]",
            "a.yaml:7: resources.options[1]: 8 x h200 is listed twice",
        ),
        (
            "[{accelerator: h200, count: 2, share: 0.5}]",
            "a.yaml:7: resources.options[0].share: a share is of one device; write count: 1",
        ),
        ("[{accelerator: h200, count: 1, share: 1.5}]", "a.yaml:7: resources.options[0].share: `1.5` is out of range"),
        (
            "[{accelerator: h200, count: 1, share: 0.0001}]",
            "a.yaml:7: resources.options[0].share: is less than a thousandth of a device",
        ),
        ("[{accelerator: H200, count: 8}]", "a.yaml:7: resources.options[0].accelerator: `H200` is not an accelerator"),
    ],
)
def test_a_wrong_option_is_named_with_its_place(options, message):
    text = JOB[: JOB.index("  options:")] + f"  options: {options}\n"
    assert refusal("", text).startswith(message)


def test_a_job_may_ask_for_a_share_of_one_device():
    text = JOB[: JOB.index("  options:")] + "  options: [{accelerator: h200, count: 1, share: 0.25}]\n"
    assert only(text).roles[0].resources.options == (Option(accelerator="h200", counts=(1,), thousandths=250),)


def test_elastic_needs_several_counts():
    text = JOB.replace("resources:\n", "resources:\n  elastic: true\n")
    assert refusal("", text).startswith(
        "a.yaml:7: resources.elastic: an elastic job needs an option with several counts"
    )


def test_efficiency_is_a_share():
    text = JOB.replace("resources:\n", "resources:\n  min_efficiency: 1.5\n")
    assert refusal("", text) == "a.yaml:7: resources.min_efficiency: `1.5` is out of range; 0 to 1"


def test_a_job_without_options_and_model_says_what_it_lacks():
    assert "`resources.options` or `workload.model` is needed" in refusal("", JOB[: JOB.index("resources:")])


def test_an_inference_job_serves_and_does_not_finish():
    assert "has no work to finish" in refusal("workload: {tokens: 1e9}\n", SERVICE)
    assert "needs `service`" in refusal("", SERVICE[: SERVICE.index("service:")])
    text = SERVICE.replace("min_replicas: 1", "min_replicas: 3")
    assert "service.max_replicas: `max_replicas` is 2, less than `min_replicas`, which is 3" in refusal("", text)


def test_one_role_or_five_are_refused():
    head = JOB[: JOB.index("entrypoint:")]
    role = "{entrypoint: [x], resources: {options: [{accelerator: cpu, count: 1}]}}"
    assert "roles: holds 1 entry, at least 2 needed" in refusal("", f"{head}roles: {{a: {role}}}\n")
    five = ", ".join(f"r{i}: {role}" for i in range(5))
    assert "roles: holds 5 entries, more than 4" in refusal("", f"{head}roles: {{{five}}}\n")


@pytest.mark.parametrize(
    "key",
    [
        "LD_PRELOAD",
        "PYTHONPATH",
        "RAY_ADDRESS",
        "ray_address",
        "CUDA_VISIBLE_DEVICES",
        "ASCEND_RT_VISIBLE_DEVICES",
        "DUALTRACK_JOB_ID",
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "MASTER_ADDR",
        "MASTER_PORT",
        "TORCHELASTIC_RUN_ID",
        "BASH_ENV",
    ],
)
def test_variables_that_others_own_are_refused(key):
    assert f"env.{key}: the variable `{key}`" in refusal(f"env: {{{key}: x}}\n")


def test_the_catalog_names_the_nearest_accelerator():
    catalog = load_catalog()
    with pytest.raises(ConfigError) as caught:
        parse_jobs(JOB.replace("h200", "h2000"), "jobs/a.yaml", catalog)
    assert str(caught.value) == (
        "jobs/a.yaml:8: resources.options[0].accelerator: unknown accelerator `h2000`; did you mean `h200`?"
    )


def test_a_job_that_was_read_without_a_catalog_can_be_checked_later():
    catalog = load_catalog()
    check_job_against(only(JOB), catalog)
    job = only(job_with("workload: {measured: [{accelerator: h201, count: 1, rate: 1}]}\n"))
    with pytest.raises(ConfigError, match=r"workload\.measured\[0\]\.accelerator: unknown accelerator `h201`"):
        check_job_against(job, catalog)


def test_a_file_of_another_kind_is_refused():
    assert "a file of kind `job` is expected, not `cluster`" in refusal("", JOB.replace("kind: job", "kind: cluster"))
    assert "unknown kind `jobs`; did you mean `job`?" in refusal("", JOB.replace("kind: job", "kind: jobs"))
    assert "write `schema: dualtrack/v1`" in refusal("", JOB.replace("schema: dualtrack/v1\n", ""))
    assert "`dualtrack/v2` is not understood" in refusal("", JOB.replace("v1", "v2"))
