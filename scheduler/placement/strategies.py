"""Which of the nodes that could serve a demand does: one small class per strategy."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scheduler.model.units import WHOLE_DEVICE
from scheduler.placement.feasibility import Demand, fitting
from scheduler.placement.index import ShelfIndex
from scheduler.placement.room import Room

__all__ = ["BestFit", "DotProduct", "GRADES", "RandomFit", "Scored", "Spread", "Strategy", "Topology"]


GRADES = 100
"""Scores between 0 and 1 are compared by whole per cents, as in the published comparison."""


class Strategy(Protocol):
    """`by_domain`: gangs of several nodes go into one domain where they can, and else into few."""

    by_domain: bool

    def whole(
        self, room: Room, index: ShelfIndex, demand: Demand, count: int, block: int | None = None
    ) -> Iterator[int]:
        """Nodes to be tried, in order, for all `count` devices at once; they may turn out to give fewer."""

    def most(self, room: Room, index: ShelfIndex, demand: Demand, block: int | None = None) -> Iterator[int]:
        """Nodes to be tried, in order, for a part of a gang that no node takes whole."""

    def choose(self, room: Room, demand: Demand, nodes: NDArray[np.int64], count: int) -> tuple[int, int]:
        """The node of `nodes`, all of which could serve the demand, and the device whose share is taken (else 0)."""


class BestFit:
    """The fullest node that still takes all of it; a gang of several nodes takes the emptiest, so that it spans few.

    Where devices are shared, CPU is as scarce as devices: fullest is then the least sum of both left over, each as a
    part of the largest node's, as in the published comparison (Weng et al., ATC 2023).
    """

    by_domain = False

    def whole(
        self, room: Room, index: ShelfIndex, demand: Demand, count: int, block: int | None = None
    ) -> Iterator[int]:
        return index.ascending(count, block)

    def most(self, room: Room, index: ShelfIndex, demand: Demand, block: int | None = None) -> Iterator[int]:
        return index.descending(1, block)

    def choose(self, room: Room, demand: Demand, nodes: NDArray[np.int64], count: int) -> tuple[int, int]:
        most_cpu, most_devices = room.fleet.widest
        left = room.thousandths_left(nodes)
        over = left.sum(axis=1) / most_devices + room.cpu_milli[nodes] / most_cpu
        place = int(over.argmin())
        return int(nodes[place]), fullest(left[place], demand)


class Topology(BestFit):
    """Best fit, but racks and supernodes stay whole: among equal nodes that of the domain with least room."""

    by_domain = True

    def whole(
        self, room: Room, index: ShelfIndex, demand: Demand, count: int, block: int | None = None
    ) -> Iterator[int]:
        return index.packed(count) if block is None and index.layout.domains else index.ascending(count, block)


class Spread(BestFit):
    """The emptiest node, so that a lost node costs each job little."""

    def whole(
        self, room: Room, index: ShelfIndex, demand: Demand, count: int, block: int | None = None
    ) -> Iterator[int]:
        return index.descending(count, block)

    def choose(self, room: Room, demand: Demand, nodes: NDArray[np.int64], count: int) -> tuple[int, int]:
        left = room.thousandths_left(nodes)
        place = int(left.sum(axis=1).argmax())
        return int(nodes[place]), int(left[place].argmax())


class RandomFit(BestFit):
    """Any node that fits, drawn with the generator it was given: what the others are measured against."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def whole(
        self, room: Room, index: ShelfIndex, demand: Demand, count: int, block: int | None = None
    ) -> Iterator[int]:
        able = index.count(count)
        if block is None and able:
            yield index.pick(count, int(self.generator.integers(able)))
        yield from index.ascending(count, block)  # where the one drawn lacks CPU or memory, or lies outside

    def choose(self, room: Room, demand: Demand, nodes: NDArray[np.int64], count: int) -> tuple[int, int]:
        node = int(nodes[self.generator.integers(len(nodes))])
        able = np.flatnonzero(room.thousandths_left(np.array([node]))[0] >= demand.thousandths)
        return node, int(able[self.generator.integers(len(able))]) if not demand.whole and demand.count else 0


class Scored(BestFit, ABC):
    """For strategies that weigh nodes: `scores` float64[nodes], the least is taken.

    Where devices are granted whole, nodes that can give as many devices hardly differ: a few of each kind are weighed,
    so that a large fleet takes no longer; where devices are shared, every node that fits is.
    """

    @abstractmethod
    def scores(self, room: Room, demand: Demand, nodes: NDArray[np.int64], count: int) -> NDArray[np.float64]:
        """float64[nodes], one for each of `nodes`, all of which could serve the demand; lower is better."""

    def whole(
        self, room: Room, index: ShelfIndex, demand: Demand, count: int, block: int | None = None
    ) -> Iterator[int]:
        yield from self._ranked(room, demand, np.array(index.few(count, block), dtype=np.int64), count)
        layout = index.layout  # those few lack CPU or memory, or are not for this job
        nodes = layout.nodes if block is None else layout.nodes[layout.first[block] : layout.first[block + 1]]
        yield from self._ranked(room, demand, nodes, count)

    def _ranked(self, room: Room, demand: Demand, nodes: NDArray[np.int64], count: int) -> Iterator[int]:
        nodes = fitting(room, demand, nodes, count)
        if len(nodes):
            yield from nodes[np.argsort(self.scores(room, demand, nodes, count), kind="stable")].tolist()

    def choose(self, room: Room, demand: Demand, nodes: NDArray[np.int64], count: int) -> tuple[int, int]:
        node = int(nodes[self.scores(room, demand, nodes, count).argmin()])
        return node, fullest(room.thousandths_left(np.array([node]))[0], demand)


class DotProduct(Scored):
    """The node whose idle devices and CPU least resemble what is asked: their inner product, each as a part of the
    largest node's (Grandl et al., SIGCOMM 2014, as applied in Weng et al., ATC 2023).

    In a hundred grades, as published: smaller differences are left to the order of the nodes, so that these fill up.
    """

    def scores(self, room: Room, demand: Demand, nodes: NDArray[np.int64], count: int) -> NDArray[np.float64]:
        most_cpu, most_devices = room.fleet.widest
        cpu_milli = demand.per_device.cpu_milli * max(count, 1) if demand.per_device else 0
        devices = room.thousandths_left(nodes).sum(axis=1) / most_devices * (count * demand.thousandths / most_devices)
        product = devices + room.cpu_milli[nodes] / most_cpu * (cpu_milli / most_cpu)
        grades: NDArray[np.float64] = -np.floor(GRADES * (1.0 - product / 2.0) + 1e-9)
        return grades


def fullest(left: NDArray[np.int64], demand: Demand) -> int:
    """The device with the least left that still has the share; 0 where no share is asked for."""
    if demand.whole or not demand.count:
        return 0
    return int(np.where(left >= demand.thousandths, left, WHOLE_DEVICE + 1).argmin())
