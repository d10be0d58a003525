"""`quota`, `quota apply` and `usage` as they are typed, against a real daemon with fake executors."""

import json

import pytest

from scheduler.cli.main import run
from tests.support.service import running_service
from tests.support.waiting import until

TREE = """\
schema: dualtrack/v1
kind: tenants
tenants:
  - {{name: search, quota: {{h200: {{nominal: 4, borrowing_limit: {borrowing}}}}}}}
  - {{name: vision, quota: {{h200: {{nominal: {vision}, borrowing_limit: 8}}}}}}
"""


@pytest.fixture
def typed(tmp_path, capfd):
    with running_service(tmp_path / "home", "--cluster", "demo", "--executor", "fake") as (_, client):

        def words(*given):
            capfd.readouterr()
            code = run([*given, "--home", str(tmp_path / "home")])
            seen = capfd.readouterr()
            return code, seen.out, seen.err

        words.client = client
        yield words


def written(tmp_path, borrowing=4, vision=4):
    path = tmp_path / "tenants.yaml"
    path.write_text(TREE.format(borrowing=borrowing, vision=vision))
    return str(path)


def test_quota_is_applied_shown_and_accounted(typed, tmp_path):
    code, out, _ = typed("quota", "apply", written(tmp_path))
    assert (code, out.splitlines()[0]) == (0, "in force: foundation removed, search changed, vision changed")
    typed.client.submit(
        {
            "type": "training",
            "name": "wide",
            "tenant": "search",
            "entrypoint": ["train"],
            "resources": {"options": [{"accelerator": "h200", "count": 6}]},
        }
    )
    until(lambda: typed.client.job("wide")["state"] == "running", what="the start")

    code, out, _ = typed("quota", "search")
    heads, row = (line.split() for line in out.splitlines())
    assert heads[:7] == ["TENANT", "RESOURCE", "NOMINAL", "ENTITLED", "USED", "BORROWED", "LENT"]
    assert row[:7] == ["search", "h200", "4", "4", "6", "2", "0"]

    code, out, _ = typed("quota", "apply", written(tmp_path, borrowing=0), "--dry-run")
    assert code == 0
    assert "1 job would be stranded:" in out
    assert "exceeds_quota" in out
    assert json.loads(typed("quota", "search", "-o", "json")[1])[0]["quotas"][0]["borrowing_limit"] == 4

    code, out, _ = typed("usage", "--by", "tenant,accelerator")
    assert (code, out.split()[:2], "h200" in out) == (0, ["TENANT", "ACCELERATOR"], True)


def test_what_is_wrong_is_one_line_with_its_place(typed, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(TREE.format(borrowing=4, vision=-1))
    code, out, err = typed("quota", "apply", str(path))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "wrong.yaml:5" in err
    code, _, err = typed("quota", "apply")
    assert (code, "quota apply FILE" in err) == (2, True)
