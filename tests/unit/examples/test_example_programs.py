"""The examples as programs: they learn, resume elsewhere with the same loss, talk, serve and leave when told."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from tests.support.tree import ROOT
from tests.support.waiting import until

pytest.importorskip("torch")
pytestmark = pytest.mark.slow


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(module, *arguments, **env):
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", f"backends.examples.{module}", *map(str, arguments)],
        cwd=ROOT,
        env={**inherited, **{name: str(value) for name, value in env.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def world(module, size, *arguments, **env):
    """Run all ranks of a world; the output of the first."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    ranks = [start(module, *arguments, RANK=rank, LOCAL_RANK=rank, **meeting, **env) for rank in range(size)]
    outputs = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * size, outputs
    return outputs[0][0]


def final_loss(output):
    return float(re.findall(r"loss ([\d.]+)", output)[-1])


def test_a_transformer_interrupted_by_a_move_to_two_ranks_ends_with_the_loss_of_an_undisturbed_run(tmp_path):
    here = {"DUALTRACK_CHECKPOINT_PATH": tmp_path / "saved", "DUALTRACK_JOB_ID": "job"}
    undisturbed = world("train_transformer", 1, "--steps", 12)
    world("train_transformer", 1, "--steps", 5, **here)
    moved = world("train_transformer", 2, "--steps", 12, DUALTRACK_ATTEMPT=2, **here)
    assert "from step 5" in moved
    assert final_loss(moved) == pytest.approx(final_loss(undisturbed), abs=1e-4)


def test_a_classifier_learns_the_digits():
    output = world("train_digits", 1, "--steps", 60)
    assert float(re.search(r"([\d.]+) % of 360", output).group(1)) > 75


def test_a_script_in_the_manner_of_torchrun_gives_the_same_loss_on_one_rank_and_on_two(tmp_path):
    one = world("torchrun_style", 1, "--steps", 30)
    two = world("torchrun_style", 2, "--steps", 30, "--checkpoint", tmp_path / "saved")
    assert final_loss(one) == pytest.approx(final_loss(two), abs=1e-4)
    assert (tmp_path / "saved").exists()


def test_a_learner_and_a_rollout_learn_by_talking():
    address = {"DUALTRACK_ROLE_LEARNER_ADDR": f"127.0.0.1:{free_port()}", "DUALTRACK_WORK": 30}
    learner = start("rl_two_roles", DUALTRACK_ROLE="learner", **address)
    rollout = start("rl_two_roles", DUALTRACK_ROLE="rollout", **address)
    learnt, played = learner.communicate(timeout=120), rollout.communicate(timeout=120)
    assert (learner.returncode, rollout.returncode) == (0, 0), (learnt, played)
    assert final_loss(learnt[0]) < 0.5
    assert "1920 episodes" in played[0]


def test_the_service_answers_refuses_nonsense_and_leaves_when_told():
    port = free_port()
    service = start("serve_transformer", "--warm-up", 2, DUALTRACK_SERVICE_PORT=port)
    url = f"http://127.0.0.1:{port}"

    def healthy():
        try:
            return json.load(urlopen(f"{url}/healthz", timeout=5))["ready"]
        except (URLError, OSError):
            return False

    until(healthy, timeout_s=60, what="a healthy service")
    asked = Request(f"{url}/generate", json.dumps({"prompt": "def ", "tokens": 5}).encode())
    assert len(json.load(urlopen(asked, timeout=30))["text"]) == 5
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(f"{url}/generate", b"nonsense"), timeout=30)
    assert refused.value.code == 400
    service.send_signal(signal.SIGTERM)
    output, errors = service.communicate(timeout=30)
    assert service.returncode == 0, errors
    assert "answered 1 requests" in output
