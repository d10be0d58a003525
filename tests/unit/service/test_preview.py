"""What other files would change in a home that has a history: told before it is done, by `up` and by `up --dry-run`."""

import pytest

from scheduler.cli.main import run
from scheduler.errors import ConflictError
from scheduler.service.configuration import Sources
from scheduler.service.preview import preview
from tests.support.embedded import embedded
from tests.support.waiting import until

HEAD = "schema: dualtrack/v1\nkind: {}\n"
SMALLER = HEAD.format("tenants") + "tenants: [{name: search, quota: {h200: 2}}, {name: vision}]\n"
CLOSED = HEAD.format("rules") + "eligibility: [{id: west-only, tenants: [search], sites: [west], mode: hold}]\n"
MISNAMED = HEAD.format("rules") + (
    "lots: [{id: lot-1, accelerator: h200, tranches: [{count: 8, expected: 2026-01-01T00:00Z, state: in_service}]}]\n"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A service of the demo cluster ran here; its last job holds four h200, another waits for sixteen more."""
    place = tmp_path_factory.mktemp("home")
    with embedded(place) as service:
        job = service.submit(name="wide", count=4, workload={"steps": 100_000_000})
        until(lambda: service.call("GET", f"/v1/jobs/{job['id']}").json()["state"] == "running")
        service.submit(name="small", count=1)
    return place


def written(folder, text):
    (folder / "file.yaml").write_text(text)
    return str(folder / "file.yaml")


def seen(home, **files):
    return preview(home, "", Sources(cluster="demo", executor="fake", **files))


def test_what_other_tenants_would_strand_is_told(home, tmp_path):
    found = seen(home, tenants=written(tmp_path, SMALLER))
    assert found is not None
    assert found["parts"] == ["tenants"]
    assert [(job["name"], job["running"], job["why"]) for job in found["stranded"]] == [("wide", True, "exceeds_quota")]
    assert {"name": "search", "change": "changed"} in found["tenants"]


def test_what_other_rules_would_strand_is_told(home, tmp_path):
    found = seen(home, rules=written(tmp_path, CLOSED))
    assert found is not None
    assert found["parts"] == ["rules"]
    assert ("wide", "eligibility") in [(job["name"], job["why"]) for job in found["stranded"]]


def test_a_change_that_may_not_be_made_is_refused(home):
    with pytest.raises(ConflictError, match="which is not there any more"):
        preview(home, "", Sources(cluster="laptop", executor="fake"))


def test_nothing_is_told_where_nothing_changes_or_nothing_happened_yet(home, tmp_path):
    assert seen(home) is None
    assert preview(tmp_path, "", Sources(cluster="demo")) is None


def test_looking_changes_nothing(home, tmp_path):
    before = (home / "journal.db").read_bytes()
    seen(home, tenants=written(tmp_path, SMALLER))
    assert (home / "journal.db").read_bytes() == before


def test_up_shows_it_and_with_dry_run_starts_nothing(home, tmp_path, capsys):
    words = ["up", "--home", str(home), "--cluster", "demo", "--executor", "fake", "--dry-run"]
    assert run([*words, "--tenants", written(tmp_path, SMALLER)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("tenants would change\nnot applied: foundation removed, search changed")
    assert "1 job would be stranded:" in told and "exceeds_quota" in told
    assert run(words) == 0
    assert capsys.readouterr().out == "nothing changes\n"


@pytest.mark.parametrize("verb", [["up", "--dry-run"], ["simulate", "--workload", "small"], ["plan", "job.yaml"]])
def test_rules_that_the_cluster_does_not_bear_out_are_refused_with_their_place(verb, home, tmp_path, capsys):
    rules = written(tmp_path, MISNAMED)
    (tmp_path / "job.yaml").write_text(
        HEAD.format("job") + "type: training\nname: j\nentrypoint: [x]\nresources: {options: [{accelerator: h200}]}\n"
    )
    verb = [str(tmp_path / word) if word == "job.yaml" else word for word in verb]
    place = ["--home", str(home)] if verb[0] == "up" else []
    assert run([*verb, *place, "--cluster", "demo", "--rules", rules]) == 2
    assert capsys.readouterr().err == (
        f"error: {rules}:3: lots[0]: 8 of it serve, and no pool of cluster `demo` names the lot `lot-1`; "
        "give the pool of these nodes `lot: lot-1`\n"
    )


def test_files_that_are_not_named_are_those_in_force(home, tmp_path):
    """Other tenants alone leave cluster, rules and policy as they are."""
    found = preview(home, "", Sources(cluster="", tenants=written(tmp_path, SMALLER)))
    assert found is not None
    assert found["parts"] == ["tenants"]
    assert preview(home, "", Sources(cluster="", executor="fake")) is None
    policy = preview(home, "", Sources(cluster="", policy="fifo"))
    assert policy is not None
    assert policy["parts"] == ["policy"]
    other = preview(home, "", Sources(cluster="", rules=written(tmp_path, CLOSED)))
    assert other is not None
    assert other["parts"] == ["rules"]


def test_up_with_other_tenants_alone_keeps_the_cluster(home, tmp_path, capsys):
    words = ["up", "--home", str(home), "--dry-run", "--tenants", written(tmp_path, SMALLER)]
    assert run(words) == 0
    assert capsys.readouterr().out.startswith("tenants would change\n")
