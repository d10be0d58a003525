"""Seconds that groups of devices talk, by Hockney's model: a delay for each message and bytes over a bandwidth.

Arrays broadcast; bytes are those of the whole result (all-gather, reduce-scatter) or of one device's copy (all-reduce).
Formulas: Thakur, Rabenseifner and Gropp, 2005. Groups that span nodes talk over as many network ports as they have
members in a node, beside the link within it: the slower of the two counts.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["all_gather_s", "all_reduce_s", "all_to_all_s", "bandwidth", "members_per_node", "point_to_point_s"]

Numbers = NDArray[np.float64] | float
FloatArray = NDArray[np.float64]


def members_per_node(group: Numbers, stride: Numbers, node: Numbers) -> FloatArray:
    """Members that lie in one node when `stride` neighbours belong to other groups: at least 1."""
    return np.asarray(np.clip(np.asarray(node) / stride, 1.0, group), dtype=np.float64)


def bandwidth(group: Numbers, stride: Numbers, node: Numbers, link: Numbers, network: Numbers) -> FloatArray:
    """Bytes a second that each member receives in a ring: `link` one way within a node, `network` one way a device."""
    inside = members_per_node(group, stride, node)
    across = np.minimum(link, np.asarray(network) * inside)
    alone = np.asarray(network, dtype=np.float64)
    spans = np.asarray(group) > inside
    return np.asarray(np.where(spans, np.where(inside > 1, across, alone), link), dtype=np.float64)


def all_gather_s(size: Numbers, group: Numbers, rate: Numbers, delay_s: Numbers = 0.0) -> FloatArray:
    """Also reduce-scatter. `size`: bytes of the whole result; `rate`: bytes a second a member."""
    group = np.asarray(group, dtype=np.float64)
    return np.asarray((group - 1) * delay_s + (group - 1) / group * size / rate, dtype=np.float64)


def all_reduce_s(size: Numbers, group: Numbers, rate: Numbers, delay_s: Numbers = 0.0) -> FloatArray:
    """A ring, or a tree where its fewer messages are faster. `size`: bytes of one copy."""
    group = np.asarray(group, dtype=np.float64)
    ring = 2 * all_gather_s(size, group, rate, delay_s)
    tree = 2 * np.ceil(np.log2(np.maximum(group, 1))) * delay_s + 2 * (group > 1) * np.asarray(size) / rate
    return np.asarray(np.minimum(ring, tree), dtype=np.float64)


def all_to_all_s(size: Numbers, group: Numbers, rate: Numbers, delay_s: Numbers = 0.0) -> FloatArray:
    """`size`: bytes that one member sends in all; `rate`: of its slowest way, a member."""
    group = np.asarray(group, dtype=np.float64)
    return np.asarray((group - 1) * delay_s + (group - 1) / group * size / rate, dtype=np.float64)


def point_to_point_s(size: Numbers, rate: Numbers, delay_s: Numbers = 0.0) -> FloatArray:
    return np.asarray(delay_s + np.asarray(size) / rate, dtype=np.float64)
