"""Adam in a page. The one in torch.optim loads PyTorch's compiler, two more seconds for each short-lived rank."""

from collections.abc import Iterable
from typing import Any

import torch

__all__ = ["Adam"]

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """Kingma and Ba, 2015, with the parts of an optimizer that a trainer and a checkpoint need."""

    def __init__(self, parameters: Iterable[Any], lr: float) -> None:
        self.param_groups = [{"params": list(parameters)}]
        self.lr = lr
        self._steps = 0
        self._mean = [torch.zeros_like(p) for p in self.param_groups[0]["params"]]
        self._square = [torch.zeros_like(p) for p in self.param_groups[0]["params"]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    def step(self) -> None:
        self._steps += 1
        first, second = (1 - beta**self._steps for beta in BETAS)
        with torch.no_grad():
            for p, mean, square in zip(self.param_groups[0]["params"], self._mean, self._square, strict=True):
                mean.lerp_(p.grad, 1 - BETAS[0])
                square.mul_(BETAS[1]).addcmul_(p.grad, p.grad, value=1 - BETAS[1])
                p.addcdiv_(mean / first, (square / second).sqrt_().add_(EPSILON), value=-self.lr)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "mean": self._mean, "square": self._square}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._steps = state["steps"]
        for own, saved in ((self._mean, state["mean"]), (self._square, state["square"])):
            for tensor, value in zip(own, saved, strict=True):
                tensor.copy_(value)
