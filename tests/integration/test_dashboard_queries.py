"""Every query of the dashboard, and every alert rule, runs on a real Prometheus."""

import pytest

from tests.support.dashboard import dashboard_queries
from tests.support.exposition import Page, serving
from tests.support.prometheus import Prometheus, running_prometheus
from tests.support.service import running_service
from tests.support.waiting import until


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A Prometheus that has scraped every contracted metric several times."""
    folder = tmp_path_factory.mktemp("prometheus")
    with serving(Page()) as target, running_prometheus(folder, target) as prometheus:
        until(lambda: _scrapes(prometheus) >= 4, what="four scrapes")
        yield prometheus


def _scrapes(prometheus: Prometheus) -> float:
    found = prometheus.query('count_over_time(up{job="dualtrack"}[5m])')
    return float(found[0]["value"][1]) if found else 0


@pytest.mark.parametrize("query", dashboard_queries())
def test_a_query_of_the_dashboard_returns_data_when_every_metric_has_some(full, query):
    found = full.query(query)
    assert found, "no data"
    assert [sample for sample in found if sample["value"][1] in ("NaN", "+Inf", "-Inf")] == []


def test_the_shipped_stand_in_shows_exactly_the_metrics_that_the_service_exports():
    metrics = pytest.importorskip("scheduler.service.metrics", reason="the service's metrics are not there yet")
    families = {f"{f.name}_total" if f.type == "counter" else f.name for f in Page().registry.collect()}
    assert families == set(metrics.METRIC_NAMES)


def test_every_alert_rule_evaluates_without_error(full):
    until(lambda: all(rule["lastEvaluation"] > "0002" for rule in full.rules()), what="an evaluation of each rule")
    assert len(full.rules()) >= 9
    assert [(rule["name"], rule.get("lastError")) for rule in full.rules() if rule["health"] != "ok"] == []


def test_no_alert_fires_on_a_healthy_service(full):
    assert [rule["name"] for rule in full.rules() if rule["state"] == "firing"] == []


def test_every_query_returns_data_from_a_running_service_that_has_preempted_a_job(tmp_path):
    with running_service(tmp_path / "home", "--cluster", "demo", "--executor", "fake") as (target, client):
        client.submit(job("fills", "foundation", "h200", 8, job_class="opportunistic"))
        until(lambda: client.job("fills")["state"] == "running", what="the first job's start")
        client.submit(job("urgent", "search", "h200", 8, job_class="production", time_limit="2s"))
        client.submit(job("holds", "vision", "h20-96", 2))
        client.submit(job("waits", "vision", "h20-96", 2))
        until(lambda: len(client.job("fills")["attempts"]) == 2, what="the preempted job's second start")
        assert client.job("waits")["state"] == "waiting"
        with running_prometheus(tmp_path, target) as prometheus:
            until(lambda: _scrapes(prometheus) >= 4, what="four scrapes")
            assert [query for query in dashboard_queries() if not prometheus.query(query)] == []
            assert prometheus.query('dualtrack_devices{accelerator="h200",state="used"}')[0]["value"][1] == "8"
            assert prometheus.query('dualtrack_preemptions_total{tenant="foundation"}')[0]["value"][1] == "1"


def job(name: str, tenant: str, accelerator: str, count: int, *, job_class: str = "standard", time_limit: str = "1d"):
    return {
        "schema": "dualtrack/v1",
        "kind": "job",
        "type": "training",
        "name": name,
        "tenant": tenant,
        "class": job_class,
        "entrypoint": ["train"],
        "resources": {"options": [{"accelerator": accelerator, "count": count}]},
        "time_limit": time_limit,
    }
