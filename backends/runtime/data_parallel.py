"""A data-parallel step whose result does not depend on how many ranks share it.

The global batch is fixed and given by sample index; the ranks' shares make up exactly that batch at any world size,
even or not. Gradients are of the *sum* of the per-sample losses, added in float64 over all ranks and divided by the
global batch once, so that a rank with fewer samples counts for less by itself.
"""

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["DataParallel", "batch_indices", "share"]

LossFunction = Callable[[Any, list[int]], Any]
"""(model, sample indices) -> the loss of each sample, a tensor of shape (len(indices),)."""


def batch_indices(step: int, global_batch: int, samples: int, seed: int | None = None) -> list[int]:
    """The samples of one step: the data in order, round and round; shuffled anew each round when a seed is given.

    A function of its arguments alone, so that a resumed run goes on where the first one stopped.
    """
    first = step * global_batch
    positions = range(first, first + global_batch)
    if seed is None:
        return [position % samples for position in positions]
    orders = {turn: _order(samples, seed, turn) for turn in {position // samples for position in positions}}
    return [orders[position // samples][position % samples] for position in positions]


def _order(samples: int, seed: int, turn: int) -> list[int]:
    import torch

    source = torch.Generator().manual_seed((seed * 1_000_003 + turn) % 2**63)
    order: list[int] = torch.randperm(samples, generator=source).tolist()
    return order


def share(indices: Sequence[int], rank: int, world_size: int, micro_batch: int = 0) -> list[list[int]]:
    """The micro-batches of `rank`: the batch is cut into pieces of `micro_batch`, dealt out in turn.

    Without a size the rank's samples are one piece. With one, the pieces are the same at every world size, and so is
    each piece's gradient, bit for bit.
    """
    if micro_batch <= 0:
        own = list(indices[rank::world_size])
        return [own] if own else []
    pieces = [list(indices[i : i + micro_batch]) for i in range(0, len(indices), micro_batch)]
    return pieces[rank::world_size]


class DataParallel:
    """Keeps one model equal on all ranks. Construct it on every rank; rank 0's weights are taken."""

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        *,
        rank: int = 0,
        world_size: int = 1,
        device: Any = "cpu",
        micro_batch: int = 0,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.rank = rank
        self.world_size = world_size
        self.device = device
        self.micro_batch = micro_batch
        self.samples = 0  # seen in all steps, over all ranks
        self._parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        self.synchronise()

    def synchronise(self) -> None:
        """Take over rank 0's weights and buffers."""
        if self.world_size > 1:
            import torch.distributed as dist

            for tensor in self.model.state_dict().values():
                dist.broadcast(tensor, 0)

    def step(self, loss_function: LossFunction, indices: Sequence[int]) -> float:
        """One optimiser step over the global batch `indices` (the same on all ranks); its mean loss."""
        import torch

        sums = torch.zeros(sum(p.numel() for p in self._parameters) + 2, dtype=self._sum_dtype(), device=self.device)
        for piece in share(indices, self.rank, self.world_size, self.micro_batch):
            self.optimizer.zero_grad(set_to_none=True)
            losses = loss_function(self.model, piece)
            if losses.shape != (len(piece),):
                raise ValueError(f"the loss function gave shape {tuple(losses.shape)} for {len(piece)} samples")
            losses.sum().backward()
            self._add(sums, losses)
        if self.world_size > 1:
            import torch.distributed as dist

            dist.all_reduce(sums)
        total, count = sums[-2].item(), round(sums[-1].item())
        self._spread(sums / count)
        self.optimizer.step()
        self.samples += count
        return float(total / count)

    def _sum_dtype(self) -> Any:
        """float64, or float32 on devices whose collectives have nothing wider."""
        import torch

        return torch.float64 if torch.device(self.device).type in ("cpu", "cuda") else torch.float32

    def _add(self, sums: Any, losses: Any) -> None:
        place = 0
        for parameter in self._parameters:
            if parameter.grad is not None:
                sums[place : place + parameter.numel()] += parameter.grad.reshape(-1)
            place += parameter.numel()
        sums[-2] += losses.detach().sum()
        sums[-1] += len(losses)

    def _spread(self, mean: Any) -> None:
        place = 0
        for parameter in self._parameters:
            parameter.grad = mean[place : place + parameter.numel()].view_as(parameter).to(parameter.dtype)
            place += parameter.numel()
