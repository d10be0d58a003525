"""A running service for a test: a process of its own, as `dualtrack up --foreground` starts it, on a free port."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scheduler.service.client import Client
from scheduler.service.settings import find_endpoint, read_service
from tests.support.dashboard import ROOT
from tests.support.waiting import until


@contextmanager
def running_service(home: Path, *options: str) -> Iterator[tuple[str, Client]]:
    """(`host:port`, client as administrator) once the service accepts work; it ends with the block."""
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "scheduler.cli.main", "up", "--foreground", "--home", str(home), *options]
    with (home / "out.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=_environment())
        try:
            until(lambda: process.poll() is not None or read_service(home), timeout_s=60, what="the service's start")
            assert process.poll() is None, (home / "out.log").read_text()
            service = read_service(home)
            assert service is not None
            client = Client(find_endpoint(home=str(home)))
            try:
                yield service.url.removeprefix("http://"), client
            finally:
                client.close()
        finally:
            process.terminate()
            process.wait(timeout=30)


def _environment() -> dict[str, str]:
    """Ours without anything that would lead commands to another service."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DUALTRACK_")}
