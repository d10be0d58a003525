"""Trains a classifier of scikit-learn's handwritten digits: a perceptron, or a small convolutional network.

usage: python -m backends.examples.train_digits [--steps N] [--batch N] [--network perceptron|convolutional]
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from backends.examples.adam import Adam
from backends.examples.digits import load_digits
from backends.runtime import session
from backends.runtime.data_parallel import batch_indices

TESTED = 360
"""Digits at the end that are kept for the test."""


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="train a classifier of handwritten digits")
    parser.add_argument("--steps", type=int, help="default: the work that the job declares")
    parser.add_argument("--batch", type=int, default=64, help="the global batch, whatever the world size")
    parser.add_argument("--network", choices=("perceptron", "convolutional"), default="perceptron")
    return parser.parse_args(argv)


def network(kind: str) -> nn.Module:
    if kind == "perceptron":
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def loss_on(pictures: Any, digits: Any) -> Callable[[Any, list[int]], Any]:
    def loss(model: Any, indices: list[int]) -> Any:
        return nn.functional.cross_entropy(model(pictures[indices]), digits[indices], reduction="none")

    return loss


def accuracy(model: Any, pictures: Any, digits: Any) -> float:
    with torch.no_grad():
        return float((model(pictures).argmax(1) == digits).float().mean())


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    torch.set_num_threads(1)
    run = session.join()
    torch.manual_seed(0)
    pictures, digits = (torch.from_numpy(array).to(run.device) for array in load_digits())
    model = network(args.network).to(run.device)
    optimizer = Adam(model.parameters(), lr=1e-2)
    trainer = run.data_parallel(model, optimizer)
    run.resume(model=model, optimizer=optimizer)
    trained = len(digits) - TESTED
    loss_function = loss_on(pictures[:trained], digits[:trained])
    for step in run.steps(total=args.steps):
        run.loss = trainer.step(loss_function, batch_indices(step, args.batch, trained))
    if run.rank == 0 and run.loss is not None:
        share = accuracy(model, pictures[trained:], digits[trained:])
        sys.stdout.write(f"loss {run.loss:.6f}, {100 * share:.1f} % of {TESTED} other digits right\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
