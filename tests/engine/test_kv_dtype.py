"""KV in eight bits: its error is known, its memory as promised, and hits change nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import SERVED
from stemfirst_server.engine.config import EngineConfig, KVDtype
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.handle import Handle
from stemfirst_server.engine.request import (
    FinishReason,
    GenerationRequest,
    SamplingParams,
    token_array,
)
from stemfirst_server.errors import UnsupportedModelError
from stemfirst_server.memory.pool import KVPool, LayerShape
from stemfirst_server.memory.quantized import QuantizedPool, kv_bytes_per_token, make_pool
from stemfirst_server.model import cascade, gates
from stemfirst_server.model.loading import LoadedModel, load_model
from stemfirst_server.tiers.fingerprint import fingerprint

EIGHT_BITS = [KVDtype.INT8, KVDtype.FP8]
SHAPES = {0: LayerShape(kv_heads=2, key_width=16, value_width=12), 1: LayerShape(1, 8, 8)}
_ids = itertools.count()


def pool_of(kv_dtype: KVDtype, dtype: torch.dtype = torch.float32, pages: int = 6) -> KVPool:
    return make_pool(SHAPES, kv_dtype, pages=pages, page=4, dtype=dtype, device=torch.device("cpu"))


def noise(layer: int, tokens: int, factor: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    shape, generator = SHAPES[layer], torch.Generator().manual_seed(tokens)
    key = torch.randn(shape.kv_heads, tokens, shape.key_width, generator=generator)
    value = torch.randn(shape.kv_heads, tokens, shape.value_width, generator=generator)
    return key * factor, value * factor


# Of the largest number of a head: half a step of 127, and half of the last of three bits.
ROUNDING = {KVDtype.INT8: 0.5 / 127, KVDtype.FP8: 1 / 16}


@pytest.mark.parametrize("factor", [1e-6, 1.0, 3e4], ids=["tiny", "usual", "huge"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kv_dtype", EIGHT_BITS)
def test_what_is_read_is_what_was_written_up_to_eight_bits(
    kv_dtype: KVDtype, dtype: torch.dtype, factor: float
) -> None:
    pool = pool_of(kv_dtype, dtype)
    pages = torch.tensor([4, 1, 3])
    slots = (pages[:, None] * 4 + torch.arange(4)).flatten()
    for layer in SHAPES:
        key, value = noise(layer, 12, factor)
        pool.write(layer, slots, key.to(dtype), value.to(dtype))
        for which, given in (("keys", key), ("values", value)):
            got = pool.gather(which, layer, pages)
            assert got.dtype is dtype
            want = given.transpose(0, 1)
            largest = want.abs().amax(-1, keepdim=True)
            slack = 1.01 if dtype is torch.float32 else 2.5
            assert ((got.float() - want).abs() <= largest * ROUNDING[kv_dtype] * slack).all()


def test_every_bit_pattern_of_fp8_is_read_as_torch_reads_it() -> None:
    bits = torch.arange(256, dtype=torch.uint8)
    numbers = bits.view(torch.float8_e4m3fn).float()
    pool = make_pool(
        {0: LayerShape(1, 256, 1)},
        KVDtype.FP8,
        pages=1,
        page=1,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    assert isinstance(pool, QuantizedPool)
    pool.keys[0].copy_(bits.view(torch.int8).view(1, 1, 1, 256))
    pool.key_scales[0].fill_(1.0)
    got = pool.gather("keys", 0, torch.tensor([0])).flatten()
    is_number = numbers.isfinite()  # the two others are never written
    assert torch.equal(got[is_number], numbers[is_number])


@pytest.mark.parametrize("kv_dtype", EIGHT_BITS)
def test_zeros_stay_zeros_and_what_is_not_finite_stays_so(kv_dtype: KVDtype) -> None:
    pool = pool_of(kv_dtype)
    key, value = noise(0, 3)
    key[:, 0], key[0, 1, 5], key[0, 2, 5] = 0.0, float("nan"), float("inf")
    pool.write(0, torch.arange(3), key, value)
    got = pool.gather("keys", 0, torch.tensor([0]))
    assert not got[0].any()
    assert not got[1, 0].isfinite().all()
    assert not got[2, 0].isfinite().all()
    assert got[1:3, 1].isfinite().all(), "the other head is unharmed"
    pool.clear(torch.tensor([0]))
    assert not pool.gather("keys", 0, torch.tensor([0])).any()


def test_memory_is_what_the_arithmetic_says() -> None:
    for kv_dtype in KVDtype:
        pool = pool_of(kv_dtype, torch.bfloat16, pages=8)
        taken = sum(tensor.nbytes for tensor in pool.tensors())
        per_token = kv_bytes_per_token(SHAPES, kv_dtype, model_dtype=torch.bfloat16)
        assert taken == 8 * 4 * per_token
    assert kv_bytes_per_token(SHAPES, KVDtype.AUTO, model_dtype=torch.float32) == 4 * 72
    assert kv_bytes_per_token(SHAPES, KVDtype.INT8, model_dtype=torch.float32) == 72 + 4 * 6


def test_the_same_free_memory_holds_more_tokens(
    load_small: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stemfirst_server.memory import size

    monkeypatch.setattr(size, "free_bytes", lambda _: 20 * 2**20)
    plain = Engine(load_small("llama"), EngineConfig())
    eight = Engine(load_small("llama"), EngineConfig(kv_dtype=KVDtype.INT8))
    # A head of 16 float32 numbers takes 64 bytes, or 16 and a scale of 4.
    assert plain.info.kv_bytes_per_token / eight.info.kv_bytes_per_token == 64 / 20
    assert eight.stats().pages_total / plain.stats().pages_total == pytest.approx(3.2, rel=0.01)


def submit(engine: Engine, prompt: list[int], **changes: Any) -> Handle:
    params = {"max_tokens": 12, "temperature": 0.0, "ignore_eos": True} | changes
    return engine.submit(
        GenerationRequest(f"r{next(_ids)}", token_array(prompt), SamplingParams(**params))
    )


def prompts(count: int) -> list[list[int]]:
    rng = np.random.default_rng(4)
    stem = rng.integers(2, 199, 40).tolist()
    return [
        stem[: rng.integers(1, 41)] + rng.integers(2, 199, rng.integers(1, 25)).tolist()
        for _ in range(count)
    ]


@pytest.mark.parametrize("model_type", ["llama", "gpt_oss"])
@pytest.mark.parametrize("kv_dtype", EIGHT_BITS)
def test_a_hit_reads_what_the_first_request_read(
    kv_dtype: KVDtype,
    model_type: str,
    start_engine: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cached equals uncached in eight bits too, with chunks, evictions and preemptions."""
    monkeypatch.setattr(cascade, "LEAST_SAVED_TOKENS", 1)
    shared = {"kv_dtype": kv_dtype, "page": 4}
    plain = start_engine(model_type, has_prefix_cache=False, **shared)
    engine = start_engine(model_type, pool_tokens=160, chunk_tokens=19, max_running=6, **shared)
    asked = prompts(16)
    handles = [submit(engine, prompt) for prompt in asked]
    differing = 0
    for prompt, handle in zip(asked, handles, strict=True):
        want = submit(plain, prompt).result(timeout=60).token_ids
        differing += handle.result(timeout=60).token_ids != want
    # Rounding of another batch shape may tip a number over to the next of its 255 steps.
    assert differing <= 1
    stats = engine.stats()
    assert min(stats.cached_tokens, stats.evicted_pages) > 0


