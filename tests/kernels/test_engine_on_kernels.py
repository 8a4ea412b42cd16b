"""The whole engine on our kernels gives the tokens that it gives on the reference path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton", reason="the kernels need triton: pip install --no-deps triton")

import torch
from stemfirst_server.engine import assembly
from stemfirst_server.engine.config import EngineConfig, KVDtype
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.request import (
    GenerationRequest,
    ModelInfo,
    SamplingParams,
    token_array,
)
from stemfirst_server.kernels.choose import AttentionPath
from stemfirst_server.kernels.graphs import CudaCapture, DecodeGraphs
from stemfirst_server.kernels.step import TritonStep
from stemfirst_server.model import gates
from stemfirst_server.model.attention import ATTENTION_NAME, AttentionStep, register
from stemfirst_server.model.loading import LoadedModel
from transformers import LlamaConfig, LlamaForCausalLM

pytestmark = pytest.mark.needs_server

VOCAB = 199


@pytest.fixture(scope="module")
def loaded(device: torch.device) -> LoadedModel:
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.15,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(config).to(device).eval()
    register()
    model.set_attn_implementation(ATTENTION_NAME)
    shapes = gates.probe(model)
    info = ModelInfo(
        name="random",
        architecture="LlamaForCausalLM",
        context_tokens=256,
        vocab_size=VOCAB,
        end_token_ids=(),
        dtype="float32",
        device=str(device),
        kv_bytes_per_token=sum(s.values_per_token() for s in shapes.values()) * 4,
        parameters=sum(p.numel() for p in model.parameters()),
    )
    return LoadedModel(model=model, info=info, shapes=shapes)


def answers(loaded: LoadedModel, kv_dtype: KVDtype = KVDtype.AUTO) -> list[tuple[int, ...]]:
    """Return what three requests get that share a prefix, two of them after the first."""
    settings = {"page": 8, "pool_tokens": 512, "chunk_tokens": 24, "max_running": 4}
    config = EngineConfig(**settings, kv_dtype=kv_dtype, has_cuda_graphs=True, is_checked=True)
    engine = Engine(loaded, config)
    generator = np.random.default_rng(5)
    prefix = generator.integers(0, VOCAB, 40).tolist()
    greedy = SamplingParams(max_tokens=5, temperature=0.0)
    engine.start()
    try:
        handles = []
        for number in range(3):
            prompt = [*prefix, *generator.integers(0, VOCAB, 3 + number).tolist()]
            request = GenerationRequest(str(number), token_array(prompt), greedy)
            handles.append(engine.submit(request))
            if number == 0:
                first = handles[0].result(timeout=60)
        rest = [handle.result(timeout=60) for handle in handles[1:]]
    finally:
        engine.stop(timeout=60)
    assert all(answer.finish.error is None for answer in (first, *rest))
    assert [answer.finish.report.cached_tokens for answer in rest] == [40, 40]
    return [answer.token_ids for answer in (first, *rest)]


@pytest.mark.parametrize("kv_dtype", [KVDtype.AUTO, KVDtype.INT8])
def test_greedy_answers_are_the_references(
    kv_dtype: KVDtype, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "choose_path", lambda *_, **__: AttentionPath())
    expected = answers(loaded, kv_dtype)
    monkeypatch.setattr(assembly, "choose_path", lambda *_, **__: AttentionPath(TritonStep))
    assert answers(loaded, kv_dtype) == expected


def test_greedy_answers_from_recorded_steps_are_the_references(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a device the recording is a plain call of the filled-up step."""
    monkeypatch.setattr(assembly, "choose_path", lambda *_, **__: AttentionPath())
    expected = answers(loaded)
    replayed: list[int] = []

    def recorded(loaded: LoadedModel, pool: Any, config: Any, *, context_tokens: int) -> Any:
        has_device = torch.cuda.is_available()
        graphs = DecodeGraphs(
            loaded.model,
            pool,
            TritonStep if has_device else AttentionStep,
            most_rows=config.max_running,
            table_pages=-(-context_tokens // pool.page),
            dummy_page=pool.pages - 1,
            capture=CudaCapture() if has_device else lambda static: static.forward,
        )
        right = graphs.run
        monkeypatch.setattr(
            graphs, "run", lambda inputs: replayed.append(len(inputs.ids)) or right(inputs)
        )
        return AttentionPath(AttentionStep, graphs)

    monkeypatch.setattr(assembly, "choose_path", recorded)
    assert answers(loaded) == expected
    assert {1, 2} <= set(replayed)


def test_the_reference_can_be_asked_for(loaded: LoadedModel) -> None:
    config = EngineConfig(pool_tokens=64, has_kernels=False, has_cascade=False)
    assert Engine(loaded, config)._runner._step_type is AttentionStep
