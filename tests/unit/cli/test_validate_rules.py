"""`validate` looks at rules together with the clusters beside them."""

import pytest
import typer

from scheduler.cli.validating import validate
from scheduler.config import shipped


def outcome(*files: object) -> int:
    with pytest.raises(typer.Exit) as caught:
        validate([str(file) for file in files])
    return caught.value.exit_code


def test_the_example_rules_fit_the_cluster_that_they_are_written_for(capsys):
    assert outcome(shipped("rules", "example"), shipped("cluster", "dual-track-1000")) == 0
    assert capsys.readouterr().out.count("a valid") == 2


def test_rules_that_a_cluster_beside_them_cannot_satisfy_are_told_with_their_place(capsys):
    assert outcome(shipped("cluster", "demo"), shipped("rules", "example")) == 2
    told = capsys.readouterr()
    assert "lots[0]: 1024 of it serve, and no pool of cluster `demo` names the lot `lot-2026-01`" in told.err
    assert "demo.yaml: a valid cluster file" in told.out


def test_rules_alone_are_checked_alone_and_a_wrong_cluster_is_told_of_once(tmp_path, capsys):
    assert outcome(shipped("rules", "example")) == 0
    wrong = tmp_path / "c.yaml"
    wrong.write_text("schema: dualtrack/v1\nkind: cluster\nname: c\n")
    capsys.readouterr()
    assert outcome(wrong, shipped("rules", "example")) == 2
    assert capsys.readouterr().err.count("c.yaml") == 1
