"""What a service shows of the requests that it can answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.profiles.answered import LONGEST_US, WINDOW_US, Answered

S = 1_000_000


def told(rates, *, every_s=10, start=None):
    """After reports of (answered, came) a second, one each `every_s`."""
    found, now, done, came = start or Answered(0, 0.0, 0.0), 0, 0.0, 0.0
    for answered, asked in rates:
        now, done, came = now + every_s * S, done + every_s * answered, came + every_s * asked
        found = found.after(now, done, came)
    return found


def test_a_service_that_answers_all_shows_the_most_that_it_did():
    found = told([(5.0, 5.0)] * 12 + [(9.0, 9.0)] * 12 + [(2.0, 2.0)] * 12)
    assert found.most == pytest.approx(9.0, rel=0.1)
    assert found.full == 0


def test_a_service_to_which_more_comes_shows_what_it_can():
    assert told([(5.0, 8.0)] * 30).full == pytest.approx(5.0)


def test_one_window_alone_in_which_more_came_may_be_chance():
    assert told([(5.0, 5.0)] * 12 + [(5.0, 8.0)] * 6 + [(5.0, 5.0)] * 12).full == 0


def test_a_burst_shorter_than_a_window_is_no_rate():
    assert told([(1.0, 1.0)] * 3 + [(50.0, 50.0)] + [(1.0, 1.0)] * 8).most < 10


def test_a_window_grows_until_enough_are_answered():
    slow = told([(0.1, 0.1)] * 12)
    assert slow.most == 0
    assert told([(0.1, 0.1)] * 30).most == pytest.approx(0.1)


def test_counts_that_begin_anew_begin_a_new_window():
    found = Answered(0, 100.0, 100.0).after(2 * WINDOW_US, 10.0, 10.0)
    assert found == Answered(2 * WINDOW_US, 10.0, 10.0)


def test_a_service_that_was_silent_for_hours_shows_nothing_of_them():
    assert Answered(0, 0.0, 0.0).after(LONGEST_US + 1, 1e6, 1e6).most == 0


@given(st.floats(0.5, 200), st.floats(0.02, 20), st.integers(0, 10_000))
def test_chance_alone_never_looks_like_more_than_it_can_answer(rate, latency_s, seed):
    """Poisson arrivals that are all answered after a latency; in flight at a window's end is no surplus."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, size=int(1200 * rate)))
    answers = np.sort(arrivals + rng.exponential(latency_s, size=len(arrivals)))
    found = Answered(0, 0.0, 0.0)
    for now in range(300, 1000, 10):  # long after the beginning
        counts = [float(np.searchsorted(times, now)) for times in (answers, arrivals)]
        found = found.after(now * S, *counts) if now > 300 else Answered(now * S, *counts)
    assert found.full == 0
    assert found.most > 0.6 * rate