@pytest.fixture
def deterministic(small_folder: Callable[[str], Path]) -> Iterator[Callable[..., Engine]]:
    loaded = load_model(str(small_folder("llama")), device="cpu", dtype="bfloat16")
    engines: list[Engine] = []

    def start(**settings: Any) -> Engine:
        given = {"page": 4, "chunk_tokens": 16, "pool_tokens": 1024, "is_deterministic": True}
        engines.append(Engine(loaded, EngineConfig(**(given | settings))))
        engines[-1].start()
        return engines[-1]

    yield start
    for engine in engines:
        assert engine.stop(timeout=20)


@pytest.mark.parametrize("kv_dtype", EIGHT_BITS)
def test_deterministic_mode_holds_in_eight_bits(
    kv_dtype: KVDtype, deterministic: Callable[..., Engine]
) -> None:
    cold = deterministic(kv_dtype=kv_dtype, has_prefix_cache=False)
    warm = deterministic(kv_dtype=kv_dtype)
    asked = prompts(6)
    expected = [submit(cold, p, logprobs=199).result(timeout=60).tokens for p in asked]
    for _ in range(2):
        handles = [submit(warm, p, logprobs=199) for p in asked]
        assert [handle.result(timeout=60).tokens for handle in handles] == expected
    assert warm.stats().cached_tokens > 0


