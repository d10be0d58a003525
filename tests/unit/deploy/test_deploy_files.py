"""The files under deploy/ parse, agree with each other, and name only metrics that the service exports."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.dashboard import ROOT, dashboard_queries

DEPLOY = ROOT / "deploy"
HERE = Path(__file__).parent
RULES = DEPLOY / "prometheus" / "rules" / "dualtrack.yml"
METRIC = re.compile(r"\bdualtrack_[a-z_]+")
SUFFIXES = ("_bucket", "_count", "_sum")


def load(path: Path):
    return yaml.safe_load(path.read_text())


def rules() -> list[dict]:
    return [rule for group in load(RULES)["groups"] for rule in group["rules"]]


def exported() -> set[str]:
    metrics = pytest.importorskip("scheduler.service.metrics", reason="the service's metrics are not there yet")
    names = set(metrics.METRIC_NAMES)
    return names | {name + suffix for name in names if name.endswith("_seconds") for suffix in SUFFIXES}


def run(*command: str) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_yaml_file_parses(path):
    assert load(path)


def test_every_query_of_the_dashboard_names_metrics_that_the_service_exports():
    named = {name for query in dashboard_queries() for name in METRIC.findall(query)}
    assert named
    assert named - exported() == set()


def test_every_alert_names_metrics_that_the_service_exports():
    named = {name for rule in rules() for name in METRIC.findall(rule["expr"])}
    assert named
    assert named - exported() == set()


def test_every_exported_metric_is_on_the_dashboard_and_in_the_readme():
    text = "\n".join(dashboard_queries())
    readme = (DEPLOY / "README.md").read_text()
    names = [name for name in exported() if not name.endswith(SUFFIXES)]
    assert [name for name in names if name not in text] == []
    assert [name for name in names if name not in readme] == []


def test_every_alert_has_a_runbook_that_exists_and_every_runbook_an_alert_or_a_link():
    named = {rule["annotations"]["runbook"] for rule in rules()}
    assert [name for name in named if not (DEPLOY / name).is_file()] == []
    links = {
        f"runbooks/{link}"
        for page in (DEPLOY / "runbooks").glob("*.md")
        for link in re.findall(r"\]\(([\w-]+\.md)\)", page.read_text())
    }
    assert {f"runbooks/{page.name}" for page in (DEPLOY / "runbooks").glob("*.md")} == named | links


def test_panels_have_distinct_numbers_and_do_not_overlap():
    panels = json.loads((DEPLOY / "grafana/dashboards/dualtrack.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_dashboard_reads_the_provisioned_source():
    source = load(DEPLOY / "grafana/provisioning/datasources/prometheus.yaml")["datasources"][0]
    panels = json.loads((DEPLOY / "grafana/dashboards/dualtrack.json").read_text())["panels"]
    assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {source["uid"]}


def test_the_containers_share_one_loopback_and_only_grafana_is_published_there():
    services = load(DEPLOY / "compose.yaml")["services"]
    assert {name: service.get("network_mode") for name, service in services.items()} == {
        "dualtrack": None,
        "prometheus": "service:dualtrack",
        "grafana": "service:dualtrack",
    }
    assert [port for service in services.values() for port in service.get("ports", ())] == [
        "127.0.0.1:${GRAFANA_PORT:-3000}:3000"
    ]
    assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]


def test_the_containers_use_volumes_and_files_that_exist_and_pinned_images():
    compose = load(DEPLOY / "compose.yaml")
    for service in compose["services"].values():
        assert re.search(r":(v?\d+\.\d+\.\d+|local)$", service["image"])
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).is_dir(), volume
    build = compose["services"]["dualtrack"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_everyone_scrapes_and_asks_the_port_that_the_service_is_given():
    compose = load(DEPLOY / "compose.yaml")
    command = compose["services"]["dualtrack"]["command"]
    port = command[command.index("--port") + 1]
    scrape = load(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"][0]
    assert scrape["static_configs"][0]["targets"] == [f"127.0.0.1:{port}"]
    for name in ("Dockerfile", "systemd/dualtrack.service"):
        text = (DEPLOY / name).read_text()
        assert set(re.findall(r"(?:--port\W+|127\.0\.0\.1:)(\d+)", text)) == {port}, name


def test_the_image_copies_only_what_its_ignore_file_lets_in():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    let_in = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert sources == let_in
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_image_runs_as_a_user_without_rights():
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER 10001$", text, re.MULTILINE)


def test_promtool_accepts_the_configuration():
    run("promtool", "check", "config", str(DEPLOY / "prometheus/prometheus.yml"))


def test_promtool_accepts_the_alert_rules():
    run("promtool", "check", "rules", str(RULES))


def test_the_alerts_fire_when_they_should_and_not_before():
    run("promtool", "test", "rules", str(HERE / "alerts_test.yml"))


def test_every_alert_is_replayed():
    replayed = set(re.findall(r"alertname: (\w+)", (HERE / "alerts_test.yml").read_text()))
    assert {rule["alert"] for rule in rules()} == replayed


def test_systemd_finds_the_unit_little_exposed():
    unit = DEPLOY / "systemd/dualtrack.service"
    run("systemd-analyze", "security", "--offline=true", "--threshold=30", "--no-pager", str(unit))


def test_systemd_understands_the_unit(tmp_path):
    text = (DEPLOY / "systemd/dualtrack.service").read_text()
    unit = tmp_path / "dualtrack.service"
    unit.write_text(text.replace("/opt/dualtrack/bin/dualtrack", "/bin/true"))
    run("systemd-analyze", "verify", "--man=no", str(unit))


def test_stopping_the_unit_leaves_the_supervisors_of_running_jobs():
    assert "KillMode=process" in (DEPLOY / "systemd/dualtrack.service").read_text()


def help_of(*verb: str) -> str:
    command = [sys.executable, "-m", "scheduler.cli.main", *verb, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_service_is_started_with_options_that_it_has():
    unit = (DEPLOY / "systemd/dualtrack.service").read_text()
    compose = " ".join(load(DEPLOY / "compose.yaml")["services"]["dualtrack"]["command"])
    image = (DEPLOY / "Dockerfile").read_text().rpartition("CMD [")[2]
    used = {
        flag for text in (re.search("ExecStart=.*", unit)[0], compose, image) for flag in re.findall(r"--[a-z-]+", text)
    }
    assert "--foreground" in used
    assert used - set(re.findall(r"--[a-z-]+", help_of("up"))) == set()


def test_every_command_that_a_page_tells_exists():
    pages = [DEPLOY / "README.md", *(DEPLOY / "runbooks").glob("*.md")]
    told = {verb for page in pages for verb in re.findall(r"`(?:[\w. /-]* )?dualtrack ([a-z]+)\b", page.read_text())}
    known = set(re.findall(r"^\W*([a-z]+) ", help_of(), re.MULTILINE))
    assert {"why", "fleet", "drain", "validate"} <= told
    assert told - known == set()
