import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backends.runtime.data_parallel import DataParallel, batch_indices, share


@given(
    indices=st.lists(st.integers(0, 1000), max_size=60),
    world_size=st.integers(1, 9),
    micro_batch=st.integers(0, 7),
)
def test_the_ranks_shares_make_up_the_batch_exactly(indices, world_size, micro_batch):
    shares = [share(indices, rank, world_size, micro_batch) for rank in range(world_size)]
    dealt = [index for pieces in shares for piece in pieces for index in piece]
    assert sorted(dealt) == sorted(indices)
    assert all(piece for pieces in shares for piece in pieces)


@given(st.integers(1, 50), st.integers(1, 40), st.integers(1, 6), st.one_of(st.none(), st.integers(0, 2**40)))
def test_each_round_visits_every_sample_once(samples, global_batch, rounds, seed):
    steps = -(-rounds * samples // global_batch)
    visited = [index for step in range(steps) for index in batch_indices(step, global_batch, samples, seed)]
    for turn in range(rounds):
        assert sorted(visited[turn * samples : (turn + 1) * samples]) == list(range(samples))


def test_a_seed_shuffles_and_the_same_seed_shuffles_the_same_way():
    assert batch_indices(3, 8, 100, seed=1) == batch_indices(3, 8, 100, seed=1)
    assert batch_indices(3, 8, 100, seed=1) != batch_indices(3, 8, 100, seed=2)
    assert batch_indices(3, 8, 100) == list(range(24, 32))


def trained(micro_batch, steps=20, broken=False):
    """A small model after some steps over uneven pieces."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    inputs = torch.randn(33, 4)
    wanted = inputs.sum(dim=1)

    def losses(network, indices):
        errors = (network(inputs[indices])[:, 0] - wanted[indices]) ** 2
        return errors.mean() if broken else errors

    trainer = DataParallel(model, torch.optim.AdamW(model.parameters(), lr=0.01), micro_batch=micro_batch)
    loss = [trainer.step(losses, batch_indices(step, 10, 33)) for step in range(steps)]
    assert trainer.samples == 10 * steps
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]), loss


def test_how_a_batch_is_cut_does_not_change_what_is_learnt():
    whole, losses = trained(0)
    assert losses[-1] < losses[0]
    for micro_batch in (1, 3, 10):
        weights, cut = trained(micro_batch)
        assert torch.allclose(weights, whole, atol=1e-5)
        assert cut == pytest.approx(losses, abs=1e-5)


def test_a_loss_that_is_not_per_sample_is_refused():
    with pytest.raises(ValueError, match=r"gave shape \(\) for 10 samples"):
        trained(0, broken=True)
