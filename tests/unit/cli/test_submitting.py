"""Several jobs are entered together; each refusal is told, and keeps no other job out."""

import pytest

from scheduler.cli.output import Format
from scheduler.cli.submitting import _enter
from scheduler.errors import ConfigError, DeniedError


class Desk:
    """Takes what a client sends: jobs named `no` are denied."""

    def __init__(self):
        self.keys = []

    def submit(self, job, key):
        self.keys.append(key)
        return [self.view(job)]

    def submit_all(self, jobs):
        self.keys += [key for _, key in jobs]
        return [DeniedError("too much", "ask for less") if job["name"] == "no" else [self.view(job)] for job, _ in jobs]

    def view(self, job):
        return {"id": f"id-of-{job['name']}", "name": job["name"], "state": "waiting"}


def enter(capsys, *names, key="", output=Format.TABLE):
    desk = Desk()
    error = None
    try:
        _enter(desk, [{"name": name} for name in names], key, output)
    except DeniedError as found:
        error = found
    shown = capsys.readouterr()
    return desk, error, shown.out.splitlines(), shown.err.splitlines()


def test_each_job_that_was_entered_has_a_line(capsys):
    _, error, out, err = enter(capsys, "a", "b")
    assert (error, err) == (None, [])
    assert out == ["id-of-a a waiting", "id-of-b b waiting"]


def test_refusals_are_told_one_by_one_after_what_was_entered_and_the_last_gives_the_exit_code(capsys):
    _, error, out, err = enter(capsys, "no", "a", "no", "b", output=Format.NAME)
    assert out == ["id-of-a", "id-of-b"]
    assert err == ["error: no: too much; ask for less"]  # the last is raised, and told by whoever leaves
    assert error.exit_code == DeniedError("").exit_code


@pytest.mark.parametrize(("names", "keys"), [(("a",), ["k"]), (("a", "b"), ["k-0", "k-1"])])
def test_a_key_makes_one_for_each_job(capsys, names, keys):
    assert enter(capsys, *names, key="k")[0].keys == keys


def test_without_a_key_each_job_gets_one_of_its_own_so_that_a_lost_answer_can_be_asked_for_again(capsys):
    keys = enter(capsys, "a", "b", "c")[0].keys
    assert len(set(keys)) == 3 and all(keys)
    assert len(enter(capsys, "a")[0].keys[0]) == 32


def test_an_error_of_the_whole_request_is_raised_as_it_is(capsys, monkeypatch):
    def refuse(self, jobs):
        raise ConfigError("no", "never")

    monkeypatch.setattr(Desk, "submit_all", refuse)
    with pytest.raises(ConfigError):
        enter(capsys, "a", "b")
