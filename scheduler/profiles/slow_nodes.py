"""Nodes on which jobs run slower than jobs of their kind do on other nodes.

A run is compared with the median of those that share no node with it: median and median absolute deviation keep half of
them from telling anything by being odd themselves. A gang runs as fast as its slowest node, so its slowness is first
laid on the node with the most against it; what that explains is held against no other node.
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from scheduler.profiles.observed import NOISE

__all__ = ["NodeRun", "SlowNode", "slow_nodes"]

RECENT: Final = 3
"""Latest runs of a node that count: one that was mended is cleared by as many."""

LEAST_PEERS: Final = 3
"""Runs on other nodes, on at least so many nodes."""

WORTH_TELLING: Final = 0.1
CERTAIN: Final = 3.0
"""A node is slow when it is by a tenth, less so many standard deviations."""

FAR: Final = 1.0
"""Log units at which a run is cut off, so that none counts for many."""

NORMAL_MAD: Final = 1.4826


class NodeRun(Struct, frozen=True, gc=False):
    """One run: the nodes that it held, the log of its observed over its modelled rate, and when it began."""

    nodes: tuple[int, ...]
    log_ratio: float
    at_us: int = 0


class SlowNode(Struct, frozen=True, gc=False):
    """`ratio`: of the rate that others of their kind reach elsewhere, over `runs` runs against `peers` others; `among`:
    nodes that the same runs speak against, of which one may be meant."""

    node: int
    ratio: float
    runs: int
    peers: int
    among: int = 1


class _Against(Struct, frozen=True, gc=False):
    """What one run says of each of its nodes: how far off it is, and how far it may be by chance."""

    at_us: int
    run: int
    off: float
    noise: float
    peers: int


def slow_nodes(groups: Iterable[Sequence[NodeRun]]) -> tuple[SlowNode, ...]:
    """The slow nodes in order of number. Each group holds runs that are alike: of one kind of job on as many devices of
    one accelerator."""
    compared = [group for group in groups if len(group) > LEAST_PEERS]
    suspects = {node for group in compared for run in _slower(group) for node in run.nodes}
    if not suspects:
        return ()
    evidence: dict[int, list[_Against]] = {}
    numbered = enumerate((run, group) for group in compared for run in group)
    for number, (run, group) in numbered:
        against = None if suspects.isdisjoint(run.nodes) else _against(number, run, group)
        if against is not None:
            for node in run.nodes:
                evidence.setdefault(node, []).append(against)
    latest = {node: tuple(sorted(runs, key=lambda one: one.at_us)[-RECENT:]) for node, runs in evidence.items()}
    return tuple(sorted(_blamed(latest), key=_number))


def _slower(group: Sequence[NodeRun]) -> Iterator[NodeRun]:
    """Those that could be slower than the median by enough to matter, since they are than the best."""
    best = max(run.log_ratio for run in group)
    return (run for run in group if best - run.log_ratio > WORTH_TELLING)


def _number(found: SlowNode) -> int:
    return found.node


def _against(number: int, run: NodeRun, group: Sequence[NodeRun]) -> _Against | None:
    """None where too few others ran elsewhere."""
    held = set(run.nodes)
    peers = [other for other in group if held.isdisjoint(other.nodes)]
    if len(peers) < LEAST_PEERS or len({node for other in peers for node in other.nodes}) < LEAST_PEERS:
        return None
    middle = statistics.median(other.log_ratio for other in peers)
    spread = NORMAL_MAD * statistics.median(abs(other.log_ratio - middle) for other in peers)
    return _Against(run.at_us, number, min(max(run.log_ratio - middle, -FAR), FAR), max(spread, NOISE), len(peers))


def _blamed(evidence: Mapping[int, tuple[_Against, ...]]) -> list[SlowNode]:
    """The worst first; the runs that speak against it are then explained for others."""
    found: list[SlowNode] = []
    left = dict(evidence)
    while left:
        worst = min(left, key=lambda node: (_surely(left[node]), node))
        if _surely(left[worst]) > -WORTH_TELLING:
            return found
        runs = left[worst]
        same = [node for node, other in left.items() if other == runs]
        ratio = math.exp(sum(one.off for one in runs) / len(runs))
        found += [SlowNode(node, ratio, len(runs), min(one.peers for one in runs), len(same)) for node in same]
        explained = {one.run for one in runs}
        remaining = (
            (node, tuple(one for one in other if one.run not in explained))
            for node, other in left.items()
            if node not in same
        )
        left = {node: other for node, other in remaining if other}
    return found


def _surely(runs: Sequence[_Against]) -> float:
    """How far off the node is at least, on the slow side."""
    noise = math.sqrt(sum(one.noise**2 for one in runs)) / len(runs)
    return sum(one.off for one in runs) / len(runs) + CERTAIN * noise