@pytest.mark.parametrize("kv_dtype", EIGHT_BITS)
def test_guesses_change_no_answer_in_eight_bits(
    kv_dtype: KVDtype, start_engine: Callable[..., Engine]
) -> None:
    plain = start_engine(kv_dtype=kv_dtype)
    guessing = start_engine(kv_dtype=kv_dtype, speculate_tokens=6)
    for prompt in ([5, 6, 7] * 4, [9] * 8, prompts(1)[0]):
        want = submit(plain, prompt, max_tokens=60).result(timeout=60).token_ids
        assert submit(guessing, prompt, max_tokens=60).result(timeout=60).token_ids == want
    assert guessing.stats().accepted_tokens > 0


def test_the_error_is_measured_at_load_and_int8_is_the_smaller_one(
    load_small: Callable[[str], LoadedModel], caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load_small("llama")
    found = {k: gates.check_kv_dtype(loaded.model, loaded.shapes, k) for k in EIGHT_BITS}
    int8, fp8 = found[KVDtype.INT8], found[KVDtype.FP8]
    assert 0 < int8.median < 0.02 < fp8.median < 0.1
    assert int8.median <= int8.largest
    assert int8.agreement > 0.9
    with caplog.at_level("INFO", "stemfirst.engine"):
        Engine(loaded, EngineConfig(pool_tokens=64, kv_dtype=KVDtype.INT8))
    assert "KV in int8 moves logits by" in caplog.text


def test_kept_on_disk_the_two_kinds_of_bytes_are_not_taken_for_each_other(
    load_small: Callable[[str], LoadedModel],
) -> None:
    loaded = load_small("llama")
    named = set()
    for kv_dtype in KVDtype:
        config = EngineConfig(page=4, kv_dtype=kv_dtype)
        pool = make_pool(
            loaded.shapes,
            kv_dtype,
            pages=2,
            page=4,
            dtype=torch.float32,
            device=torch.device("cpu"),
        )
        named.add(fingerprint(loaded.model, pool, config))
    assert len(named) == 3


@pytest.mark.parametrize("model_type", SERVED)
def test_every_family_bears_eight_bits(
    model_type: str, load_small: Callable[[str], LoadedModel]
) -> None:
    loaded = load_small(model_type)
    assert gates.check_kv_dtype(loaded.model, loaded.shapes, KVDtype.INT8).median < 0.025
    assert gates.check_kv_dtype(loaded.model, loaded.shapes, KVDtype.FP8).median < 0.16


def test_a_model_that_does_not_bear_it_is_refused(
    load_small: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One channel of keys that is far larger than the others takes all steps of a scale."""
    loaded = load_small("qwen2")  # has biases
    biases = [layer.self_attn.k_proj.bias for layer in loaded.model.model.layers]
    before = [bias.detach().clone() for bias in biases]
    with torch.no_grad():
        for bias in biases:
            bias[::16] += 3000.0
    try:
        with pytest.raises(UnsupportedModelError, match="does not bear its KV in int8"):
            Engine(loaded, EngineConfig(pool_tokens=64, kv_dtype=KVDtype.INT8))
    finally:
        with torch.no_grad():
            for bias, value in zip(biases, before, strict=True):
                bias.copy_(value)
    done = Engine(loaded, EngineConfig(pool_tokens=64, kv_dtype=KVDtype.INT8))
    assert done.info.context_tokens == 64


def test_numbers_that_are_not_finite_fail_their_request_only(
    start_engine: Callable[..., Engine], load_small: Callable[[str], LoadedModel]
) -> None:
    engine = start_engine(page=4, pool_tokens=64, kv_dtype=KVDtype.INT8)
    prompt = [token for token in prompts(1)[0] if token != 198]
    clean = submit(engine, prompt).result(timeout=60).token_ids
    engine.flush()
    embedding = load_small("llama").model.get_input_embeddings().weight
    before = embedding[198].clone()
    with torch.no_grad():
        embedding[198] = float("nan")
    try:
        failed = submit(engine, [198, *range(2, 40)]).result(timeout=60).finish
        assert failed.reason is FinishReason.ERROR
    finally:
        with torch.no_grad():
            embedding[198] = before
    engine.flush()
    assert submit(engine, prompt).result(timeout=60).token_ids == clean
