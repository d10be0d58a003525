"""Newcomers alone: what they take at given prices, what they leave to others, and what the choice may lack."""

from dataclasses import replace

import numpy as np
import pytest

from scheduler.policies import NONE, Standing, part_of
from scheduler.policies.newcomers import at_prices
from tests.support.problems import H20, H200, QUOTA, places, problem

TIER = 5


def standing(of, new=None, prices=None, kept=()):
    rows = len(of.available)
    marked = np.zeros(rows, dtype=np.bool_)
    marked[list(kept)] = True
    found = {tier: np.array([paid.get(row, 0.0) for row in range(rows)]) for tier, paid in (prices or {}).items()}
    asked = np.ones(len(of.number), dtype=np.bool_) if new is None else np.array(new)
    return Standing(found, asked, marked)


def decided(of, utility, tier=None, **more):
    tiers = np.full(len(of.number), TIER) if tier is None else np.array(tier)
    return at_prices(of, standing(of, **more), np.array(utility), tiers)


def test_a_newcomer_takes_the_idle_option_that_gains_most_beyond_the_prices():
    of = problem([{"options": [{H200: 4}, {H20: 4}]}], [8, 8, 0])
    assert places(decided(of, [2.0, 1.5]), of) == [0]
    assert places(decided(of, [2.0, 1.5], prices={TIER: {H200: 0.2}}), of) == [1]


def test_nobody_takes_what_costs_more_than_it_is_worth_and_then_nothing_is_lacking():
    of = problem([{"options": [{H200: 4}]}], [8, 8, 0])
    found = decided(of, [2.0], prices={TIER: {H200: 0.6}})
    assert places(found, of) == [NONE]
    assert (found.certificate.bound, found.certificate.value) == (0.0, 0.0)


def test_without_room_the_choice_lacks_what_the_newcomer_would_gain():
    of = problem([{"options": [{H200: 4}, {H20: 4}]}], [2, 2, 0])
    found = decided(of, [2.0, 1.0], prices={TIER: {H200: 0.25}})
    assert places(found, of) == [NONE]
    assert found.certificate.bound - found.certificate.value == pytest.approx(1.0)
    assert found.blocked_by.tolist() == [H200]


def test_a_second_best_option_lacks_the_difference():
    of = problem([{"options": [{H200: 4}, {H20: 4}]}], [2, 4, 0])
    found = decided(of, [2.0, 0.5])
    assert places(found, of) == [1]
    assert found.certificate.bound - found.certificate.value == pytest.approx(1.5)


def test_a_limit_stands_in_the_way_as_devices_do():
    of = problem([{"options": [{H200: 4, QUOTA: 4}]}, {"options": [{H200: 4, QUOTA: 4}]}], [8, 0, 4])
    found = decided(of, [1.0, 2.0])
    assert places(found, of) == [NONE, 0]
    assert found.blocked_by.tolist() == [QUOTA, NONE]


def test_what_a_better_tier_pays_for_is_closed_and_what_is_kept_for_somebody_is_too():
    of = problem([{"options": [{H200: 1}, {H20: 1}]}], [8, 8, 0])
    assert places(decided(of, [2.0, 1.0], prices={TIER - 1: {H200: 0.1}}), of) == [1]
    assert places(decided(of, [2.0, 1.0], prices={TIER + 1: {H200: 0.1}}), of) == [0]
    assert places(decided(of, [2.0, 1.0], kept=[H200]), of) == [1]


def test_the_better_tier_goes_first_then_who_gains_more_then_who_came_first():
    of = problem([{"options": [{H200: 4}]} for _ in range(3)], [4, 0, 0])
    assert places(decided(of, [1.0, 1.0, 9.0], tier=[6, 5, 6]), of) == [NONE, 0, NONE]
    assert places(decided(of, [1.0, 2.0, 2.0]), of) == [NONE, 0, NONE]


def test_who_was_promised_a_place_takes_it_before_others():
    of = problem([{"options": [{H200: 4}]}, {"options": [{H200: 4}]}], [4, 0, 0], carried={"seat:1": 0.0})
    assert places(decided(of, [9.0, 1.0]), of) == [NONE, 0]


def test_who_is_not_new_keeps_what_it_has():
    of = problem([{"options": [{H200: 4}, {H20: 4}], "held": 1}, {"options": [{H200: 4}]}], [4, 0, 0])
    assert places(decided(of, [9.0, 1.0, 1.0], new=[False, True]), of) == [1, 0]
    of = problem([{"options": [{H200: 4}]}, {"options": [{H200: 4}]}], [4, 0, 0])
    assert places(decided(of, [9.0, 1.0], new=[False, True]), of) == [NONE, 0]


def test_closed_options_are_not_taken():
    of = problem([{"options": [{H200: 4}, {H20: 4}], "closed": [0]}], [8, 8, 0])
    assert places(decided(of, [2.0, 1.0]), of) == [1]


def test_a_part_of_a_problem_is_the_same_for_those_in_it():
    jobs = [{"options": [{H200: n}, {H20: n, QUOTA: n}], "held": n % 2 - 1, "tenant": n} for n in (1, 2, 3)]
    of = replace(problem(jobs, [8, 8, 8]), adders=np.arange(6.0))
    part = part_of(of, np.array([0, 2]))
    assert part.number.tolist() == [0, 2] and part.tenant.tolist() == [1, 3]
    assert part.current.tolist() == [0, 2]
    assert part.adders.tolist() == [0.0, 1.0, 4.0, 5.0]
    assert part.use_ptr.tolist() == [0, 1, 3, 4, 6]
    assert part.use_amount.tolist() == [1, 1, 1, 3, 3, 3]
    assert part.use_row.tolist() == [H200, H20, QUOTA, H200, H20, QUOTA]
    assert part.available is of.available
