"""A job that names its model and says no more is known to the service as well as to a plan without one."""

import pytest

from scheduler.config import decode_job
from scheduler.model.events import Actor
from scheduler.service.configuration import Sources, configured
from scheduler.service.plans import plan_on_empty
from tests.support.embedded import a_job, embedded
from tests.support.waiting import until

NAMED = {"class": "dense_training", "model": "meta-llama/Llama-3.1-8B", "tokens": 1e9, "global_batch": 64}
LARGE = {**NAMED, "model": {"name": "meta-llama/Llama-3.1-405B", "seq_len": 4096}}


@pytest.fixture
def service(tmp_path):
    with embedded(tmp_path) as found:
        yield found


def named(*options, workload=NAMED, **fields):
    wanted = [{"accelerator": name, "count": count} for name, count in options]
    return {**a_job("named", **fields), "workload": workload, "resources": {"options": wanted}}


def test_a_plan_of_the_service_knows_the_rates_that_one_without_it_knows(service):
    asked = named(("h200", 4), ("h20-96", 8))
    online = service.call("POST", "/v1/plans", json=asked).json()
    config = configured(Sources(cluster="demo"))
    offline = plan_on_empty(config, decode_job(asked, catalog=config.catalog), Actor("ada", "search", True), 0)
    rates = {row["option"]: row["rate"] for row in offline["options"]}
    assert {row["option"]: row["rate"] for row in online["options"]} == rates
    assert rates["h200:4"] > 1_000, "tokens a second, from the model of training"
    assert online["run_s"] == pytest.approx(offline["run_s"])


def test_a_submitted_job_is_refused_where_its_named_model_never_fits(service):
    answer = service.call("POST", "/v1/jobs", json=named(("h200", 8), workload=LARGE))
    assert answer.status_code == 422
    assert "memory floor" in answer.json()["error"]["message"]


def test_jobs_of_a_batch_are_known_by_their_model_too(service):
    (told,) = service.call("POST", "/v1/jobs/batch", json={"items": [{"job": named(("h200", 4))}]}).json()["items"]
    found = service.call("GET", f"/v1/jobs/{told['jobs'][0]['id']}").json()
    assert found["progress"]["unit"] == "tokens"
    held = service.service.loop.ask(lambda state: state.jobs[-1].spec.work.model)
    assert held.params == pytest.approx(8.03e9, rel=0.01)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        (named(("h200", 4), workload={**NAMED, "model": "Llama-9"}), "workload.model"),
        (named(("h2000", 4)), "resources.options[0].accelerator"),
    ],
)
def test_a_model_or_accelerator_that_nobody_knows_is_refused_with_its_place(service, asked, path):
    for route in ("/v1/jobs", "/v1/plans"):
        answer = service.call("POST", route, json=asked)
        assert (answer.status_code, answer.json()["error"]["path"]) == (422, path)


def test_under_the_fake_executor_a_job_advances_as_its_rate_says_and_teaches_nothing(tmp_path):
    config = configured(Sources(cluster="laptop", executor="fake"))
    assert all(pool.emulated for cell in config.cluster.cells for pool in cell.pools)
    measured = [{"accelerator": "cpu", "count": 1, "rate": 250.0}]
    work = {"class": "dense_training", "steps": 1e6, "measured": measured}
    with embedded(tmp_path, config=config) as service:
        told = service.submit(name="paced", accelerator="cpu", count=1, tenant="default", workload=work)
        until(lambda: service.call("GET", f"/v1/jobs/{told['id']}").json()["progress"]["done"] > 0)
        found = service.call("GET", f"/v1/jobs/{told['id']}").json()
        assert found["emulated"] is True
        assert found["progress"]["rate"] == pytest.approx(250.0)
        assert service.call("GET", "/v1/rates").json()["rates"] == []
