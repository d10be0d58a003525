"""The built wheel plans, checks and simulates in an environment that holds only its core dependencies."""

import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.tree import ROOT

pytestmark = pytest.mark.slow
JOB = """\
schema: dualtrack/v1
kind: job
type: training
name: first
entrypoint: [python, train.py]
resources: {options: [{accelerator: h200, count: 8}, {accelerator: h20-96, count: 16}]}
workload: {model: {params: 8e9, layers: 32, hidden: 4096, seq_len: 8192}, tokens: 1e9, global_batch: 64}
"""


def requirements(distribution):
    """Names of what the distribution needs without extras, on this Python."""
    lines = importlib.metadata.requires(distribution) or []
    return [re.match(r"[\w.-]+", line).group() for line in lines if ";" not in line]


def core_closure():
    """Every distribution that an installation without extras brings along, the project itself left out."""
    import tomllib

    wanted = [
        re.match(r"[\w.-]+", line).group()
        for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ]
    found = {}
    while wanted:
        name = wanted.pop()
        key = name.lower().replace("_", "-")
        if key not in found:
            found[key] = importlib.metadata.distribution(name)
            wanted += requirements(name)
    return found.values()


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A folder with the wheel's contents, and links to its core dependencies: no ray, no torch, no extras."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("scheduler", "backends", "cluster_configs", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", folder, source], check=True, timeout=240)
    (wheel,) = folder.glob("dualtrack-*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for distribution in core_closure():
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            link = site / top
            if not link.exists():
                link.symlink_to(distribution.locate_file(top))
    return site


def dualtrack(site, arguments, cwd, timeout=120):
    """Run the command from `cwd` with nothing importable but `site` and the standard library."""
    code = (
        "import sys\n"
        "from scheduler.cli.main import main\n"
        "try:\n    main()\nfinally:\n"
        "    loaded = {'ray', 'torch', 'fastapi', 'numba'} & set(sys.modules)\n"
        "    assert not loaded, loaded\n"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(site), "HOME": str(cwd), "LANG": "C.UTF-8"}
    command = [sys.executable, "-S", "-c", code, *arguments]
    return subprocess.run(command, check=False, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)


@pytest.fixture
def empty(tmp_path):
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


def test_the_wheel_holds_every_configuration_and_marks_its_types(installed):
    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "cluster_configs").rglob("*.yaml")}
    assert shipped
    assert [name for name in sorted(shipped) if not (installed / name).exists()] == []
    assert (installed / "scheduler/py.typed").exists()
    assert (installed / "backends/py.typed").exists()
    assert not list(installed.glob("tests*"))


def test_the_wheel_asks_for_the_core_dependencies_only(installed):
    (metadata,) = installed.glob("dualtrack-*.dist-info/METADATA")
    plain = [
        line for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist") and "extra" not in line
    ]
    assert plain
    assert not [line for line in plain if re.search(r"ray|torch|fastapi|numba", line)]


def test_ray_and_torch_cannot_be_imported_beside_the_wheel(installed, empty):
    code = "import importlib.util as u; print([n for n in ('ray', 'torch') if u.find_spec(n)])"
    env = {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=env, cwd=empty, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_job_file_is_checked(installed, empty):
    done = dualtrack(installed, ["validate", "job.yaml"], empty)
    assert done.returncode == 0, done.stderr
    (empty / "job.yaml").write_text(JOB.replace("h200", "h2000"))
    done = dualtrack(installed, ["validate", "job.yaml"], empty)
    assert done.returncode == 2
    assert "job.yaml:6" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_job_is_planned_on_a_shipped_cluster(installed, empty):
    cluster = installed / "cluster_configs/clusters/demo.yaml"
    done = dualtrack(installed, ["plan", "job.yaml", "--cluster", str(cluster)], empty)
    assert done.returncode in (0, 3), done.stderr
    assert "h200" in done.stdout


def test_the_shipped_workload_is_simulated(installed, empty):
    folder = Path(installed) / "cluster_configs"
    files = ["--cluster", folder / "clusters/demo.yaml", "--workload", folder / "workloads/demo.yaml"]
    files += ["--tenants", folder / "tenants/demo.yaml", "-o", "json"]
    done = dualtrack(installed, ["simulate", *map(str, files)], empty)
    assert done.returncode == 0, done.stderr
    assert '"makespan_s"' in done.stdout
