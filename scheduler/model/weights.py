"""How many weights a transformer has, and how many one token is multiplied by."""

from scheduler.model.transformers import Transformer

__all__ = ["active_parameters", "attention_parameters", "expert_parameters", "mlp_parameters", "parameters"]


def attention_parameters(t: Transformer) -> int:
    """Of one layer."""
    if not t.latent_kv:
        return t.hidden * t.head_dim * (t.heads + 2 * t.kv_heads) + t.heads * t.head_dim * t.hidden
    per_head = t.nope_dim + t.rope_dim
    queries = t.hidden * t.latent_q + t.latent_q * t.heads * per_head if t.latent_q else t.hidden * t.heads * per_head
    compressed = t.latent_kv - t.rope_dim
    keys_and_values = t.hidden * t.latent_kv + compressed * t.heads * (t.nope_dim + t.value_dim)
    return queries + keys_and_values + t.heads * t.value_dim * t.hidden


def mlp_parameters(t: Transformer, width: int) -> int:
    """Of one MLP of inner width `width`."""
    return (3 if t.gated else 2) * t.hidden * width


def expert_parameters(t: Transformer) -> int:
    """Of all routed experts of all layers."""
    return t.expert_layers * t.experts * mlp_parameters(t, t.expert_ffn)


def parameters(t: Transformer) -> int:
    """All weights, norms and biases left out."""
    embedding = t.vocab * t.hidden * (1 if t.tied else 2)
    return embedding + _layers(t, t.experts)


def active_parameters(t: Transformer) -> int:
    """Weights that one token is multiplied by: the looked-up embedding does not count, the output matrix does."""
    return t.vocab * t.hidden + _layers(t, t.experts_per_token)


def _layers(t: Transformer, experts: int) -> int:
    dense = t.layers - t.expert_layers
    routed = experts * mlp_parameters(t, t.expert_ffn) + mlp_parameters(t, t.shared_ffn) + t.experts * t.hidden
    return t.layers * attention_parameters(t) + dense * mlp_parameters(t, t.ffn) + t.expert_layers * routed
