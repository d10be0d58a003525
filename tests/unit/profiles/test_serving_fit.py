"""Coefficients that made the times are found again, engines keep near each other, and what goes wrong is outvoted."""

import itertools

import msgspec
import numpy as np
import pytest
from msgspec import structs

from scheduler.profiles.serving import DECODE_TERMS, PREFILL_TERMS, decode_floor_s, decode_terms, prefill_terms
from scheduler.profiles.serving_fit import (
    BELIEVED_DECODE,
    BELIEVED_PREFILL,
    QUEUE_TERMS,
    ServingCoefficients,
    busy_s,
    fit_serving,
    robust_fit,
    tpot_s,
    ttft_s,
)
from tests.unit.profiles.serving_cases import demand, fleet, replica

FACTORS = itertools.cycle((0.7, 1.5, 1.0))
DECODE = {name: value * factor for (name, value), factor in zip(BELIEVED_DECODE.items(), FACTORS, strict=False)}
PREFILL = {name: value * factor for (name, value), factor in zip(BELIEVED_PREFILL.items(), FACTORS, strict=False)}


def costs(names, **known):
    return {name: known.get(name, 0.0) for name in names}


def truth(decode=None, prefill=None, **engines):
    queue = costs(QUEUE_TERMS, prompt=1.0, products_of_others=0.05, overflow=1.0)
    plain = costs(DECODE_TERMS, **(DECODE if decode is None else decode))
    slower = {name: costs(DECODE_TERMS, **{**DECODE, **more}) for name, more in engines.items()}
    return ServingCoefficients(
        decode={"any": plain, **slower},
        prefill={"any": costs(PREFILL_TERMS, **(PREFILL if prefill is None else prefill))},
        queue={"any": queue},
    )


def settings():
    names = ("llama-3.1-8b", "llama-3.1-70b", "qwen3-32b", "qwen3-30b-a3b")
    chips, splits = ("h100", "h200"), (2, 4, 8)
    loads = ((1, 500, 200), (4, 2000, 500), (16, 1000, 1000), (64, 4000, 500))
    return [
        (name, chip, "fp8", {"tensor": n}, load)
        for name, chip, n, load in itertools.product(names, chips, splits, loads)
    ]


def measured(known, engines=("vllm",), noise=0.0, seed=0):
    """Replicas, demands, engines and times of known coefficients."""
    rows = [(*row, engine) for row in settings() for engine in engines]
    columns = fleet([row[:4] for row in rows])
    asked = demand(*np.array([row[4] for row in rows], dtype=float).T)
    named = [row[5] for row in rows]
    rng = np.random.default_rng(seed)
    tpot = tpot_s(columns, asked, named, known) * np.exp(rng.normal(0, noise, len(rows)))
    ttft = ttft_s(columns, asked, named, known, queueing=True) * np.exp(rng.normal(0, noise, len(rows)))
    return columns, asked, named, tpot, ttft


def fitted(rows):
    columns, asked, named, tpot, ttft = rows
    return fit_serving(columns, asked, named, tpot=tpot, ttft=ttft)


def errors(rows, found):
    columns, asked, named, tpot, ttft = rows
    quiet = np.asarray(asked.batch) <= 4
    return (
        np.abs(tpot_s(columns, asked, named, found) / tpot - 1),
        np.abs(ttft_s(columns, asked, named, found) / ttft - 1)[quiet],
        np.abs(ttft_s(columns, asked, named, found, queueing=True) / ttft - 1),
    )


def test_times_without_noise_are_found_again():
    step, first, queued = errors(measured(truth()), fitted(measured(truth())))
    assert step.mean() < 0.03  # beliefs pull a little
    assert np.median(first) < 0.1
    assert np.median(queued) < 0.15


def test_models_that_were_left_out_are_predicted_from_the_others():
    rows = measured(truth(), noise=0.03)
    columns, asked, _, tpot, ttft = rows
    held = np.array([row[0] == "qwen3-32b" for row in settings()])
    kept = {name: getattr(columns, name)[~held] for name in columns.__struct_fields__}
    loads = {name: np.broadcast_to(getattr(asked, name), held.shape)[~held] for name in asked.__struct_fields__}
    found = fit_serving(
        structs.replace(columns, **kept), structs.replace(asked, **loads), ["vllm"] * int((~held).sum()),
        tpot=tpot[~held], ttft=ttft[~held],
    )  # fmt: skip
    assert errors(rows, found)[0][held].mean() < 0.06


def test_an_engine_that_launches_slower_gets_costs_of_its_own():
    rows = measured(truth(slow={"layers_by_root_of_batch": 2e-5}), engines=("slow", "vllm"), noise=0.02)
    found = fitted(rows)
    assert found.engines == ("slow", "vllm")
    same = structs.replace(found, decode={"any": found.decode["any"]})
    for engine in found.engines:
        own = np.array(rows[2]) == engine
        apart, alike = (errors(rows, one)[0][own].mean() for one in (found, same))
        assert apart < 0.75 * alike
        assert apart < 0.12


