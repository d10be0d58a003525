"""What `validate` refuses, each in one line with its place: what no file of its kind may say."""

import pytest

from scheduler.cli.main import run
from scheduler.config import shipped

TENANTS = "kind: tenants\ntenants:\n"
JOB = "kind: job\ntype: training\nname: j\nentrypoint: [x]\n"
LARGE = JOB + "resources:\n  options:\n    - {accelerator: h200, count: 4}\n    - {accelerator: h20-96, count: 999}\n"


def told(tmp_path, capsys, body: str, *beside: str) -> str:
    """What is said of a file that is wrong; its own name is left out."""
    file = tmp_path / "f.yaml"
    file.write_text("schema: dualtrack/v1\n" + body)
    assert run(["validate", str(file), *beside]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix(f"error: {file}:")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (TENANTS + "- {name: a, quota: {h200: -1}}\n", "4: tenants[0].quota.h200: `-1` is out of range"),
        (
            TENANTS + "- {name: a, quota: {h200: {nominal: 4, ceiling: 2}}}\n",
            "4: tenants[0].quota.h200.ceiling: the ceiling 2 is below the nominal 4",
        ),
        (
            TENANTS + "- {name: a, quota: {h200: 4}}\n- {name: a/b, quota: {h200: 8}}\n",
            "5: tenants[1].quota.h200: the nominal 8 is more than the 4 that `a` has left to give",
        ),
        (
            TENANTS + "- {name: a, quota: {h200: {nominal: 4, lending_limit: 5}}}\n",
            "4: tenants[0].quota.h200.lending_limit: 5 could be lent of a nominal 4",
        ),
        (
            TENANTS + "- {name: a, quota: {h200: 4, 'family:h200': 2}}\n",
            "4: tenants[0].quota.h200: the nominal 4 is above the 2 of `family:h200`",
        ),
        (
            TENANTS + "- {name: a, quota: {h200: {nominal: 4, borrowing_limit: 2}}}\n",
            "4: tenants[0].quota.h200: `a` has neither a parent nor a neighbour to borrow from",
        ),
        (
            TENANTS + "- {name: a, quota: {'track:imported': {nominal: 4}}}\n",
            "4: tenants[0].quota.track:imported.nominal: `track:imported` is not promised in devices",
        ),
        (
            "kind: rules\ndomestic_shares:\n- {id: s, basis: used, measure: device_hours, target: 1.3, window: 30d}\n",
            "4: domestic_shares[0].target: `1.3` is out of range; 0 to 1",
        ),
        (
            JOB + "resources: {options: [{accelerator: h200, count: 1, share: 1.5}]}\n",
            "6: resources.options[0].share: `1.5` is out of range; more than 0, at most 1",
        ),
        (
            "kind: rules\neligibility:\n- {id: x, jobs: {a: b}, sites: [n], mode: hold}\n"
            "- {id: y, jobs: {a: b}, sites: [m], mode: hold}\n",
            "5: eligibility[1]: excludes `x` for the same jobs: nothing agrees in sites",
        ),
        (
            JOB + "resources: {options: [{accelerator: h200, count: 1}]}\ndeadline: 2020-01-01T00:00:00Z\n",
            "7: deadline: lies in the past; move it, or leave it out",
        ),
        (
            JOB + "workload: {class: dense_training, model: {params: 7e11, layers: 80, hidden: 8192, seq_len: 4096}, "
            "tokens: 1e9}\nresources: {options: [{accelerator: h200, count: 1}]}\n",
            "7: resources.options[0]: can never be taken: the model does not fit into 1 h200",
        ),
    ],
    ids=lambda text: text.split(": ", 1)[-1][:40] if ": " in text else text,
)
def test_what_contradicts_itself_is_refused_with_its_place(body, words, tmp_path, capsys):
    assert told(tmp_path, capsys, body).startswith(words)


def test_an_option_that_can_never_fit_the_cluster_beside_it_is_refused_with_its_place(tmp_path, capsys):
    demo = str(shipped("cluster", "demo"))
    assert told(tmp_path, capsys, LARGE, demo) == (
        "9: resources.options[1]: can never be taken in cluster `demo`: it asks for 999 h20-96 and the whole fleet has "
        "8; ask for at most 8"
    )


def test_of_a_job_of_several_roles_the_option_is_found_in_its_role(tmp_path, capsys):
    roles = (
        "kind: job\ntype: training\nname: j\nroles:\n"
        "  small: {entrypoint: [x], resources: {options: [{accelerator: h200, count: 1}]}}\n"
        "  large:\n    entrypoint: [x]\n    resources: {options: [{accelerator: h200, count: 99}]}\n"
    )
    text = told(tmp_path, capsys, roles, str(shipped("cluster", "demo")))
    assert text.startswith("9: roles.large.resources.options[0]: can never be taken in cluster `demo`")


@pytest.mark.parametrize(
    "body",
    [
        LARGE.replace("999", "[4, 999]"),
        LARGE.replace("h20-96, count: 999", "b200, count: 8"),
        JOB + "resources: {options: [{accelerator: h200, count: 1}]}\ndeadline: 2099-01-01T00:00:00Z\n",
    ],
    ids=["one of its counts fits", "another fleet has the accelerator", "a deadline to come"],
)
def test_what_may_yet_run_is_not_refused(body, tmp_path):
    file = tmp_path / "f.yaml"
    file.write_text("schema: dualtrack/v1\n" + body)
    assert run(["validate", str(file), str(shipped("cluster", "demo"))]) == 0
