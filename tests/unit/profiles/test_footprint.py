"""Bytes that training takes, and whether it fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from scheduler.config import load_models
from scheduler.model.transformers import find_transformer
from scheduler.profiles.footprint import training_footprint
from scheduler.profiles.layouts import Layout, Recompute
from scheduler.profiles.memory import OutOfMemory, fits, out_of_memory
from scheduler.profiles.steps import join, models_of, splits_of
from scheduler.profiles.work import parameters
from tests.unit.profiles.test_training_terms import CHIP, GPT, MIXTURE

GIB = 2**30
MODELS = load_models()
BATCH = 64

# Korthikanti et al., 2022, figure 1: states and activations in GiB a device, on nodes of eight A100s.
PUBLISHED = [
    ("gpt-22b", Layout(tensor=8, micro_batch=4), 4, 45.5625, 59.25, 9.5625),
    ("gpt-175b", Layout(tensor=8, pipeline=8, virtual_stages=3), 64, 45.5625, 66.84, 12.35),
    ("gpt-530b", Layout(tensor=8, pipeline=35, virtual_stages=3), 280, 31.64, 114.02, 23.08),
    ("gpt-1t", Layout(tensor=8, pipeline=64), 512, 32.96, 131.25, 26.56),
]


def footprint(layout, model=GPT, seq_len=2048, global_batch=BATCH, **how):
    return training_footprint(models_of(model, seq_len), splits_of(layout, global_batch), **how)


@pytest.mark.parametrize(("name", "layout", "batch", "states", "plain", "lean"), PUBLISHED, ids=lambda v: str(v)[:9])
def test_bytes_are_those_of_published_profiles(name, layout, batch, states, plain, lean):
    model = find_transformer(MODELS, name)
    whole = footprint(structs.replace(layout, sequence_parallel=False), model, global_batch=batch, keeps_scores=True)
    spare = footprint(structs.replace(layout, recompute=Recompute.SELECTIVE), model, global_batch=batch)
    assert whole.states[0] / GIB == pytest.approx(states, rel=0.1)
    assert whole.activations[0] / GIB == pytest.approx(plain, rel=0.1)
    assert spare.activations[0] / GIB == pytest.approx(lean, rel=0.1)
    assert whole.total[0] / GIB == pytest.approx(states + plain, rel=0.06)
    assert spare.total[0] / GIB == pytest.approx(states + lean, rel=0.03)


def test_each_stage_of_sharding_divides_one_more_part_of_the_states():
    per_parameter = [footprint(Layout(data=8, zero=z)).states[0] / parameters(GPT) for z in range(4)]
    assert per_parameter == pytest.approx([18, 6 + 12 / 8, 2 + 16 / 8, 16 / 8])
    assert footprint(Layout(data=8, zero=3)).gathered[0] > 0 == footprint(Layout(data=8, zero=2)).gathered[0]


def test_experts_lie_on_their_own_axis():
    alone, split = (footprint(Layout(data=8, zero=1, expert=e), MIXTURE).states[0] for e in (1, 8))
    assert alone > 3 * split


def test_what_is_computed_again_is_not_kept():
    kept = [footprint(Layout(data=8, recompute=r)).activations[0] for r in (Recompute.NONE, Recompute.FULL)]
    assert kept[0] > 5 * kept[1]
    scores = [
        footprint(Layout(data=8, recompute=r), keeps_scores=True).activations[0]
        for r in (Recompute.NONE, Recompute.SELECTIVE)
    ]
    assert scores[0] > scores[1] == kept[0]


def test_the_first_stage_keeps_a_micro_batch_for_every_stage_behind_it():
    few, many = (footprint(Layout(tensor=8, pipeline=4), global_batch=b).activations[0] for b in (1, 64))
    assert many > 2.5 * few
    woven = footprint(Layout(tensor=8, pipeline=4, virtual_stages=2)).activations[0]
    assert woven / many == pytest.approx(1 + 3 / 8)


@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]), st.integers(0, 3))
def test_more_splitting_never_takes_more_and_more_work_never_less(tensor, pipeline, context, zero):
    layout = Layout(tensor=tensor, pipeline=pipeline, context=context, zero=zero)
    here = footprint(layout).total[0]
    assert footprint(structs.replace(layout, tensor=2 * tensor)).total[0] <= here
    assert footprint(structs.replace(layout, context=2 * context)).total[0] <= here
    assert footprint(structs.replace(layout, micro_batch=2)).total[0] >= here
    assert footprint(layout, seq_len=4096).total[0] >= here


def test_layouts_side_by_side_are_the_layouts_one_by_one():
    layouts = [Layout(data=8, zero=3), Layout(tensor=8), Layout(data=2, pipeline=4)]
    together = training_footprint(models_of(GPT, 2048), join([splits_of(layout, BATCH) for layout in layouts]))
    assert together.total == pytest.approx([footprint(layout).total[0] for layout in layouts])


def test_a_margin_and_a_reserve_are_left_free():
    asked = footprint(Layout(tensor=8))
    enough = 1.1 * asked.total[0] + 2e9
    assert fits(asked, enough).all()
    assert not fits(asked, enough * 0.999).any()


def fact(layout, **how):
    return out_of_memory(GPT, CHIP, layout, seq_len=how.get("seq_len", 2048), global_batch=BATCH)


def test_what_ran_out_of_memory_is_never_taken_to_fit_again():
    layout = Layout(tensor=8, micro_batch=2)
    asked = footprint(layout)
    assert fits(asked, 80 * GIB, model="gpt").all()
    assert not fits(asked, 80 * GIB, model="gpt", seen=[fact(layout)]).any()


def test_nor_is_what_asks_for_more_on_a_device_with_as_little():
    seen = [fact(Layout(tensor=8, micro_batch=2))]
    larger = footprint(Layout(tensor=8, micro_batch=4))
    longer = footprint(Layout(tensor=8, micro_batch=2), seq_len=4096)
    assert not fits(larger, 80 * GIB, model="gpt", seen=seen).any()
    assert not fits(longer, 80 * GIB, model="gpt", seen=seen).any()
    assert not fits(footprint(Layout(tensor=8, micro_batch=2)), 64 * GIB, model="gpt", seen=seen).any()


def test_less_of_it_other_models_and_larger_devices_are_not_blamed():
    seen = [fact(Layout(tensor=8, micro_batch=2))]
    asked = footprint(Layout(tensor=8, micro_batch=2))
    assert fits(footprint(Layout(tensor=8)), 80 * GIB, model="gpt", seen=seen).all()
    assert fits(asked, 80 * GIB, model="another", seen=seen).all()
    assert fits(asked, 96 * GIB, model="gpt", seen=seen).all()


def test_a_fact_holds_the_parts_of_what_failed():
    layout = Layout(data=8, zero=3)
    found, parts = fact(layout), footprint(layout)
    assert found == OutOfMemory(
        model="gpt",
        memory=80 * GIB,
        states=parts.states[0],
        gathered=parts.gathered[0],
        activations=parts.activations[0],
    )
