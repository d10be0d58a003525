"""What the examples are made of: samples by number, shares that cover, a game that can be learnt, real digits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.examples.corpus import sample_start, stdlib_text
from backends.examples.digits import load_digits
from backends.examples.rl_game import ACTIONS, EPISODES, STATES, play, reward_of


@given(st.integers(0, 10**9), st.integers(1, 64))
def test_every_sample_lies_within_the_text(index, length):
    assert 0 <= sample_start(index, length, 10_000) <= 10_000 - length


def test_the_text_is_python_and_the_same_every_time():
    text = stdlib_text(20_000)
    assert len(text) == 20_000
    assert b"import " in text
    assert stdlib_text(20_000) == text


def test_neighbouring_samples_come_from_different_places():
    starts = [sample_start(index, 33, 1 << 20) for index in range(200)]
    assert len(set(starts)) == 200


def test_there_are_1797_real_digits_of_64_points_each():
    pictures, digits = load_digits()
    assert pictures.shape == (1797, 64)
    assert 0 <= pictures.min() < pictures.max() <= 1
    assert set(digits.tolist()) == set(range(10))


def test_each_state_of_the_game_has_exactly_one_right_action():
    assert all(sum(reward_of(state, action) for action in range(ACTIONS)) == 1 for state in range(STATES))


def test_a_rollout_plays_the_policy_it_was_sent():
    right = [[50.0 * reward_of(state, action) for action in range(ACTIONS)] for state in range(STATES)]
    played = play(right, version=3)
    assert played["rewards"] == [1.0] * EPISODES
    assert played == play(right, version=3)


def test_shares_of_a_batch_cover_the_text_once():
    pytest.importorskip("torch")
    from backends.examples.array_task import share_of

    text = bytes(range(100))
    assert b"".join(share_of(text, index, 7) for index in range(7)) == text


def test_the_entropy_of_equal_shares_is_the_logarithm_of_their_number():
    torch = pytest.importorskip("torch")
    from backends.examples.array_task import entropy_bits

    counts = torch.zeros(256)
    counts[:8] = 5
    assert math.isclose(entropy_bits(counts), 3.0)
