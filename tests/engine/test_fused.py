"""Fused layers give what the model's own code gives, or are left alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from architectures import SERVED
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import GenerationRequest, SamplingParams, token_array
from stemfirst_server.model import gates
from stemfirst_server.model.fused import fuse
from stemfirst_server.model.loading import LoadedModel
from test_architectures import build

FUSED = ("llama", "mistral", "qwen2", "qwen3")
CONTEXT_TOKENS = 512


def prepared(model_type: str) -> tuple[Any, Any]:
    model = build(model_type, **SERVED[model_type])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                # As trained ones are: no two alike, none at its first value.
                parameter.add_(torch.linspace(-0.3, 0.4, parameter.numel()).view_as(parameter))
    gates.use_our_attention(model)
    return model, gates.probe(model)


@pytest.mark.parametrize("model_type", FUSED)
def test_a_fused_model_gives_the_logits_of_its_own_code(model_type: str) -> None:
    model, shapes = prepared(model_type)
    before = gates._eager_logits(model, gates.some_tokens(model, 75))
    assert fuse(model, shapes, CONTEXT_TOKENS) == len(shapes)
    error = gates.self_test(model, shapes)
    assert error < 1e-5
    # Without a step, the layers run their own code on the same weights.
    assert torch.equal(gates._eager_logits(model, gates.some_tokens(model, 75)), before)


@pytest.mark.parametrize("model_type", ["gemma2", "ministral3", "mixtral", "olmo2", "phi", "opt"])
def test_other_families_run_their_own_code(model_type: str) -> None:
    model, shapes = prepared(model_type)
    assert fuse(model, shapes, CONTEXT_TOKENS) == 0
    assert not any("forward" in vars(module) for module in model.modules())


def test_weights_are_held_once() -> None:
    model, shapes = prepared("qwen2")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    held = held_bytes(model)
    assert fuse(model, shapes, CONTEXT_TOKENS) == len(shapes)
    assert held_bytes(model) == held
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    attention = model.model.layers[0].self_attn
    whole = attention.q_proj.weight.untyped_storage().data_ptr()
    assert attention.v_proj.weight.untyped_storage().data_ptr() == whole


def held_bytes(model: Any) -> int:
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in model.parameters()}
    return sum(storage.nbytes() for storage in storages.values())


def test_a_layer_that_does_something_else_runs_its_own_code() -> None:
    model, shapes = prepared("llama")
    part = model.model.layers[1].mlp
    whole = part.forward
    part.forward = lambda hidden: 1.01 * whole(hidden)
    assert fuse(model, shapes, CONTEXT_TOKENS) == len(shapes) - 1
    fused = ["forward" in vars(layer) for layer in model.model.layers]
    assert fused == [True, False, True]
    assert gates.self_test(model, shapes) < 1e-5


def test_what_differs_only_far_behind_in_the_context_is_seen() -> None:
    model, shapes = prepared("llama")
    attention = model.model.layers[0].self_attn
    whole = attention.forward

    def late(hidden_states: torch.Tensor, **kwargs: Any) -> Any:
        is_late = (kwargs["position_ids"][0] > 400)[None, :, None]
        return whole(
            hidden_states=torch.where(is_late, 1.1 * hidden_states.sin(), hidden_states), **kwargs
        )

    attention.forward = late
    assert fuse(model, shapes, CONTEXT_TOKENS) == len(shapes) - 1


def test_a_layer_that_is_listened_to_runs_its_own_code() -> None:
    model, shapes = prepared("llama")
    model.model.layers[2].mlp.down_proj.register_forward_hook(lambda *_: None)
    assert fuse(model, shapes, CONTEXT_TOKENS) == len(shapes) - 1


def test_a_prefill_runs_the_last_fused_feed_forward_part_on_one_row(
    load_small: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_small("llama")
    assert loaded.narrowed_layer == max(loaded.shapes)
    activation = loaded.model.model.layers[-1].mlp.act_fn
    rows: list[int] = []
    own = activation.forward
    monkeypatch.setattr(
        activation, "forward", lambda hidden: rows.append(len(hidden)) or own(hidden)
    )
    with torch.inference_mode():
        engine = Engine(loaded, EngineConfig(pool_tokens=512, chunk_tokens=256))
        engine.start()
        request = GenerationRequest(
            request_id="a",
            token_ids=token_array(range(5, 105)),
            sampling=SamplingParams(max_tokens=1, temperature=0.0),
        )
        engine.submit(request).result(timeout=60)
        engine.stop()
    assert rows == [1]


def test_no_more_than_a_part_of_one_layer_is_held_twice_while_loading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, shapes = prepared("llama")
    held = held_bytes(model)
    most = 0
    own = torch.cat

    def cat(tensors: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal most
        made = own(tensors, *args, **kwargs)
        if isinstance(tensors[0], torch.nn.Parameter):
            most = max(most, held_bytes(model) + made.nbytes)
        return made

    monkeypatch.setattr(torch, "cat", cat)
    assert fuse(model, shapes, CONTEXT_TOKENS) == len(shapes)
    mlp = model.model.layers[0].mlp
    assert held < most <= held + mlp.gate_proj.weight.nbytes + mlp.up_proj.weight.nbytes


def test_engines_that_share_a_model_do_not_disturb_each_other(
    start_engine: Callable[..., Engine],
) -> None:
    """Each has a thread; what layers of one step share belongs to that step."""
    rng = np.random.default_rng(7)
    asked = [rng.integers(2, 199, length).tolist() for length in range(12, 60, 3)]

    def answers(engine: Engine) -> list[tuple[int, ...]]:
        params = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
        handles = [
            engine.submit(GenerationRequest(str(number), token_array(tokens), params, "a"))
            for number, tokens in enumerate(asked)
        ]
        return [handle.result(timeout=60).token_ids for handle in handles]

    settings = {"is_deterministic": True, "has_prefix_cache": False, "chunk_tokens": 16}
    engines = [start_engine("llama", **settings) for _ in range(3)]
    expected = answers(engines[0])
    with ThreadPoolExecutor(len(engines)) as pool:
        for _ in range(3):
            assert list(pool.map(answers, engines)) == [expected] * len(engines)
