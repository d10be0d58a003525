"""What running jobs have shown, as the command prints it."""

import contextlib
import json

import pytest

from scheduler.cli import learned as module
from scheduler.cli.main import run

RATE = {"class": "decode", "model": "llama-3.1-8b", "tenant": "red", "accelerator": "h200", "ratio": 0.5, "low": 0.46,
        "high": 0.55, "attempts": 2, "bounds": 1}  # fmt: skip
NODE = {"node": "h200-3", "cell": "hopper", "accelerator": "h200", "state": "ready", "ratio": 0.7, "runs": 3,
        "peers": 12, "among": 2}  # fmt: skip


@pytest.fixture
def shown(monkeypatch, capsys):
    def call(found, *words):
        class Client:
            def rates(self):
                return found

        monkeypatch.setattr(module, "connect", lambda *_: contextlib.nullcontext(Client()))
        assert run(["profiles", "learned", *words]) == 0
        return capsys.readouterr()

    return call


def test_rates_and_slow_nodes_are_tables_of_their_own(shown):
    told = shown({"rates": [RATE], "slow_nodes": [NODE]}).out
    assert "50%" in told and "46% to 55%" in told and "AT LEAST" in told
    assert "h200-3" in told and "70%" in told and "ONE OF" in told


def test_without_slow_nodes_none_are_spoken_of(shown):
    assert "SLOW" not in shown({"rates": [RATE], "slow_nodes": []}).out


def test_as_values_it_is_the_list_of_rates(shown):
    assert json.loads(shown({"rates": [RATE], "slow_nodes": [NODE]}, "-o", "json").out) == [RATE]


def test_nothing_learned_says_what_would_teach(shown):
    assert "from their third report on" in shown({"rates": [], "slow_nodes": []}).err
