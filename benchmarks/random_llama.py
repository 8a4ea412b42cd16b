"""Llama-type models with random weights, made on the device, and what a prefill of one costs.

Used by the benchmarks; random weights take as long as trained ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from stemfirst_server.engine.request import ModelInfo
from stemfirst_server.model import gates
from stemfirst_server.model.attention import ATTENTION_NAME, register
from stemfirst_server.model.loading import LoadedModel


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A Llama-type model."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    head_width: int
    vocab: int


MODELS = {
    "8b": ModelShape(4096, 32, 14336, 32, 8, 128, 128256),
    "1b": ModelShape(2048, 16, 8192, 32, 8, 64, 128256),
    "tiny": ModelShape(64, 2, 96, 4, 2, 16, 512),
}


def random_model(shape: ModelShape, dtype: torch.dtype, device: torch.device) -> LoadedModel:
    """Return a Llama of this shape with random weights, past the probe."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        intermediate_size=shape.intermediate,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_width,
        vocab_size=shape.vocab,
        max_position_embeddings=131072,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        pad_token_id=0,
    )
    register()
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)
    model.set_attn_implementation(ATTENTION_NAME)
    shapes = gates.probe(model)
    info = ModelInfo(
        name="random",
        architecture="LlamaForCausalLM",
        context_tokens=131072,
        vocab_size=shape.vocab,
        end_token_ids=(),
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
        kv_bytes_per_token=sum(s.values_per_token() for s in shapes.values()) * dtype.itemsize,
        parameters=sum(p.numel() for p in model.parameters()),
    )
    return LoadedModel(model=model, info=info, shapes=shapes)


def prefill_flop(shape: ModelShape, new_tokens: int) -> float:
    """Return the operations of a cold prefill: matrix products and causal attention."""
    attention = shape.hidden * shape.heads * shape.head_width * 2
    attention += 2 * shape.hidden * shape.kv_heads * shape.head_width
    weights = shape.layers * (attention + 3 * shape.hidden * shape.intermediate)
    pairs = new_tokens * (new_tokens + 1) / 2
    scores = 4 * shape.layers * shape.heads * shape.head_width * pairs
    head = 2 * shape.hidden * shape.vocab  # of the last token only
    return 2 * weights * new_tokens + scores + head
