"""Whatever is wrong with what was typed: one clear line, the right exit code, no traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.cli.main import run
from scheduler.service.configuration import Sources, configured

ROOT = Path(__file__).resolve().parents[3]
HEAD = "schema: dualtrack/v1\nkind: job\ntype: training\nname: j\nentrypoint: [python, t.py]\n"


def option(accelerator, count):
    return f"resources: {{options: [{{accelerator: {accelerator}, count: {count}}}]}}\n"


def tenants(*lines):
    return "schema: dualtrack/v1\nkind: tenants\ntenants:\n" + "".join(f"  - {line}\n" for line in lines)


@pytest.fixture
def command(capfd, tmp_path, monkeypatch):
    """Runs one command in this process; returns its code and the lines on standard error."""
    monkeypatch.setenv("DUALTRACK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DUALTRACK_SERVER", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*words):
        capfd.readouterr()
        code = run(list(words))
        seen = capfd.readouterr()
        assert "Traceback" not in seen.out + seen.err
        return code, seen.err.splitlines(), seen.out

    return call


def written(folder, text, name="job.yaml"):
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD + "resorces: {}\n", "job.yaml:6"),
        (HEAD + option("h900", 1), "h900"),
        (HEAD + option("h200", "many"), "job.yaml:6"),
        (HEAD, "resources.options"),
        (HEAD.replace("training", "baking"), "baking"),
        ("schema: dualtrack/v1\nkind: cluster\nname: c\n", "cluster"),
        ("{", "job.yaml"),
        ("", "job.yaml"),
        ("a: &x [*x]\n", "job.yaml"),
        ("\x00", "job.yaml"),
    ],
)
def test_a_bad_job_file_is_told_with_its_place(command, tmp_path, text, told):
    for verb in (["validate"], ["plan", "--cluster", "demo"], ["submit"]):
        code, err, _ = command(*verb, written(tmp_path, text))
        told_now = "job.yaml" if verb == ["validate"] and "kind: cluster" in text else told
        assert (code, len(err)) == (2, 1), (verb, err)
        assert told_now in err[0]


@pytest.mark.parametrize(
    ("job", "code", "told"),
    [
        (option("h200", 1), 0, ""),
        (option("l20", 1), 4, "l20"),  # known, and not of this fleet
        (option("h200", 800), 4, "h200"),
        (option("h20-96", 9), 4, "h20-96"),
        ("tenant: vision\n" + option("h200", 8), 5, "vision"),
        ("tenant: zero\n" + option("h200", 1), 5, "zero"),
    ],
)
def test_a_plan_tells_by_its_exit_code_whether_a_job_can_ever_run(command, tmp_path, job, code, told):
    tree = tenants("{name: vision, quota: {h200: 1}}", "{name: zero, quota: {h200: 0}}", "{name: other}")
    words = ["plan", written(tmp_path, HEAD + job), "--cluster", "demo", "--tenants", written(tmp_path, tree, "t.yaml")]
    text = job if "tenant" in job else "tenant: other\n" + job
    written(tmp_path, HEAD + text)
    found, err, out = command(*words)
    assert (found, err) == (code, [])
    assert told in out
    assert json.loads(command(*words, "-o", "json")[2])["exit_code"] == code


@pytest.mark.parametrize(
    "lines",
    [
        ("{name: a/b}",),
        ("{name: a}", "{name: a}"),
        ("{name: a/a/b}", "{name: a/a}"),
        ("{name: a, parent: b}", "{name: b, parent: a}"),
        ("{name: a, quota: {h200: -1}}",),
        ("{name: a, quota: {h900: 1}}",),
        ("{name: 'A B'}",),
    ],
)
def test_a_tenant_tree_that_is_none_is_refused_in_one_line(command, tmp_path, lines):
    path = written(tmp_path, tenants(*lines), "tenants.yaml")
    job = written(tmp_path, HEAD + option("h200", 1))
    for words in (["validate", path], ["plan", job, "--cluster", "demo", "--tenants", path],
                  ["up", "--foreground", "--cluster", "demo", "--tenants", path]):  # fmt: skip
        code, err, _ = command(*words)
        assert (code, len([line for line in err if line.startswith("error: ")])) == (2, 1), (words, err)
        assert "tenants.yaml" in err[-1]


@pytest.mark.parametrize(
    "words",
    [
        ["lst"],
        ["list", "--nonsense"],
        ["list", "-o", "xml"],
        ["list", "--limit", "0"],
        ["get"],
        ["logs", "x", "--rank", "minus"],
        ["up", "--mode", "sometimes"],
        ["up", "--executor", "magic"],
        ["up", "--port", "99999"],
        ["up", "--foreground", "--cluster", "nowhere"],
        ["up", "--foreground", "--cluster", "demo", "--policy", "nonsense"],
        ["up", "--foreground", "--cluster", "demo", "--host", "0.0.0.0"],
        ["plan", "missing.yaml", "--cluster", "demo"],
        ["submit", "missing.yaml"],
        ["submit", "--accelerator", "h200:x", "--", "python", "t.py"],
        ["submit", "--accelerator", "h900:1", "--", "python", "t.py"],
        ["submit", "--accelerator", "h200:1", "--time", "soon", "--", "python", "t.py"],
        ["submit", "--accelerator", "h200:1", "--env", "LD_PRELOAD=x", "--", "python", "t.py"],
        ["simulate", "--cluster", "demo", "--workload", "nothing"],
        ["simulate", "--cluster", "demo", "--workload", "demo", "--window", "5:2"],
        ["simulate", "--cluster", "demo"],
        ["update", "x", "--time", "soon"],
        ["wait", "x", "--timeout", "soon"],
        ["token", "create", "--user", "u", "--role", "king"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(command, words):
    code, err, out = command(*words)
    assert (code, out) == (2, ""), err
    assert len(err) == 1, err
    assert err[0].startswith("error: ")


def test_a_missing_program_or_defect_is_one_line_unless_asked_for_more(command, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("the inside fell out")

    monkeypatch.setattr("scheduler.config.load_any", broken)
    code, err, _ = command("validate", "x.yaml")
    assert (code, len(err)) == (1, 1)
    assert "DUALTRACK_DEBUG=1" in err[0]
    monkeypatch.setenv("DUALTRACK_DEBUG", "1")
    with pytest.raises(RuntimeError):
        run(["validate", "x.yaml"])


def test_the_process_itself_leaves_with_the_code(tmp_path):
    path = written(tmp_path, HEAD + option("h200", 800))
    command = [sys.executable, "-m", "scheduler.cli.main", "plan", path, "--cluster", "demo", "-o", "name"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (4, "j\n", "")


def test_help_names_every_verb_and_loads_nothing_heavy(tmp_path):
    code = (
        "import sys; from scheduler.cli.main import run; run(['--help']);"
        "print(sorted({'numpy', 'fastapi', 'httpx', 'rich', 'yaml', 'ray', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60
    )
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]"
    verbs = (
        "demo up down submit plan list get describe why events logs wait cancel suspend resume requeue update fleet "
        "cordon uncordon drain quota rules usage simulate validate version"
    )
    for verb in verbs.split():
        assert any(line.strip().startswith(verb + " ") for line in lines), verb


def test_every_verb_explains_itself(command):
    for verb in ("up", "submit", "plan", "list", "simulate", "token"):
        code, err, out = command(verb, "--help")
        assert (code, err) == (0, []) and "Usage: dualtrack" in out


@pytest.mark.parametrize("kind", ["table", "json"])
def test_a_simulation_prints_its_figures_and_repeats_them(command, kind):
    words = ["simulate", "--cluster", "demo", "--workload", "demo", "--seed", "3", "--reproducible", "-o", kind]
    first, second = command(*words), command(*words)
    assert first[0] == 0 and first == second
    if kind == "json":
        assert "wall_s" not in json.loads(first[2])


def test_the_default_tenant_stands_where_no_file_lists_any():
    assert [tenant.name for tenant in configured(Sources(cluster="laptop")).tenants.tenants] == ["default"]
    assert len(configured(Sources(cluster="demo")).tenants.tenants) == 3
