"""The account of what was used, its forecast, and the price that keeps a share."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.model.rules import DomesticShare, Measure, ShareBasis, Window
from scheduler.quota.domestic_share import (
    BUCKETS_PER_WINDOW,
    ShareAccount,
    barrier_price,
    counts,
    least_price,
    share_coefficients,
)

S = 1_000_000
HOUR = 3_600 * S
DAY = 24 * HOUR


def rule(target: float = 0.3, window_us: int = 30 * DAY, **more: object) -> DomesticShare:
    values: dict = {"basis": ShareBasis.USED, "measure": Measure.DEVICE_HOURS, **more}
    return DomesticShare(id="r", target=target, window_us=window_us, **values)


def moment(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * S


def test_who_counts_lies_in_the_scope_and_is_not_exempt():
    about = rule(scope="a", exempt=("a/b",))
    assert [counts(about, t) for t in ("a", "a/c", "a/b", "a/b/d", "ab", "x")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert counts(rule(), "anybody")


def test_an_hour_on_eight_devices_is_eight_device_hours():
    account = ShareAccount(rule())
    account.add(0, HOUR, 8000, 0)
    account.add(HOUR // 2, 2 * HOUR, 0, 4000)
    found = account.standing(2 * HOUR, (0, 0), (0, 0))
    assert (found.imported_hours, found.domestic_hours) == (8.0, 6.0)
    assert found.share == pytest.approx(6 / 14)


def test_what_is_older_than_the_window_no_longer_counts():
    account = ShareAccount(rule(window_us=10 * DAY))
    account.add(0, DAY, 8000, 0)
    account.add(DAY, 2 * DAY, 0, 8000)
    assert account.standing(9 * DAY, (0, 0), (0, 0)).share == 0.5
    assert account.standing(11 * DAY, (0, 0), (0, 0)).share == 1.0
    assert account.standing(13 * DAY, (0, 0), (0, 0)).share is None
    account.add(20 * DAY, 20 * DAY + HOUR, 1000, 0)
    assert min(account.buckets) * account.width_us >= 10 * DAY, "and is forgotten"


def test_the_calendar_quarter_begins_at_midnight_in_china():
    account = ShareAccount(rule(window=Window.QUARTER))
    assert account.first_us(moment("2026-11-25T00:00:00")) == moment("2026-09-30T16:00:00")
    assert account.first_us(moment("2026-12-31T15:59:59")) == moment("2026-09-30T16:00:00")
    assert account.first_us(moment("2026-12-31T16:00:00")) == moment("2026-12-31T16:00:00")
    assert account.horizon_us(moment("2026-12-31T12:00:00")) == 4 * HOUR
    account.add(moment("2026-09-30T12:00:00"), moment("2026-09-30T20:00:00"), 1000, 0)
    assert account.standing(moment("2026-10-01T00:00:00"), (0, 0), (0, 0)).imported_hours == 4.0


def test_the_forecast_takes_what_runs_as_going_on_and_drops_what_leaves_the_window():
    account = ShareAccount(rule(0.5, window_us=8 * HOUR))
    account.add(0, HOUR, 4000, 0)  # leaves the window before the horizon, two hours ahead
    account.add(4 * HOUR, 5 * HOUR, 1000, 3000)
    found = account.standing(8 * HOUR, (1000, 1000), (2 * 3.6e6, 2 * 3.6e6))
    assert found.share == pytest.approx(3 / 8)
    assert found.forecast == pytest.approx((3 + 2) / (4 + 4))
    assert found.margin == pytest.approx(5 / 8 - 0.5)
    assert found.slack == pytest.approx(3.6e6 * (0.5 * 5 - 0.5 * 3))


def test_the_slack_is_what_new_starts_may_use_up():
    account = ShareAccount(rule(0.3, window_us=8 * HOUR))
    account.add(6 * HOUR, 7 * HOUR, 9000, 6000)
    now = account.standing(8 * HOUR, (2000, 1000), (7.2e6, 3.6e6))
    used = now.slack / 0.3  # so many thousandths x seconds of imported devices
    after = account.standing(8 * HOUR, (2000, 1000), (7.2e6 + used, 3.6e6))
    assert after.forecast == pytest.approx(0.3)
    assert after.slack == pytest.approx(0.0, abs=1e-3)


def test_a_window_with_too_little_in_it_is_not_judged():
    account = ShareAccount(rule(0.3, min_volume=8.0))
    assert not account.standing(HOUR, (0, 0), (0, 0)).judged
    account.add(0, HOUR, 7000, 0)
    assert not account.standing(HOUR, (0, 0), (0, 0)).judged
    account.add(0, HOUR, 1000, 0)
    assert account.standing(HOUR, (0, 0), (0, 0)).judged


def test_a_restored_account_is_the_same_account():
    account = ShareAccount(rule())
    for n in range(50):
        account.add(n * HOUR // 3, n * HOUR // 2 + 7, 1000 * n, 333)
    copy = ShareAccount(rule())
    copy.restore(account.image())
    for a in (account, copy):
        a.add(40 * HOUR, 41 * HOUR, 5, 6)
    assert copy.image() == account.image()


spans = st.lists(
    st.tuples(
        st.integers(0, 2_000), st.integers(1, 400), st.integers(0, 9_000), st.integers(0, 9_000)
    ),
    max_size=30,
)  # fmt: skip


@given(spans)
def test_the_account_is_the_sum_of_what_was_booked(booked):
    """Against exact sums, over a window that holds everything; times in seconds."""
    account = ShareAccount(rule(window_us=10_000 * S))
    last = 0
    for begin, length, imported, domestic in sorted(booked):
        account.add(begin * S, (begin + length) * S, imported, domestic)
        last = max(last, begin + length)
    found = account.within(0)
    assert found == tuple(sum(b[1] * 1000 * b[k] for b in booked) for k in (2, 3))
    assert len(account.buckets) <= BUCKETS_PER_WINDOW + 1


@given(spans, st.integers(100, 3_000))
def test_a_window_is_exact_to_the_width_of_a_bucket(booked, length):
    account = ShareAccount(rule(window_us=max(60, length) * S))
    now = 3_000
    for begin, span, imported, domestic in sorted(booked, key=lambda b: b[0] + b[1]):
        account.add(begin * S, (begin + span) * S, imported, domestic)
    account.add(now * S - 1000, now * S, 1, 1)

    def exact(first_us: int) -> float:
        return sum(max(0, (b[0] + b[1]) * S - max(b[0] * S, first_us)) / 1000 * b[2] for b in booked)

    first_us = now * S - account.rule.window_us
    rounding = sum(b[2] for b in booked) + 1
    found = account.within(account.first_us(now * S))[0]
    assert exact(first_us) - rounding <= found <= exact(first_us - account.width_us) + rounding


# prices


def test_the_barrier_is_nothing_above_the_warning_and_highest_at_the_target():
    about = rule(0.3, warn_below=0.4)
    assert [barrier_price(about, f) for f in (None, 0.9, 0.4)] == [0, 0, 0]
    prices = [barrier_price(about, f) for f in (0.39, 0.37, 0.35, 0.33, 0.31, 0.3, 0.1)]
    assert prices == sorted(prices)
    assert prices[0] > 0
    assert prices[-1] * 0.3 > 1, "it costs more than all of a job's speed"
    assert barrier_price(rule(0.3), 0.34) > 0 == barrier_price(rule(0.3), 0.36)
    assert barrier_price(rule(0.0), 0.0) == 0


def chosen(price, ptr, cost, used, speed):
    """The total that the best options use, each job taken by itself."""
    total = 0.0
    for i in range(len(ptr) - 1):
        options = range(ptr[i], ptr[i + 1])
        if options:
            value = {o: round(speed[o] - price * cost[o], 9) for o in options}
            total += min(used[o] for o in options if value[o] == max(value.values()))
    return total


@st.composite
def cases(draw):
    """Jobs with at most one imported and some domestic options of different sizes."""
    jobs = draw(st.integers(1, 8))
    options = [draw(st.integers(0, 3)) for _ in range(jobs)]
    ptr = np.concatenate(([0], np.cumsum(options))).astype(np.int64)
    m = int(ptr[-1])
    abroad = {int(p) for p, count in zip(ptr, options, strict=False) if count and draw(st.booleans())}
    amount = np.array([draw(st.sampled_from((1000, 4000, 8000, 16000))) for _ in range(m)], dtype=np.int64)
    imported = np.array([a if o in abroad else 0 for o, a in enumerate(amount)], dtype=np.int64)
    target = draw(st.sampled_from((0.1, 0.3, 0.5, 0.9)))
    coefficient = share_coefficients(imported, amount - imported, target)
    size = np.array([amount[ptr[i] : ptr[i + 1]].max(initial=1) for i in range(jobs)], dtype=np.float64)
    speed = np.array([draw(st.floats(0.01, 1.0)) for _ in range(m)])
    slack = draw(st.floats(-20_000, 20_000))
    return target, slack, ptr, coefficient / np.repeat(size, options), coefficient, speed


@given(cases())
def test_the_least_price_is_the_smallest_at_which_the_choices_keep_the_target(case):
    target, slack, ptr, cost, used, speed = case
    price, pays = least_price(rule(target), slack, ptr, cost, used, speed)
    if chosen(0.0, ptr, cost, used, speed) <= slack or not len(speed):
        assert price == 0
        return
    highest = 1.0001 / target
    if chosen(highest, ptr, cost, used, speed) > slack:
        assert price == pytest.approx(highest)
        return
    assert chosen(price, ptr, cost, used, speed) <= slack + 1e-6
    lower = price * (1 - 1e-4) - 1e-6
    assert lower <= 0 or chosen(lower, ptr, cost, used, speed) > slack
    assert (pays <= price).all()
    each = sum(chosen(pays[i], ptr[i : i + 2], cost, used, speed) for i in range(len(pays)))
    assert each <= slack + 1e-6, "nor does it use more where some pay less"


def test_of_equal_jobs_only_so_many_turn_as_the_target_needs():
    speed = np.array([1.0, 0.6] * 10)
    ptr = np.arange(0, 21, 2)
    used = share_coefficients(np.array([1000, 0] * 10), np.array([0, 1000] * 10), 0.3)
    price, pays = least_price(rule(0.3), 0.0, ptr, used / 1000, used, speed)
    assert price == pytest.approx(0.4, rel=1e-3)
    value = speed - np.repeat(pays, 2) * used / 1000
    assert [i for i in range(10) if value[2 * i + 1] >= value[2 * i]] == [7, 8, 9]


def test_at_the_least_price_those_move_that_lose_least():
    """Ten jobs of equal size: the target wants three, and the three with the best domestic speed are the ones."""
    speed = np.array([1.0, 0.0] * 10)
    speed[1::2] = np.linspace(0.05, 0.95, 10)
    imported, domestic = np.array([1000, 0] * 10), np.array([0, 1000] * 10)
    ptr = np.arange(0, 21, 2)
    used = share_coefficients(imported, domestic, 0.3)
    price, _ = least_price(rule(0.3), 0.0, ptr, used / 1000, used, speed)
    value = speed - price * used / 1000
    moved = [i for i in range(10) if value[2 * i + 1] >= value[2 * i]]
    assert moved == [7, 8, 9]


def test_a_forecast_over_a_full_window_costs_little():
    account = ShareAccount(rule(window=Window.QUARTER, window_us=92 * DAY))
    begin = moment("2026-10-01T00:00:00")
    for hour in range(92 * 24):
        account.add(begin + hour * HOUR, begin + (hour + 1) * HOUR, 300_000_000, 100_000_000)
    assert len(account.buckets) <= 92 * 24 + 1
    assert account.standing(begin + 60 * DAY, (1, 1), (1, 1)).share == pytest.approx(0.25)
