"""A script that has never heard of dualtrack: torchrun's variables, SIGTERM and a checkpoint file are all it knows.

usage: python -m backends.examples.torchrun_style [--steps N] [--step-s S] [--checkpoint FILE]
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

BATCH = 24
FEATURES = 16


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="fit a line by data-parallel gradient descent")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--step-s", type=float, default=0.0, help="a step takes at least this long")
    parser.add_argument("--checkpoint", type=Path)
    return parser.parse_args(argv)


class Notice:
    """Whether this process was asked to leave."""

    def __init__(self) -> None:
        self.given = False
        signal.signal(signal.SIGTERM, self._give)

    def _give(self, signum: int, frame: FrameType | None) -> None:
        self.given = True


def batch_of(step: int, rank: int, world: int) -> tuple[Any, Any]:
    """This rank's part of the step's batch, which is the same for every world size."""
    source = torch.Generator().manual_seed(step)
    inputs = torch.randn(BATCH, FEATURES, generator=source)
    wanted = inputs @ torch.arange(FEATURES, dtype=torch.float32)
    return inputs[rank::world], wanted[rank::world]


def leaving(notice: Notice, world: int) -> bool:
    """Every rank leaves after the same step, or none does."""
    told = torch.tensor([float(notice.given)])
    if world > 1:
        dist.all_reduce(told)
    return bool(told.item())


def save(path: Path | None, weights: Any, step: int) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    torch.save({"weights": weights.detach(), "step": step}, draft)
    draft.replace(path)


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    notice = Notice()
    if world > 1:
        dist.init_process_group("gloo", init_method="env://")
    weights, first = torch.zeros(FEATURES), 0
    if args.checkpoint and args.checkpoint.exists():
        saved = torch.load(args.checkpoint, weights_only=True)
        weights, first = saved["weights"], saved["step"]
    loss = None
    for step in range(first, args.steps):
        ends = time.monotonic() + args.step_s
        inputs, wanted = batch_of(step, rank, world)
        error = inputs @ weights - wanted
        sums = torch.cat([2 * inputs.T @ error, (error**2).sum().reshape(1)])
        if world > 1:
            dist.all_reduce(sums)
        weights -= 0.05 * sums[:-1] / BATCH
        loss = sums[-1].item() / BATCH
        if leaving(notice, world):
            if rank == 0:
                save(args.checkpoint, weights, step + 1)
            return 0
        time.sleep(max(0.0, ends - time.monotonic()))
    if rank == 0:
        save(args.checkpoint, weights, args.steps)
        sys.stdout.write(f"loss {loss if loss is not None else float('nan'):.6f} after {args.steps} steps\n")
    if world > 1:
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
