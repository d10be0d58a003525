"""What the documents point at exists, and the lock and the frame say what they should."""

import re

import pytest

from tests.support.tree import ROOT

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md"), *ROOT.glob("examples/**/*.md")]
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:scheduler|backends|cluster_configs|tests|docs|deploy|examples|benchmarks)/[\w./-]*[\w/])`")


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_somewhere(document):
    for target in LINK.findall(document.read_text()):
        if "://" not in target and not target.startswith(("#", "mailto:")):
            assert (document.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_path_that_a_document_names_exists(document):
    for path in PATH.findall(document.read_text()):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_job_file_shown_in_a_document_is_valid(document):
    from scheduler.config import read_text

    for block in re.findall(r"```yaml\n(schema: dualtrack/v1.*?)```", document.read_text(), re.S):
        read_text(block, name(document))


def test_the_lock_names_exact_versions_and_nothing_of_this_machine():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+( ; python_version < \"3\.12\")?", line)] == []


def test_the_lock_holds_everything_the_project_asks_for():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    wanted = {re.match(r"[\w-]+", line).group().lower().replace("_", "-") for line in asked}
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert wanted <= {line.partition("==")[0].lower().replace("_", "-") for line in lines}


@pytest.mark.parametrize("file", ["LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", ".ci/run"])
def test_the_frame_of_the_repository_is_there(file):
    assert (ROOT / file).stat().st_size > 0
