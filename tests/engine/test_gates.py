"""A model that would be silently wrong is refused before it serves anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from stemfirst_server.errors import UnsupportedModelError
from stemfirst_server.model import gates
from stemfirst_server.model.attention import register
from stemfirst_server.model.loading import load_model
from transformers import AutoConfig, AutoModelForCausalLM

TINY: dict[str, dict[str, Any]] = {
    "lfm2": {
        "num_hidden_layers": 2,
        "layer_types": ["conv", "full_attention"],
        "block_ff_dim": 64,
    },
    "llama4_text": {
        "num_hidden_layers": 2,
        "intermediate_size_mlp": 64,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "attention_chunk_size": 16,
        "layer_types": ["chunked_attention", "full_attention"],
    },
    "gptj": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": 64, "rotary_dim": 8},
    "bloom": {"n_layer": 2, "n_head": 4},
    "mamba": {"state_size": 4, "num_hidden_layers": 2},
}
SMALL: dict[str, Any] = {
    "vocab_size": 199,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "initializer_range": 0.15,
}
REASONS = {
    "lfm2": "layers of type conv",
    "llama4_text": "layers of type chunked_attention",
    "gptj": "layers and 0 of them used the replaced attention",
    "bloom": "layers and 0 of them used the replaced attention",
    "mamba": "MambaForCausalLM",
}


@pytest.mark.parametrize("model_type", sorted(TINY))
def test_what_our_attention_cannot_serve_is_refused_with_the_reason(
    model_type: str, save_small: Callable[..., Path]
) -> None:
    folder = save_small(model_type, **TINY[model_type])
    with pytest.raises(UnsupportedModelError) as refusal:
        load_model(str(folder), device="cpu")
    message = str(refusal.value)
    assert REASONS[model_type] in message
    assert "; serve a" in message, "says what to do"
    assert "\n" not in message


def small_model(model_type: str, **changes: Any) -> Any:
    config = AutoConfig.for_model(model_type, **(SMALL | changes))
    torch.manual_seed(5)
    register()
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        pytest.param("lfm2", TINY["lfm2"], id="lfm2 with conv layers"),
        pytest.param("llama4_text", TINY["llama4_text"], id="llama4 with chunks"),
    ],
)
def test_the_probe_or_the_self_test_would_catch_what_the_layer_types_hid(
    model_type: str, changes: dict[str, Any]
) -> None:
    """The first gate reads a declaration; the other two do not believe it."""
    model = small_model(model_type, **changes)
    with pytest.raises(UnsupportedModelError, match="would"):
        gates.self_test(model, gates.probe(model))


def test_a_layer_that_keeps_its_own_attention_is_seen_by_the_probe() -> None:
    model = small_model("llama")
    layer = model.model.layers[1].self_attn
    layer.config = type(layer.config)(**layer.config.to_dict())
    layer.config._attn_implementation = "eager"
    model.set_attn_implementation = lambda _: None
    model.config._attn_implementation = "stemfirst_paged"
    with pytest.raises(UnsupportedModelError, match="2 layers and 1 of them"):
        gates.probe(model)


def test_a_model_whose_scores_we_misread_fails_the_self_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = small_model("gemma2", query_pre_attn_scalar=16, attn_logit_softcapping=2.0)
    shapes = gates.probe(model)
    assert gates.self_test(model, shapes) < 1e-4
    attend = gates.AttentionStep.attend

    def without_softcap(self: Any, layer: Any, q: Any, k: Any, v: Any, options: Any) -> Any:
        blind = type(options)(options.scale, options.window, None, options.sinks)
        return attend(self, layer, q, k, v, blind)

    monkeypatch.setattr(gates.AttentionStep, "attend", without_softcap)
    with pytest.raises(UnsupportedModelError, match="silently wrong"):
        gates.self_test(model, shapes)


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        pytest.param("llama", {}, id="llama"),
        pytest.param("mixtral", {}, id="rounding sends tokens to other experts"),
    ],
)
def test_half_precision_is_judged_by_structure_and_keeps_its_weights(
    model_type: str, changes: dict[str, Any]
) -> None:
    model = small_model(model_type, **changes).to(torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert gates.self_test(model, gates.probe(model)) < 1e-4
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, before[name])


def test_a_model_that_works_is_served_though_its_flag_says_no() -> None:
    model = small_model("stablelm")
    assert gates.self_test(model, gates.probe(model)) < 1e-4
