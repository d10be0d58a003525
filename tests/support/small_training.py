"""A small training job without dropout, as a user would write it: 100 steps, a fixed global batch, order by index.

usage: python small_training.py RESULT_FILE
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn

from backends.runtime import session
from backends.runtime.data_parallel import batch_indices

STEPS = 100
GLOBAL_BATCH = 10  # uneven over three ranks
SAMPLES = 97


def data() -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    inputs = torch.randn(SAMPLES, 8, generator=source)
    return inputs, (inputs.prod(dim=1) > 0).long()


def model() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(8, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 2))


def train(result: Path) -> float:
    torch.set_num_threads(1)
    run = session.join()
    inputs, labels = data()

    def losses(network: nn.Module, indices: list[int]) -> torch.Tensor:
        return nn.functional.cross_entropy(network(inputs[indices]), labels[indices], reduction="none")

    network = model()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    trainer = run.data_parallel(network, optimizer)
    first = run.resume(model=network, optimizer=optimizer)
    for step in run.steps(STEPS):
        run.loss = trainer.step(losses, batch_indices(step, GLOBAL_BATCH, SAMPLES, seed=3))
    with torch.no_grad():
        final = losses(network, list(range(SAMPLES))).mean().item()
    if run.rank == 0:
        result.write_text(json.dumps({"loss": final, "first": first, "samples": trainer.samples}))
    return final


if __name__ == "__main__":
    train(Path(sys.argv[1]))
