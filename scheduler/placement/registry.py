"""The strategies by the name that a policy file gives them."""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from scheduler.placement.feasibility import Demand
from scheduler.placement.fleet import Fleet
from scheduler.placement.fragmentation import FragmentationDescent
from scheduler.placement.strategies import BestFit, DotProduct, RandomFit, Spread, Strategy, Topology
from scheduler.placement.target import Target

__all__ = ["STRATEGIES", "strategy_named"]

STRATEGIES: Final[dict[str, Callable[[np.random.Generator, Callable[[], Target]], Strategy]]] = {
    "best-fit": lambda generator, target: BestFit(),
    "fgd": lambda generator, target: FragmentationDescent(target()),
    "spread": lambda generator, target: Spread(),
    "random": lambda generator, target: RandomFit(generator),
    "dot-product": lambda generator, target: DotProduct(),
    "topology": lambda generator, target: Topology(),
}
"""Each is made from a seeded generator and the target workload, which few of them need."""


def strategy_named(
    name: str, fleet: Fleet, seed: int = 0, recent: Callable[[], Iterable[Demand]] | Iterable[Demand] = ()
) -> Strategy:
    """The strategy, fit for this fleet. `recent`: what jobs asked for lately, for `fgd`. Raises KeyError."""
    demands = recent if callable(recent) else lambda: recent
    return STRATEGIES[name](np.random.default_rng(seed), lambda: Target.of(demands(), fleet))
