"""Job lists of public traces: recognised by their heading, and replayed by the command."""

import json

import pytest

from scheduler.config import load_catalog, load_cluster
from scheduler.config.shipped import shipped
from scheduler.errors import ConfigError
from scheduler.simulator.readers.sia import SIA_FLEET
from scheduler.simulator.readers.trace import read_trace
from tests.unit.simulator.test_gavel_reader import LIST, TABLE
from tests.unit.simulator.test_sia_reader import JOBS, PROFILE


def written(folder, **texts):
    paths = {}
    for name, text in texts.items():
        paths[name] = folder / f"{name}.csv"
        paths[name].write_text(text)
    return paths


def test_lists_are_known_by_their_heading(tmp_path):
    paths = written(tmp_path, rates=TABLE, gavel=LIST, profiles=PROFILE, sia=JOBS)
    assert [a.job.tenant for a in read_trace(paths["gavel"], paths["rates"]).arrivals] == ["gavel"] * 3
    assert len(read_trace(paths["sia"], paths["profiles"]).arrivals) == 2
    assert len(read_trace(f"{paths['sia']}#2", paths["profiles"]).arrivals) == 1


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_a_list_of_no_known_trace_is_refused(tmp_path, text):
    paths = written(tmp_path, rates=TABLE, other=text)
    with pytest.raises(ConfigError, match="no job list"):
        read_trace(paths["other"], paths["rates"])


def test_a_number_that_is_none_is_refused(tmp_path):
    paths = written(tmp_path, profiles=PROFILE, sia=JOBS)
    with pytest.raises(ConfigError, match="number"):
        read_trace(f"{paths['sia']}#two", paths["profiles"])


def test_the_shipped_fleets_are_those_of_the_papers():
    catalog = load_catalog()
    gavel, sia = (load_cluster(shipped("cluster", name), catalog) for name in ("gavel", "sia"))
    assert {pool.accelerator: pool.nodes * pool.devices_per_node for pool in gavel.pools} == dict.fromkeys(
        ("v100", "p100", "k80"), 36
    )
    assert {pool.accelerator: (pool.nodes, pool.devices_per_node) for pool in sia.pools} == {
        name: (nodes.nodes, nodes.devices_per_node) for name, nodes in SIA_FLEET.items()
    }


def test_the_command_replays_a_list(tmp_path, capsys, monkeypatch):
    from scheduler.cli.main import main

    paths = written(tmp_path, rates=TABLE, gavel=LIST)
    words = ["simulate", "--cluster", "gavel", "--workload", str(paths["gavel"]), "--rates", str(paths["rates"])]
    monkeypatch.setattr("sys.argv", ["dualtrack", *words, "--policy", "fifo-best-type", "-o", "json"])
    with pytest.raises(SystemExit) as left:
        main()
    found = json.loads(capsys.readouterr().out)
    assert not left.value.code
    assert (found["jobs"], found["finished"]) == (3, 3)
    # all devices are free: 100 s and 100 s on V100, and the gang of two 20 s on P100
    assert found["jct_s"]["mean"] == pytest.approx((100 + 100 + 20) / 3)
