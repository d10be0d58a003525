"""A real Prometheus for a test: scrapes one target every fifth of a second, on a free loopback port."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.dashboard import ROOT
from tests.support.waiting import until


class Prometheus:
    """Queries over HTTP, and what the last answer was."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[dict]:
        """The instant vector; fails the test where Prometheus reports an error or a warning."""
        answer = self._client.post("/api/v1/query", data={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        assert not answer.get("warnings"), f"{expression}: {answer['warnings']}"
        return answer["data"]["result"]

    def rules(self) -> list[dict]:
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def close(self) -> None:
        self._client.close()


@contextmanager
def running_prometheus(folder: Path, target: str, authorization: str = "") -> Iterator[Prometheus]:
    """The shipped configuration, with the target and the interval replaced, until the block ends."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed")
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        program,
        f"--config.file={_configuration(folder, target, authorization)}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        prometheus = Prometheus(url)
        try:
            until(lambda: process.poll() is not None or prometheus.ready(), what="Prometheus' start")
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            yield prometheus
        finally:
            prometheus.close()
            process.terminate()
            process.wait(timeout=20)


def _configuration(folder: Path, target: str, authorization: str) -> Path:
    shipped = ROOT / "deploy" / "prometheus"
    config = yaml.safe_load((shipped / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
    config["rule_files"] = [str(shipped / "rules" / "*.yml")]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    if authorization:
        config["scrape_configs"][0]["authorization"] = {"credentials": authorization}
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
