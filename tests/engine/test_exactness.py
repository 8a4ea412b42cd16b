"""Greedy output through the cache is the model's own, token for token, in float32."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.handle import Handle
from stemfirst_server.engine.request import (
    FinishReason,
    GenerationRequest,
    SamplingParams,
    token_array,
)
from stemfirst_server.model import cascade
from transformers import AutoModelForCausalLM

NEW_TOKENS = 8
CLOSE = 1e-4
MODELS = ["llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3_text", "phi3", "gpt_oss"]


class Reference:
    """What the model itself generates, with the distance between its two best at each step."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        self.compared = 0
        self.close_calls = 0

    def generate(self, prompt: list[int]) -> tuple[list[int], list[float]]:
        ids = torch.tensor([prompt])
        out = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        best = torch.stack(out.logits)[:, 0].topk(2).values
        return out.sequences[0, len(prompt) :].tolist(), (best[:, 0] - best[:, 1]).tolist()

    def assert_same(self, prompt: list[int], got: tuple[int, ...]) -> None:
        expected, gaps = self.generate(prompt)
        for index, (token, want) in enumerate(zip(got, expected, strict=True)):
            self.compared += 1
            if token != want:
                # From a near tie on, the two texts are different prompts.
                assert gaps[index] < CLOSE, f"token {index} is {token}, the model says {want}"
                self.close_calls += 1
                return


@pytest.fixture(scope="module")
def reference(small_folder: Callable[[str], Path]) -> Callable[[str], Reference]:
    made: dict[str, Reference] = {}

    def get(model_type: str) -> Reference:
        if model_type not in made:
            made[model_type] = Reference(small_folder(model_type))
        return made[model_type]

    return get


_ids = itertools.count()


def ask(engine: Engine, prompt: list[int], **changes: object) -> Handle:
    sampling = SamplingParams(max_tokens=NEW_TOKENS, temperature=0, ignore_eos=True)
    return engine.submit(
        GenerationRequest(f"r{next(_ids)}", token_array(prompt), sampling, **changes)  # type: ignore[arg-type]
    )


def prompts() -> list[list[int]]:
    """Return prompts that share nothing, something, a page's edge, and all."""
    rng = np.random.default_rng(3)

    def text(count: int) -> list[int]:
        return rng.integers(2, 199, count).tolist()

    stem, branch = text(48), text(23)
    return [
        text(1),
        text(16),
        text(37),
        stem + text(9),
        stem + branch + text(1),
        stem + branch + text(20),
        stem,
        stem[:33] + text(30),
        text(90),
    ]


@pytest.mark.parametrize("page", [1, 16])
@pytest.mark.parametrize("model_type", MODELS)
def test_cold_warm_and_batched_output_equals_generate(
    model_type: str,
    page: int,
    start_engine: Callable[..., Engine],
    reference: Callable[[str], Reference],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cascade, "LEAST_SAVED_TOKENS", 1)
    own = reference(model_type)
    engine = start_engine(model_type, page=page, chunk_tokens=21)
    asked = prompts()
    for prompt in asked:
        own.assert_same(prompt, ask(engine, prompt).result(timeout=60).token_ids)
    hits = 0
    for prompt in asked:
        warm = ask(engine, prompt).result(timeout=60)
        hits += warm.finish.report.cached_tokens
        assert warm.finish.report.cached_tokens == (len(prompt) - 1) // page * page
        own.assert_same(prompt, warm.token_ids)
    assert hits > 200
    # All at once, half of them grown: chunks, hits and decodes stand in the same steps.
    grown = [prompt + asked[1] if i % 2 else prompt for i, prompt in enumerate(asked)]
    handles = [ask(engine, prompt) for prompt in grown]
    for prompt, handle in zip(grown, handles, strict=True):
        own.assert_same(prompt, handle.result(timeout=60).token_ids)
    assert own.compared > 100
    assert own.close_calls <= own.compared // 50


def test_batch_on_a_cold_cache_equals_generate(
    start_engine: Callable[..., Engine], reference: Callable[[str], Reference]
) -> None:
    own = reference("llama")
    engine = start_engine("llama", page=4, chunk_tokens=30)
    asked = prompts()
    handles = [ask(engine, prompt) for prompt in asked + asked[::-1]]
    for prompt, handle in zip(asked + asked[::-1], handles, strict=True):
        own.assert_same(prompt, handle.result(timeout=60).token_ids)


def test_output_survives_preemption_and_eviction(
    start_engine: Callable[..., Engine], reference: Callable[[str], Reference]
) -> None:
    own = reference("llama")
    # Too small for all of them: 9 prompts of up to 92 tokens, each with 8 more.
    engine = start_engine("llama", page=4, pool_tokens=112, chunk_tokens=16)
    asked = prompts()
    for _ in range(2):
        handles = [ask(engine, prompt) for prompt in asked]
        for prompt, handle in zip(asked, handles, strict=True):
            done = handle.result(timeout=60)
            assert done.finish.reason is FinishReason.LENGTH
            report = done.finish.report
            assert report.cached_tokens + report.computed_tokens == len(prompt)
            own.assert_same(prompt, done.token_ids)
    assert engine.stats().evicted_pages > 0


def test_a_request_that_may_not_touch_the_cache_neither_reads_nor_writes(
    start_engine: Callable[..., Engine], reference: Callable[[str], Reference]
) -> None:
    own = reference("llama")
    engine = start_engine("llama")
    prompt = prompts()[8]
    shadow = ask(engine, prompt, can_read_cache=False, can_write_cache=False).result(timeout=60)
    assert engine.stats().pages_cached == 0
    ask(engine, prompt).result(timeout=60)
    cached = engine.stats().pages_cached
    again = ask(engine, prompt, can_read_cache=False, can_write_cache=False).result(timeout=60)
    assert again.finish.report.cached_tokens == 0
    assert again.finish.report.cache_write_tokens == 0
    assert engine.stats().pages_cached == cached
    for done in (shadow, again):
        own.assert_same(prompt, done.token_ids)


@pytest.mark.parametrize("seed", range(3))
def test_random_traffic_with_aborts_and_scarce_memory_changes_no_answer(
    seed: int, start_engine: Callable[..., Engine]
) -> None:
    """Stems and turns come again and again; each answer is that of the same engine, uncached."""
    rng = np.random.default_rng(seed)
    engine = start_engine("llama", page=4, pool_tokens=192, chunk_tokens=18, max_running=6)
    stems = [rng.integers(2, 199, 40).tolist() for _ in range(2)]
    asked = [
        stems[rng.integers(2)][: rng.integers(1, 41)]
        + rng.integers(2, 199, rng.integers(1, 25)).tolist()
        for _ in range(30)
    ]
    handles = [ask(engine, prompt) for prompt in asked]
    for handle in handles:
        if rng.random() < 0.3:
            handle.abort()
    done = [handle.result(timeout=60) for handle in handles]
    plain = start_engine("llama", has_prefix_cache=False)
    compared = different = 0
    for prompt, answer in zip(asked, done, strict=True):
        expected = ask(plain, prompt).result(timeout=60).token_ids
        assert answer.finish.reason in (FinishReason.LENGTH, FinishReason.ABORT)
        compared += 1
        different += answer.token_ids != expected[: len(answer.token_ids)]
    assert compared == 30
    assert different == 0
    assert engine.stats().evicted_pages > 0
    assert engine.stats().cached_tokens > 0
