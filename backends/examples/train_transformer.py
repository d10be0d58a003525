"""Trains a small transformer on real text: the source of Python's standard library.

usage: python -m backends.examples.train_transformer [--steps N] [--batch N] [--width N]

The same script runs alone, under torchrun and under dualtrack. The batch of a step follows from the step's number, so a
run that moves to another device type and world size goes on exactly where it was.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from backends.examples.adam import Adam
from backends.examples.corpus import sample_start, stdlib_text
from backends.examples.transformer import ByteTransformer, shape_of
from backends.runtime import session
from backends.runtime.data_parallel import batch_indices

SAMPLES = 4096
LENGTH = 32


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="train a byte-level transformer on the standard library's source")
    parser.add_argument("--steps", type=int, help="default: the work that the job declares")
    parser.add_argument("--batch", type=int, default=12, help="the global batch, whatever the world size")
    parser.add_argument("--width", type=int, default=48)
    return parser.parse_args(argv)


def loss_on(text: bytes, device: Any) -> Callable[[Any, list[int]], Any]:
    """The loss of each sample: the mean cross entropy of its next bytes."""
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8).to(torch.int64)

    def loss(model: Any, indices: list[int]) -> Any:
        starts = [sample_start(index, LENGTH + 1, len(text)) for index in indices]
        rows = torch.stack([data[start : start + LENGTH + 1] for start in starts]).to(device)
        logits = model(rows[:, :-1])
        each = nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
        return each.view(len(indices), LENGTH).mean(dim=1)

    return loss


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    torch.set_num_threads(1)
    run = session.join()
    torch.manual_seed(0)
    model = ByteTransformer(width=args.width, length=LENGTH).to(run.device)
    optimizer = Adam(model.parameters(), lr=3e-3)
    trainer = run.data_parallel(model, optimizer)
    first = run.resume(model=model, optimizer=optimizer)
    say = sys.stdout.write if run.rank == 0 else lambda _: None
    say(f"{shape_of(model)} on {run.seat.accelerator or run.device}, world size {run.world_size}, from step {first}\n")
    loss_function = loss_on(stdlib_text(), run.device)
    for step in run.steps(total=args.steps):
        run.loss = trainer.step(loss_function, batch_indices(step, args.batch, SAMPLES))
        if step % 20 == 0:
            say(f"step {step}: loss {run.loss:.4f}\n")
    if run.loss is not None:
        say(f"loss {run.loss:.6f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
