"""The kernels serve a model only if they agree with the reference inside it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("triton", reason="the kernels need triton: pip install --no-deps triton")

import torch
from stemfirst_server.engine.config import EngineConfig, KVDtype
from stemfirst_server.kernels import step as kernel_step
from stemfirst_server.kernels.choose import choose_path, choose_step
from stemfirst_server.kernels.step import TritonStep
from stemfirst_server.memory.pool import KVPool
from stemfirst_server.model import gates
from stemfirst_server.model.attention import ATTENTION_NAME, AttentionStep, register
from transformers import AutoConfig, AutoModelForCausalLM

pytestmark = pytest.mark.needs_server

ADDED: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma2": {
        "num_hidden_layers": 2,
        "sliding_window": 24,
        "query_pre_attn_scalar": 16,
        "attn_logit_softcapping": 5.0,
    },
    "gpt_oss": {
        "num_hidden_layers": 2,
        "sliding_window": 24,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "deepseek_v3": {
        "head_dim": 8,
        "kv_lora_rank": 16,
        "q_lora_rank": 16,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 12,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 0,
    },
}


@pytest.fixture
def small_model(device: torch.device) -> Callable[..., Any]:
    def build(kind: str = "llama", dtype: torch.dtype = torch.float32) -> Any:
        common = {
            "vocab_size": 199,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "initializer_range": 0.15,
            "pad_token_id": 0,
        }
        config = AutoConfig.for_model(kind, **{**common, **ADDED[kind]})
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).to(device).eval()
        register()
        model.set_attn_implementation(ATTENTION_NAME)
        return model

    return build


def choose(model: Any) -> type[AttentionStep]:
    return choose_step(model, gates.probe(model), page=16, is_interpreted=True)


@pytest.mark.parametrize("kind", ADDED)
def test_a_model_whose_attention_they_compute_right_gets_the_kernels(
    kind: str, small_model: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stemfirst.kernels")
    assert choose(small_model(kind)) is TritonStep
    assert "attention runs on our kernels, largest error" in caplog.text


def test_half_precision_models_get_the_kernels_too(small_model: Callable[..., Any]) -> None:
    assert choose(small_model(dtype=torch.bfloat16)) is TritonStep


@pytest.mark.parametrize("kv_dtype", [KVDtype.INT8, KVDtype.FP8])
def test_kv_in_eight_bits_gets_the_kernels_too_if_they_read_it_right(
    kv_dtype: KVDtype, small_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model()
    given = {"page": 16, "kv_dtype": kv_dtype, "is_interpreted": True}
    assert choose_step(model, gates.probe(model), **given) is TritonStep
    read_right = kernel_step.Scales

    def swapped(keys: torch.Tensor, values: torch.Tensor, *, is_fp8: bool) -> Any:
        return read_right(values, keys, is_fp8=is_fp8)

    monkeypatch.setattr(kernel_step, "Scales", swapped)
    assert choose_step(model, gates.probe(model), **given) is AttentionStep


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device for the kernels")
def test_without_a_device_the_reference_runs_and_nothing_is_said(
    small_model: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    model = small_model()
    assert choose_step(model, gates.probe(model), page=16) is AttentionStep
    assert not caplog.records


@pytest.mark.parametrize("path", ["store", "extend", "decode"])
def test_a_kernel_that_does_nothing_is_found_out_whatever_memory_held(
    path: str,
    small_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = small_model()
    assert choose(model) is TritonStep  # its right answers are in memory that was freed
    monkeypatch.setattr(kernel_step, path, lambda *_, **__: None)
    assert choose(model) is AttentionStep
    assert "attention runs on the reference path" in caplog.text


def test_a_kernel_that_is_a_little_wrong_is_found_out(
    small_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    right = kernel_step.decode

    def decode(*args: Any, scale: float, **others: Any) -> None:
        right(*args, scale=scale * 1.01, **others)

    monkeypatch.setattr(kernel_step, "decode", decode)
    assert choose(small_model()) is AttentionStep
    assert "the kernels are off by" in caplog.text


def test_a_kernel_that_cannot_be_built_leaves_the_reference_and_its_reason(
    small_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def extend(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of resource: shared memory")

    monkeypatch.setattr(kernel_step, "extend", extend)
    assert choose(small_model()) is AttentionStep
    assert "the kernels do not run here" in caplog.text
    assert "out of resource: shared memory" in caplog.text


def test_without_triton_the_log_says_what_to_install(
    small_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = small_model()
    shapes = gates.probe(model)
    for name in [name for name in sys.modules if name.startswith("stemfirst_server.kernels.")]:
        if not name.endswith("choose"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)
    assert choose_step(model, shapes, page=16, is_interpreted=True) is AttentionStep
    assert "pip install triton" in caplog.text


def test_a_dtype_that_they_do_not_know_stays_on_the_reference(
    small_model: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert choose(small_model(dtype=torch.float64)) is AttentionStep
    assert "the kernels do not know torch.float64" in caplog.text


def test_recordings_are_not_made_of_the_reference_path(
    small_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = small_model()
    monkeypatch.setattr(kernel_step, "decode", lambda *_, **__: None)
    loaded = SimpleNamespace(model=model, shapes=gates.probe(model))
    pool = KVPool(loaded.shapes, pages=9, page=16, dtype=model.dtype, device=model.device)
    path = choose_path(loaded, pool, EngineConfig(has_cuda_graphs=True), context_tokens=64)
    assert path.step_type is AttentionStep
    assert path.recordings is None
    assert "decode runs without CUDA graphs: they need our kernels" in caplog.text