def test_few_runs_that_alone_have_a_term_do_not_make_it_what_they_please():
    chips, splits = ("h100", "h200"), (1, 2, 4, 8)
    dense = [("qwen3-32b", chip, "fp8", {"tensor": n}) for chip, n in itertools.product(chips, splits)]
    mixture = [("gpt-oss-120b", "h200", "", {"tensor": n}) for n in splits]
    rows, engines = 20 * dense + 5 * mixture, ["trtllm"] * 164 + ["vllm"] * 16
    columns, asked = fleet(rows), demand(np.resize([4.0, 16.0, 64.0], len(rows)))
    right = tpot_s(columns, asked, engines, truth())
    tpot = right * np.exp(np.random.default_rng(0).normal(0, 0.3, len(rows)))
    tpot[160:164] *= 4  # the only mixtures under the one engine are broken
    found = fit_serving(columns, asked, engines, tpot=tpot, ttft=ttft_s(columns, asked, engines, truth()))
    likewise = tpot_s(columns, asked, ["trtllm"] * len(rows), found)[164:] / right[164:]
    assert 0.7 < likewise.mean() < 1.5


def test_an_engine_of_few_measurements_keeps_the_costs_of_all():
    columns, asked, named, tpot, ttft = measured(truth(), noise=0.02)
    named[:5] = ["rare"] * 5
    assert fitted((columns, asked, named, tpot, ttft)).engines == ("vllm",)


def test_an_unknown_engine_is_predicted_with_the_costs_of_all():
    found = fitted(measured(truth()))
    one, asked = replica(tensor=2), demand()
    assert tpot_s(one, asked, "new", found) == tpot_s(one, asked, "any", found)


def test_runs_that_went_wrong_are_outvoted():
    columns, asked, named, tpot, ttft = measured(truth(), noise=0.02)
    broken = tpot.copy()
    broken[::7] *= 4
    found = fitted((columns, asked, named, broken, ttft))
    assert errors((columns, asked, named, tpot, ttft), found)[0].mean() < 0.05


def test_measurements_of_one_kind_only_need_not_tell_the_other():
    columns, asked, named, tpot, ttft = measured(truth())
    tpot[::2], ttft[1::2] = np.nan, np.nan
    assert (
        np.nanmean(errors((columns, asked, named, tpot, ttft), fitted((columns, asked, named, tpot, ttft)))[0]) < 0.04
    )


def test_a_fit_without_any_time_is_refused():
    columns, asked, named, tpot, ttft = measured(truth())
    with pytest.raises(ValueError, match="needs times"):
        fit_serving(columns, asked, named, tpot=np.full_like(tpot, np.nan), ttft=ttft)


def test_costs_are_never_negative_and_what_was_never_measured_costs_what_is_believed():
    found = fitted(measured(truth(), noise=0.1))
    assert min(min(part.values()) for part in found.decode.values()) >= 0
    assert found.prefill["any"]["latent_layers"] == BELIEVED_PREFILL["latent_layers"]  # no such model was measured


def test_no_prediction_is_faster_than_the_roofline():
    free = truth(decode={"weights": 0.0}, prefill={"layers": 0.0})
    assert tpot_s(replica(), demand(), "vllm", free) == decode_floor_s(replica(), demand())


def test_a_time_is_the_sum_of_its_terms():
    one, asked, known = replica(tensor=2), demand(), truth()
    by_hand = sum(decode_terms(one, asked)[0] * [known.decode["any"][name] for name in DECODE_TERMS])
    assert tpot_s(one, asked, "vllm", known) == pytest.approx(by_hand)
    prompt = sum(prefill_terms(one, asked)[0] * [known.prefill["any"][name] for name in PREFILL_TERMS])
    assert ttft_s(one, asked, "vllm", known) == pytest.approx(prompt)


def test_waiting_for_others_grows_with_their_number_and_without_room_it_explodes():
    known = truth()
    few, many, far = (float(ttft_s(replica(), demand(batch=n), "vllm", known, queueing=True)[0]) for n in (1, 64, 5000))
    alone = float(ttft_s(replica(), demand(), "vllm", known)[0])
    assert alone <= few < many < far
    assert far > 10 * many


def test_short_prompts_share_the_launches_of_a_pass_and_long_ones_have_it_to_themselves():
    known = truth(prefill={"layers": 1e-3, "products": 1.0})
    for prompt, share in ((819.2, 0.1), (8192.0, 1.0), (32768.0, 1.0)):
        one, asked = replica(), demand(prompt=prompt)
        products = prefill_terms(one, asked)[0][PREFILL_TERMS.index("products")]
        assert busy_s(one, asked, "vllm", known)[0] == pytest.approx(products + 0.032 * share)


def test_coefficients_survive_a_file_and_foreign_ones_are_refused():
    known = truth(slow={"weights": 1.0})
    values = msgspec.to_builtins(known)
    assert msgspec.convert(values, ServingCoefficients) == known
    del values["decode"]["slow"]["weights"]
    with pytest.raises(msgspec.ValidationError, match="needs `any`"):
        msgspec.convert(values, ServingCoefficients)


def test_robust_fit_leaves_what_was_not_seen_as_the_prior_has_it():
    terms = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    assert robust_fit(terms, terms[:, 0] * 2, np.array([1.0, 7.0]), 1e-6) == pytest.approx([2.0, 7.0], rel=1e-4)
