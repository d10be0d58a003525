"""Waiting times agree with exact formulas where there are such, and with a played queue elsewhere."""

import heapq
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.profiles.queueing import highest_rate, mean_wait, wait_percentile, waiting_probability

loads = st.floats(0.05, 0.95)


def played(rate, draw_service, servers, count=60_000, seed=5):
    """Waits of a first-come queue, by playing it request by request."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, count))
    services = draw_service(rng, count)
    free = [0.0] * servers
    waits = np.empty(count)
    for n, (arrival, service) in enumerate(zip(arrivals, services, strict=True)):
        begins = max(arrival, heapq.heappop(free))
        waits[n] = begins - arrival
        heapq.heappush(free, begins + service)
    return waits[count // 10 :]


@given(loads)
def test_one_server_is_busy_for_a_share_of_arrivals_that_equals_its_load(load):
    assert waiting_probability(load, 1) == pytest.approx(load)


@given(st.floats(0.1, 20), st.integers(1, 30))
def test_the_share_that_waits_is_erlangs_sum(offered, servers):
    if offered >= servers:
        assert waiting_probability(offered, servers) == 1
        return
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    expected = last / (sum(offered**n / math.factorial(n) for n in range(servers)) + last)
    assert waiting_probability(offered, servers) == pytest.approx(expected, rel=1e-9)


@given(loads, st.floats(0, 4))
def test_one_server_and_poisson_arrivals_wait_as_pollaczek_and_khinchine_say(load, cv2):
    assert mean_wait(load, 1.0, service_cv2=cv2) == pytest.approx(load * (1 + cv2) / (2 * (1 - load)))


@given(loads, st.floats(0.5, 0.999))
def test_the_tail_of_one_exponential_server_is_exact(load, share):
    expected = max(math.log(load / (1 - share)) / (1 - load), 0.0)
    assert wait_percentile(share, load, 1.0) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (2, 0.7), (4, 0.8), (8, 0.7)])
@pytest.mark.parametrize("name", ["exponential", "even", "wide"])
def test_means_and_tails_agree_with_a_played_queue(servers, load, name):
    draws = {
        "exponential": (lambda rng, n: rng.exponential(1.0, n), 1.0),
        "even": (lambda rng, n: np.ones(n), 0.0),
        "wide": (lambda rng, n: rng.lognormal(-0.5 * math.log(3), math.sqrt(math.log(3)), n), 2.0),
    }
    draw, cv2 = draws[name]
    waits = played(load * servers, draw, servers)
    said = mean_wait(load * servers, 1.0, servers, service_cv2=cv2)
    above = 1.3 if name == "wide" and servers > 1 else 1.1
    assert 0.9 * waits.mean() - 0.01 <= said <= above * waits.mean() + 0.01
    if name == "exponential" or servers == 1:
        tail = wait_percentile(0.95, load * servers, 1.0, servers, service_cv2=cv2)
        assert tail == pytest.approx(np.quantile(waits, 0.95), rel=0.25, abs=0.1)


def test_a_load_that_is_too_much_waits_for_ever():
    assert mean_wait(2.0, 1.0, 2) == np.inf
    assert wait_percentile(0.5, 3.0, 1.0, 2) == np.inf


@given(st.floats(0.0, 20.0), st.floats(0.5, 0.99), st.integers(1, 16), st.floats(0.1, 3.0))
def test_the_highest_rate_just_keeps_its_limit(limit, share, servers, service):
    rate = float(highest_rate(limit, share, service, servers))
    assert 0 < rate < servers / service
    assert wait_percentile(share, rate, service, servers) <= limit
    assert wait_percentile(share, min(rate * 1.001, servers / service), service, servers) >= limit


def test_no_rate_keeps_a_limit_below_nothing():
    assert highest_rate(-0.1, 0.9, 1.0) == 0


@given(st.integers(1, 12), loads)
def test_a_shared_queue_waits_less_than_queues_of_their_own(servers, load):
    assert mean_wait(load * servers, 1.0, servers) <= mean_wait(load, 1.0) * (1 + 1e-9)


def test_arrays_say_what_scalars_say():
    rates = np.array([0.2, 1.5, 3.0])
    together = wait_percentile(0.9, rates, 1.0, np.array([1, 2, 4]))
    assert together == pytest.approx(
        [float(wait_percentile(0.9, r, 1.0, k)) for r, k in zip(rates, (1, 2, 4), strict=True)]
    )


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5])
def test_a_percentile_lies_between_none_and_all(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        wait_percentile(share, 0.5, 1.0)
