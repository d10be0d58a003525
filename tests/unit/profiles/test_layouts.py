"""How a training job lies on its devices."""

import pytest
from msgspec import structs

from scheduler.errors import UsageError
from scheduler.model.transformers import Transformer
from scheduler.profiles.layouts import Layout, check_layout

LLAMA = Transformer(
    name="llama-8b", layers=32, hidden=4096, heads=32, kv_heads=8, head_dim=128, ffn=14336, vocab=128256
)
MIXTURE = structs.replace(LLAMA, experts=8, experts_per_token=2, expert_ffn=14336, ffn=0)


def check(layout, model=LLAMA, devices=16, global_batch=64, seq_len=4096):
    check_layout(layout, model, devices=devices, global_batch=global_batch, seq_len=seq_len)


def test_devices_are_the_product_of_the_axes_and_experts_lie_on_them():
    layout = Layout(data=2, tensor=4, pipeline=2, expert=8)
    assert layout.devices == 16
    assert layout.micro_batches(64) == 32
    check(layout, MIXTURE)


@pytest.mark.parametrize(
    ("layout", "model", "problem"),
    [
        (Layout(data=3), LLAMA, "3 devices, not 16"),
        (Layout(data=0, tensor=16), LLAMA, "below 1"),
        (Layout(data=16, zero=4), LLAMA, "ZeRO"),
        (Layout(tensor=16), structs.replace(LLAMA, heads=24, kv_heads=8), "24 heads"),
        (Layout(pipeline=16), structs.replace(LLAMA, layers=12), "12 layers"),
        (Layout(pipeline=16, virtual_stages=4), LLAMA, "chunks exceed"),
        (Layout(data=16, expert=2), LLAMA, "no experts"),
        (Layout(data=16, expert=3), MIXTURE, "8 experts"),
        (Layout(data=2, pipeline=8, expert=4), MIXTURE, "devices of a stage"),
        (Layout(data=16, micro_batch=3), LLAMA, "batch of 64"),
    ],
)
def test_a_layout_that_does_not_divide_is_refused_and_told_why(layout, model, problem):
    with pytest.raises(UsageError, match=problem):
        check(layout, model)


def test_a_sequence_that_the_context_axis_does_not_divide_is_refused():
    with pytest.raises(UsageError, match="4095 tokens"):
        check(Layout(data=4, context=4), seq_len=4095)
