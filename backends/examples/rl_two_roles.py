"""Reinforcement learning in two roles: a rollout plays with the newest policy, a learner improves it.

Both roles run this module; dualtrack starts them together and tells each where the learner listens
(DUALTRACK_ROLE_LEARNER_ADDR). The rollout needs no PyTorch.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from backends.examples.rl_game import ACTIONS, EPISODES, STATES, connect, listen, play, receive, send
from backends.runtime import session

PATIENCE_ROUNDS = 120  # of a second each, for a rollout to call


def learner_address() -> str:
    address = os.environ.get("DUALTRACK_ROLE_LEARNER_ADDR", "")
    if not address:
        raise SystemExit(
            "this program is a job of the roles learner and rollout: DUALTRACK_ROLE_LEARNER_ADDR is missing"
        )
    return address


@contextlib.contextmanager
def caller(address: str) -> Iterator[Any]:
    """The stream of the first rollout that calls."""
    with listen(address) as server:
        for _ in range(PATIENCE_ROUNDS):
            with contextlib.suppress(TimeoutError):
                connection, _ = server.accept()
                break
        else:
            raise SystemExit("no rollout has called")
        with connection, connection.makefile("rwb") as stream:
            yield stream


def learn(run: session.Run) -> int:
    """One step per exchange: send the policy, receive episodes, follow the gradient of the expected reward."""
    import torch

    from backends.examples.adam import Adam

    torch.set_num_threads(1)
    logits = torch.zeros(STATES, ACTIONS, requires_grad=True)
    optimizer = Adam([logits], lr=0.2)
    with caller(learner_address()) as stream:
        for step in run.steps():
            send(stream, {"version": step, "logits": logits.tolist()})
            played = receive(stream)
            if played is None:
                raise SystemExit("the rollout has gone")
            states, actions = torch.tensor(played["states"]), torch.tensor(played["actions"])
            rewards = torch.tensor(played["rewards"])
            chosen = torch.log_softmax(logits, dim=1)[states, actions]
            optimizer.zero_grad()
            (-(rewards - rewards.mean()) * chosen).mean().backward()
            optimizer.step()
            run.loss = 1.0 - float(rewards.mean())
    sys.stdout.write(
        f"loss {run.loss:.6f}: the share of wrong actions\n" if run.loss is not None else "no step was left\n"
    )
    return 0


def roll_out(run: session.Run) -> int:
    """Play what the learner sends until it hangs up."""
    games = 0
    with connect(learner_address()) as connection, connection.makefile("rwb") as stream:
        while not run.notified and (policy := receive(stream)) is not None:
            send(stream, play(policy["logits"], policy["version"]))
            games += EPISODES
    sys.stdout.write(f"{games} episodes played\n")
    return 0


def main() -> int:
    run = session.join()
    return learn(run) if run.role == "learner" else roll_out(run)


if __name__ == "__main__":
    sys.exit(main())
