"""A toy task for reinforcement learning, and how its two roles talk: JSON lines over one connection per rollout."""

import json
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["ACTIONS", "EPISODES", "STATES", "connect", "listen", "play", "receive", "reward_of", "send"]

STATES = 8
ACTIONS = 4
EPISODES = 64
"""Per exchange: what a rollout plays with one version of the policy."""


def reward_of(state: int, action: int) -> float:
    """One action in each state is right."""
    return 1.0 if action == (3 * state + 1) % ACTIONS else 0.0


def play(logits: Sequence[Sequence[float]], version: int) -> dict[str, Any]:
    """EPISODES episodes of one step under the policy; the draws follow from its version alone."""
    draws = np.random.default_rng(version)
    states = draws.integers(0, STATES, EPISODES)
    table = np.asarray(logits)
    weights = np.exp(table - table.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    actions = [int(draws.choice(ACTIONS, p=weights[state])) for state in states]
    rewards = [reward_of(int(state), action) for state, action in zip(states, actions, strict=True)]
    return {"version": version, "states": states.tolist(), "actions": actions, "rewards": rewards}


def listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    server = socket.create_server((host, int(port)))
    server.settimeout(1.0)
    return server


def connect(address: str, patience_s: float = 60.0) -> socket.socket:
    """A connection to the learner, which may start later than we do."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return socket.create_connection((host, int(port)), timeout=patience_s)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def send(stream: Any, message: Mapping[str, Any]) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


def receive(stream: Any) -> dict[str, Any] | None:
    """The next message, or None once the other side has gone."""
    try:
        line = stream.readline()
    except (ConnectionError, TimeoutError):
        return None
    message: dict[str, Any] = json.loads(line) if line else {}
    return message or None
