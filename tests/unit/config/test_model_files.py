"""Files of architectures: what no model is, is refused with its place."""

import re

import pytest

from scheduler.config import load_any, load_models
from scheduler.errors import ConfigError

GOOD = """schema: dualtrack/v1
kind: models
models:
  - name: a-1b
    aliases: [a-one]
    layers: 16
    hidden: 2048
    heads: 16
    kv_heads: 4
    head_dim: 128
    ffn: 8192
    vocab: 32000
"""
MIXTURE = GOOD.replace("ffn: 8192", "ffn: 8192\n    experts: 8\n    experts_per_token: 2\n    expert_ffn: 512")


def written(folder, text, name="m.yaml"):
    path = folder / name
    path.write_text(text)
    return path


def test_a_model_is_read_with_its_usual_defaults(tmp_path):
    kind, (model,) = load_any(written(tmp_path, GOOD))
    assert kind == "models"
    assert (model.name, model.family, model.gated, model.tied, model.experts) == ("a-1b", "a", True, False, 0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD.replace("kv_heads: 4", "kv_heads: 3"), r"m\.yaml:9: .*kv_heads: does not divide the 16 heads"),
        (GOOD.replace("    ffn: 8192\n", ""), r"m\.yaml:4: .*the dense layers have no width; set ffn"),
        (GOOD.replace("layers: 16", "layers: -1"), r"m\.yaml:6: .*layers: `-1` is out of range"),
        (GOOD + "    windowed_layers: 17\n", r"m\.yaml:6: .*fewer than dense_layers or windowed_layers"),
        (GOOD + "    latent_kv: 576\n", r"latent_kv: needs rope_dim below it"),
        (GOOD + "    width: 7\n", r"unknown field `width`"),
        (MIXTURE.replace("experts_per_token: 2", "experts_per_token: 9"), r"experts: .*set experts_per_token"),
        (MIXTURE.replace("    expert_ffn: 512\n", ""), r"the experts have no width; set expert_ffn"),
    ],
)
def test_what_no_model_is_is_refused_with_its_place(tmp_path, text, problem):
    with pytest.raises(ConfigError) as caught:
        load_any(written(tmp_path, text))
    assert re.search(problem, str(caught.value)), str(caught.value)


def test_two_models_of_one_name_are_refused(tmp_path):
    written(tmp_path, GOOD)
    written(tmp_path, GOOD.replace("a-1b", "b-1b"), "n.yaml")
    with pytest.raises(ConfigError, match="model `a-one` is defined again"):
        load_models(tmp_path)


def test_a_folder_without_models_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds 0 files of kind models"):
        load_models(tmp_path)
