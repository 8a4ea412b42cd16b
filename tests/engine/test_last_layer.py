"""The last layer computes only the tokens whose logits are wanted, and answers stay the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from architectures import SERVED
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import GenerationRequest, SamplingParams, token_array
from stemfirst_server.model import gates, last_layer
from stemfirst_server.model.last_layer import narrow
from stemfirst_server.model.loading import LoadedModel
from test_architectures import build

# Its feed-forward part is no module of its own.
LEFT_WHOLE = {"opt"}


def shapes_of(model: Any) -> Any:
    gates.use_our_attention(model)
    return gates.probe(model)


@pytest.mark.parametrize("model_type", ["llama", "mixtral", "gpt_oss", "gemma2", "phi", "opt"])
def test_families_are_narrowed_whatever_their_feed_forward_part_is(model_type: str) -> None:
    model = build(model_type, **SERVED[model_type])
    shapes = shapes_of(model)
    expected = None if model_type in LEFT_WHOLE else max(shapes)
    assert narrow(model, shapes) == expected


def test_a_part_that_mixes_tokens_is_computed_whole() -> None:
    model = build("llama", **SERVED["llama"])
    shapes = shapes_of(model)
    part = last_layer._feed_forward(model, max(shapes))
    assert part is not None
    whole = part.forward
    # Each token sees those before it: rows alone would give other numbers.
    part.forward = lambda hidden: whole(hidden.cumsum(1))
    mixing = part.forward
    assert narrow(model, shapes) is None
    assert part.forward is mixing, "the model is as it was"


def test_a_prefill_runs_the_last_feed_forward_part_on_one_row_and_answers_the_same(
    load_small: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its layers run their own code, not a fused one.
    loaded = load_small("gemma2")
    assert loaded.narrowed_layer == max(loaded.shapes)
    part: Any = last_layer._feed_forward(loaded.model, max(loaded.shapes))
    rows: list[int] = []
    down = part.down_proj.forward
    monkeypatch.setattr(
        part.down_proj, "forward", lambda hidden: rows.append(hidden.shape[1]) or down(hidden)
    )
    prompt = token_array(range(5, 105))
    sampling = SamplingParams(max_tokens=3, temperature=0.0, logprobs=5)
    answers = []
    for narrowed_layer in (loaded.narrowed_layer, None):
        rows.clear()
        made = LoadedModel(loaded.model, loaded.info, loaded.shapes, narrowed_layer)
        engine = Engine(made, EngineConfig(pool_tokens=256, chunk_tokens=64, is_checked=True))
        engine.start()
        done = engine.submit(GenerationRequest("r", prompt, sampling)).result(timeout=60)
        assert engine.stop(timeout=20)
        answers.append(done)
        assert rows == ([1, 1, 1, 1] if narrowed_layer is not None else [64, 36, 1, 1])
    assert answers[0].token_ids == answers[1].token_ids
    for a, b in zip(answers[0].tokens, answers[1].tokens, strict=True):
        assert a.logprob == pytest.approx(b.logprob, abs=1e-5)


@torch.inference_mode()
def test_a_prompts_keys_and_values_are_those_of_the_whole_layer(
    load_small: Callable[[str], LoadedModel],
) -> None:
    loaded = load_small("llama")
    pools = []
    for narrowed_layer in (loaded.narrowed_layer, None):
        made = LoadedModel(loaded.model, loaded.info, loaded.shapes, narrowed_layer)
        engine = Engine(made, EngineConfig(pool_tokens=256, chunk_tokens=64))
        engine.start()
        request = GenerationRequest(
            "r", token_array(range(5, 105)), SamplingParams(max_tokens=1, temperature=0.0)
        )
        engine.submit(request).result(timeout=60)
        assert engine.stop(timeout=20)
        pools.append(engine._made.pool)
    for one, other in zip(pools[0].tensors(), pools[1].tensors(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
