"""Decode at fixed addresses, and recordings that must be right before they serve.

Without a device the recording is a plain call: that tests filling up, sizes and verification,
and not CUDA. The tests that record on a device are marked `gpu`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("triton", reason="the kernels need triton: pip install --no-deps triton")

import torch
from stemfirst_server.kernels.graphs import CudaCapture, DecodeGraphs, Replay
from stemfirst_server.kernels.static_decode import DecodeInputs, StaticDecode
from stemfirst_server.kernels.step import TritonStep
from stemfirst_server.kernels.trial import Work, lay_out
from stemfirst_server.memory.pool import KVPool
from stemfirst_server.model import gates
from stemfirst_server.model.attention import (
    ATTENTION_NAME,
    AttentionStep,
    SingleRows,
    register,
    use_step,
)
from transformers import LlamaConfig, LlamaForCausalLM

pytestmark = pytest.mark.needs_server
needs_device = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device"),
]

PAGE = 4


@pytest.fixture(scope="module")
def model(device: torch.device) -> Any:
    config = LlamaConfig(
        vocab_size=199,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.15,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    built = LlamaForCausalLM(config).to(device).eval()
    register()
    built.set_attn_implementation(ATTENTION_NAME)
    return built


def call_it(static: StaticDecode) -> Replay:
    return static.forward


def empty_pool(model: Any, pages: int) -> KVPool:
    return KVPool(
        gates.probe(model), pages=pages, page=PAGE, dtype=model.dtype, device=model.device
    )


def fill_with_noise(pool: KVPool) -> None:
    generator = torch.Generator().manual_seed(3)
    for tensor in (*pool.keys.values(), *pool.values.values()):
        tensor.copy_(torch.randn(tensor.shape, generator=generator))


def graphs(model: Any, pool: KVPool, capture: Callable[[StaticDecode], Replay]) -> DecodeGraphs:
    return DecodeGraphs(
        model,
        pool,
        TritonStep if isinstance(capture, CudaCapture) else AttentionStep,
        most_rows=4,
        table_pages=6,
        dummy_page=pool.pages - 1,
        capture=capture,
    )


def ordinary_logits(model: Any, pool: KVPool, inputs: DecodeInputs) -> torch.Tensor:
    step = AttentionStep(pool, inputs.slots, (), SingleRows(inputs.kv_tokens, inputs.page_ids))
    with torch.inference_mode(), use_step(step):
        out = model(
            input_ids=inputs.ids[None], position_ids=inputs.positions[None], use_cache=False
        )
    return out.logits[0].float()


def decode_inputs(model: Any, lengths: tuple[int, ...]) -> tuple[KVPool, DecodeInputs]:
    """Return requests of these lengths over noise, and one page more, which is nobody's."""
    # The last length's pages are the dummy's.
    laid = lay_out(
        Work(singles=(*lengths, 1)),
        gates.probe(model),
        page=PAGE,
        dtype=model.dtype,
        device=model.device,
    )
    assert laid.singles is not None
    count, dummy = len(lengths), int(laid.singles.page_ids[-1, 0])
    last = laid.pool.pages - 1
    swap = torch.arange(laid.pool.pages, device=model.device)
    swap[[dummy, last]] = swap[[last, dummy]]
    used = max(-(-length // PAGE) for length in lengths)
    pages = swap[laid.singles.page_ids[:count, :used]]
    positions = laid.positions[:count]
    rows = torch.arange(count, device=model.device)
    generator = torch.Generator().manual_seed(count)
    return laid.pool, DecodeInputs(
        ids=torch.randint(0, 199, (count,), generator=generator).to(model.device),
        positions=positions,
        slots=pages[rows, positions // PAGE] * PAGE + positions % PAGE,
        kv_tokens=laid.singles.kv_tokens[:count],
        page_ids=pages,
    )


@pytest.mark.parametrize("lengths", [(5,), (1, 24), (9, 4, 13)], ids=str)
def test_filling_a_batch_up_changes_no_logit(model: Any, lengths: tuple[int, ...]) -> None:
    pool, inputs = decode_inputs(model, lengths)
    static = StaticDecode(
        model, pool, AttentionStep, rows=4, table_pages=6, dummy_page=pool.pages - 1
    )
    static.fill(inputs)
    with torch.inference_mode():
        logits = static.forward()
    assert logits.isfinite().all()
    got, expected = logits[: len(lengths)], ordinary_logits(model, pool, inputs)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_a_smaller_batch_leaves_nothing_of_the_larger_one_behind(model: Any) -> None:
    pool, larger = decode_inputs(model, (9, 4, 13))
    before = {layer: tensor.clone() for layer, tensor in pool.keys.items()}
    static = StaticDecode(
        model, pool, AttentionStep, rows=4, table_pages=6, dummy_page=pool.pages - 1
    )
    static.fill(larger)
    smaller = DecodeInputs(
        larger.ids[:1],
        larger.positions[:1],
        larger.slots[:1],
        larger.kv_tokens[:1],
        larger.page_ids[:1],
    )
    static.fill(smaller)
    with torch.inference_mode():
        static.forward()
    for layer, tensor in pool.keys.items():
        changed = (tensor != before[layer]).flatten(2).any(-1).flatten().nonzero().flatten()
        dummy_slot = (pool.pages - 1) * PAGE
        assert set(changed.tolist()) <= {int(smaller.slots[0]), dummy_slot}


def test_every_power_of_two_is_recorded_and_gives_an_ordinary_steps_logits(model: Any) -> None:
    pool, inputs = decode_inputs(model, (9, 4, 13))
    recorded = graphs(model, pool, call_it)
    assert recorded.sizes == (1, 2, 4)
    fill_with_noise(pool)
    got = recorded.run(inputs)
    assert got is not None
    torch.testing.assert_close(got, ordinary_logits(model, pool, inputs), rtol=1e-5, atol=1e-5)


def test_more_requests_or_pages_than_recorded_run_without(model: Any) -> None:
    pool, inputs = decode_inputs(model, (9, 4, 13, 2, 1))
    recorded = graphs(model, empty_pool(model, pool.pages + 20), call_it)
    assert recorded.run(inputs) is None
    pool, inputs = decode_inputs(model, (PAGE * 7,))
    assert recorded.run(inputs) is None


def test_verifying_leaves_the_memory_clean(model: Any) -> None:
    pool = empty_pool(model, 26)
    graphs(model, pool, call_it)
    for tensor in (*pool.keys.values(), *pool.values.values()):
        assert not tensor[:-1].any()


def test_a_recording_that_ignores_its_inputs_is_not_used(
    model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def freeze(static: StaticDecode) -> Replay:
        logits = static.forward()
        return lambda: logits

    assert graphs(model, empty_pool(model, 26), freeze).sizes == ()
    assert "decode of 4 runs without a graph: its logits are off by" in caplog.text


def test_a_model_that_cannot_be_recorded_runs_without(
    model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(static: StaticDecode) -> Replay:
        raise RuntimeError("operation not permitted when stream is capturing")

    caplog.set_level(logging.WARNING, "stemfirst.kernels")
    assert graphs(model, empty_pool(model, 26), refuse).sizes == ()
    assert "operation not permitted when stream is capturing" in caplog.text


class TestOnADevice:
    pytestmark = needs_device

    def test_recorded_graphs_give_an_ordinary_steps_logits(self, model: Any) -> None:
        pool, inputs = decode_inputs(model, (9, 4, 13))
        recorded = graphs(model, pool, CudaCapture())
        assert recorded.sizes == (1, 2, 4)
        fill_with_noise(pool)
        got = recorded.run(inputs)
        assert got is not None
        expected = ordinary_logits(model, pool, inputs)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
