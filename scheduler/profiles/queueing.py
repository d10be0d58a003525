"""How long requests wait for a server: means and tails of first-come queues, and the rate that a limit allows.

M/M/k is exact (Erlang, 1917). Other services and arrivals scale it by half the sum of their squared coefficients of
variation (Lee and Longton, 1959; Allen, 1978): exact for one server and Poisson arrivals (Pollaczek, 1930; Khinchine,
1932), and above the truth for several servers and services that vary much (a fourth at eight servers). Those who wait
do so for about exponential times (Kingman's limit; exact for M/M/k), which gives the percentiles. All functions take
arrays or scalars; times and rates share a unit.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["highest_rate", "mean_wait", "wait_percentile", "waiting_probability"]

FloatArray = NDArray[np.float64]
Column = NDArray[np.floating[Any]] | float

HALVINGS = 60


def waiting_probability(offered: Column, servers: Column) -> FloatArray:
    """Share of arrivals that find all `servers` busy (Erlang's C) at `offered` load, the product of arrival rate and
    mean service time; 1 where the load is more than they can take."""
    load, count = np.broadcast_arrays(np.asarray(offered, dtype=float), np.asarray(servers, dtype=np.int64))
    blocked = np.ones(load.shape)
    most = int(count.max(initial=0))
    for busy in range(1, most + 1):
        next_blocked = load * blocked / (busy + load * blocked)
        blocked = np.where(busy <= count, next_blocked, blocked)
    share = load / np.maximum(count, 1)
    free = np.maximum(1.0 - share * (1.0 - blocked), 1e-300)
    return np.asarray(np.where(share < 1, blocked / free, 1.0))


def mean_wait(
    rate: Column, service: Column, servers: Column = 1, *, arrival_cv2: Column = 1.0, service_cv2: Column = 1.0
) -> FloatArray:
    """Mean time before service begins; infinite where the load is more than the servers can take. `arrival_cv2` and
    `service_cv2`: squared coefficients of variation, 1 for Poisson arrivals and exponential services."""
    spare = np.asarray(servers, dtype=float) - np.asarray(rate) * service
    patient = waiting_probability(np.asarray(rate) * service, servers) * service / np.where(spare > 0, spare, 1.0)
    factor = (np.asarray(arrival_cv2) + service_cv2) / 2.0
    return np.asarray(np.where(spare > 0, patient * factor, np.inf))


def wait_percentile(
    share: float,
    rate: Column,
    service: Column,
    servers: Column = 1,
    *,
    arrival_cv2: Column = 1.0,
    service_cv2: Column = 1.0,
) -> FloatArray:
    """Time that a `share` of requests, in (0, 1), waits no longer than; 0 where so many do not wait at all."""
    if not 0 < share < 1:
        raise ValueError(f"a percentile needs a share between 0 and 1, not {share}")
    waits = waiting_probability(np.asarray(rate) * service, servers)
    mean = mean_wait(rate, service, servers, arrival_cv2=arrival_cv2, service_cv2=service_cv2)
    tail = np.log(np.maximum(waits / (1.0 - share), 1.0))
    return np.asarray(np.where(tail > 0, mean / np.maximum(waits, 1e-300) * tail, 0.0))


def highest_rate(
    limit: Column,
    share: float,
    service: Column,
    servers: Column = 1,
    *,
    arrival_cv2: Column = 1.0,
    service_cv2: Column = 1.0,
) -> FloatArray:
    """Largest rate at which a `share` of requests waits no longer than `limit`; 0 for a limit below 0."""
    limit, service = np.asarray(limit, dtype=float), np.asarray(service, dtype=float)
    low = np.zeros(np.broadcast(limit, service, np.asarray(servers)).shape)
    high = np.asarray(servers, dtype=float) / service + low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = wait_percentile(share, middle, service, servers, arrival_cv2=arrival_cv2, service_cv2=service_cv2)
        fits = found <= limit
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    return np.asarray(np.where(limit >= 0, low, 0.0))
