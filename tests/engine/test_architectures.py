"""Every family that the engine serves gives its own eager numbers, whatever shares a step."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from architectures import REFUSED, SERVED, SMALL
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.handle import Handle
from stemfirst_server.engine.request import (
    Completion,
    GenerationRequest,
    ModelInfo,
    SamplingParams,
    token_array,
)
from stemfirst_server.errors import UnsupportedModelError
from stemfirst_server.model import cascade, gates
from stemfirst_server.model.attention import register
from stemfirst_server.model.fused import fuse
from stemfirst_server.model.last_layer import narrow
from stemfirst_server.model.loading import LoadedModel
from transformers import AutoConfig, AutoModelForCausalLM

PAGE = 4
NEW_TOKENS = 3
CANDIDATES = 20
# Of a log-probability; the models' own differ by about 1e-6 between batch shapes.
TOLERANCE = 2e-4


def build(model_type: str, **changes: Any) -> Any:
    """Return a model with random weights."""
    settings = {k: v for k, v in (SMALL | changes).items() if (k, v) != ("head_dim", None)}
    config = AutoConfig.for_model(model_type, **settings)
    torch.manual_seed(5)
    register()
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def admit(model: Any) -> LoadedModel:
    """Lead a model through the gates, as the loader does."""
    gates.check_layer_types(model.config, type(model))
    gates.use_our_attention(model)
    shapes = gates.probe(model)
    assert gates.self_test(model, shapes) < 1e-5
    fuse(model, shapes, 512)
    assert gates.self_test(model, shapes) < 1e-5
    numbers = sum(shape.values_per_token() for shape in shapes.values())
    info = ModelInfo("small", type(model).__name__, 512, 199, (), "float32", "cpu", 4 * numbers, 1)
    return LoadedModel(model, info, shapes, narrow(model, shapes))


@torch.inference_mode()
def eager_logprobs(model: Any, tokens: list[int]) -> torch.Tensor:
    """Return `(tokens, vocab)`: the model's own, without a cache, in one pass."""
    model.set_attn_implementation("eager")
    logits: torch.Tensor = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
    return logits.log_softmax(-1)


def assert_own_numbers(model: Any, prompt: list[int], done: Completion) -> None:
    """Compare every candidate's log-probability, at every generated token."""
    expected = eager_logprobs(model, prompt + list(done.token_ids))
    assert len(done.tokens) == NEW_TOKENS
    for event in done.tokens:
        row = expected[len(prompt) - 1 + event.index]
        ids = [candidate.token_id for candidate in event.top_logprobs]
        got = torch.tensor([candidate.logprob for candidate in event.top_logprobs])
        assert torch.allclose(got, row[ids], rtol=0, atol=TOLERANCE)
        assert float(row.max() - row[event.token_id]) <= 2 * TOLERANCE, "the likeliest was taken"


_ids = itertools.count()


def ask(engine: Engine, prompt: list[int]) -> Handle:
    sampling = SamplingParams(
        max_tokens=NEW_TOKENS, temperature=0, ignore_eos=True, logprobs=CANDIDATES
    )
    return engine.submit(GenerationRequest(f"r{next(_ids)}", token_array(prompt), sampling))


@pytest.fixture(autouse=True)
def _prefixes_are_shared_however_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "LEAST_SAVED_TOKENS", 1)


def test_all_35_families_are_here() -> None:
    assert len(SERVED) == 35


@pytest.mark.parametrize("model_type", SERVED)
def test_the_numbers_are_the_models_own(model_type: str) -> None:
    """Cold in chunks, warm, and a step that mixes chunks behind hits of every length."""
    model = build(model_type, **SERVED[model_type])
    reference = build(model_type, **SERVED[model_type])
    rng = np.random.default_rng(7)

    def text(count: int) -> list[int]:
        return rng.integers(2, 199, count).tolist()

    stem = text(61)
    together = [
        stem,  # all but its last page is there
        stem[:41] + text(30),
        stem + text(25),
        text(1),
        text(33),
        stem[:60],
        stem[:9] + text(2),
    ]
    # Less than all of them together, so that steps end in the middle of chunks.
    engine = Engine(
        admit(model), EngineConfig(page=PAGE, pool_tokens=2048, chunk_tokens=53, is_checked=True)
    )
    engine.start()
    try:
        # Leaves holes in the free list: what follows stands on scattered pages.
        for count in (19, 3, 30):
            ask(engine, text(count)).result(timeout=60)
        cold = ask(engine, stem).result(timeout=60)
        handles = [ask(engine, prompt) for prompt in together]
        answers = [handle.result(timeout=60) for handle in handles]
    finally:
        assert engine.stop(timeout=20)
    assert cold.finish.report.cached_tokens == 0
    hits = [answer.finish.report.cached_tokens for answer in answers]
    assert hits == [60, 40, 60, 0, 0, 56, 8]
    assert_own_numbers(reference, stem, cold)
    for prompt, answer in zip(together, answers, strict=True):
        assert_own_numbers(reference, prompt, answer)


@pytest.mark.parametrize("model_type", ["gemma3n_text", "gemma4_text"])
def test_layers_that_use_the_keys_of_others_are_served(model_type: str) -> None:
    changes = SERVED[model_type] | {
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    }
    admit(build(model_type, **changes))


@pytest.mark.parametrize("model_type", REFUSED)
def test_a_family_that_would_be_wrong_is_refused_with_the_reason(model_type: str) -> None:
    changes, reason = REFUSED[model_type]
    model = build(model_type, **changes)
    with pytest.raises(UnsupportedModelError) as refusal:
        admit(model)
    message = str(refusal.value)
    assert reason in message
    assert "; serve a" in message, "says what to do"


def test_a_wrong_number_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: a window that is one token too long is noticed."""
    model = build("mistral", **SERVED["mistral"])
    loaded = admit(model)
    read = cascade.CascadeStep.read

    def longer(step: Any, layer: int, query: Any, options: Any) -> Any:
        return read(step, layer, query, replace(options, window=options.window + 1))

    monkeypatch.setattr(cascade.CascadeStep, "read", longer)
    engine = Engine(loaded, EngineConfig(page=PAGE, pool_tokens=512))
    engine.start()
    prompt = np.random.default_rng(1).integers(2, 199, 60).tolist()
    try:
        done = ask(engine, prompt).result(timeout=60)
    finally:
        engine.stop(timeout=20)
    with pytest.raises(AssertionError):
        assert_own_numbers(build("mistral", **SERVED["mistral"]), prompt, done)
