"""Model files to transformers: the architectures that job files and measurements call by name."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from scheduler.config.cursor import Cursor, Fields
from scheduler.config.document import open_one
from scheduler.config.refusal import refusal
from scheduler.model.precisions import SERVED_IN
from scheduler.model.transformers import Transformer

__all__ = ["joined_models", "load_models_file", "models_of"]

MAX_MODELS: Final = 10_000
MAX_COUNT: Final = 10**7
NEEDED: Final = ("layers", "hidden", "heads", "kv_heads", "head_dim", "vocab")
OPTIONAL: Final = (
    "ffn", "experts", "experts_per_token", "expert_ffn", "shared_ffn", "dense_layers", "latent_kv", "latent_q",
    "rope_dim", "nope_dim", "value_dim", "window", "windowed_layers",
)  # fmt: skip


def load_models_file(path: str | Path) -> tuple[Transformer, ...]:
    return models_of(open_one(path, "models"))


def joined_models(parts: Iterable[tuple[str, tuple[Transformer, ...]]]) -> tuple[Transformer, ...]:
    """The models of several files. Raises ConfigError where two go by the same name."""
    found: dict[str, str] = {}
    made: list[Transformer] = []
    for source, models in parts:
        for model in models:
            for called in {model.name, *model.aliases}:
                if called in found:
                    raise refusal(f"model `{called}` is defined again, first in {found[called]}", file=source)
                found[called] = source
            made.append(model)
    return tuple(made)


def models_of(cursor: Cursor) -> tuple[Transformer, ...]:
    fields = cursor.fields("schema", "kind", "models")
    return tuple(_model(item) for item in fields["models"].items(MAX_MODELS, least=1))


def _model(cursor: Cursor) -> Transformer:
    fields = cursor.fields("name", "family", "aliases", "gated", "tied", "kept", *NEEDED, *OPTIONAL)
    aliases, family = fields.get("aliases"), fields.get("family")
    gated, tied, kept = fields.get("gated"), fields.get("tied"), fields.get("kept")
    needed = {key: fields[key].integer(1, MAX_COUNT) for key in NEEDED}
    optional = {key: item.integer(0, MAX_COUNT) for key in OPTIONAL if (item := fields.get(key))}
    name = fields["name"].line_of_text(64)
    made = Transformer(
        name=name,
        family=family.line_of_text(64) if family else name.split("-")[0],
        aliases=tuple(item.line_of_text(128) for item in aliases.items()) if aliases else (),
        gated=gated.boolean() if gated else True,
        tied=tied.boolean() if tied else False,
        kept=kept.choice(*SERVED_IN) if kept else "",
        **needed,
        **optional,
    )
    _check(made, fields)
    return made


def _check(t: Transformer, fields: Fields) -> None:
    """What no real model is: refused here, so that no formula meets it."""
    if t.heads % t.kv_heads:
        raise fields["kv_heads"].wrong(f"does not divide the {t.heads} heads")
    if t.experts and not 0 < t.experts_per_token <= t.experts:
        raise fields["experts"].wrong("with so many experts, a token passes 1 to all of them", "set experts_per_token")
    if t.experts and not t.expert_ffn:
        raise fields["experts"].wrong("the experts have no width", "set expert_ffn")
    if t.dense_layers > t.layers or t.windowed_layers > t.layers:
        raise fields["layers"].wrong("are fewer than dense_layers or windowed_layers")
    if not t.ffn and (not t.experts or t.dense_layers):
        raise fields.place.wrong("the dense layers have no width", "set ffn")
    if t.latent_kv and not (t.rope_dim < t.latent_kv and t.nope_dim and t.value_dim):
        raise fields["latent_kv"].wrong("needs rope_dim below it, nope_dim and value_dim")
