"""In deterministic mode a request has the same numbers, bit for bit, whatever else is there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from architectures import SERVED
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.handle import Handle
from stemfirst_server.engine.request import (
    Completion,
    GenerationRequest,
    SamplingParams,
    token_array,
)
from stemfirst_server.errors import ConfigError
from stemfirst_server.model import cascade
from stemfirst_server.model.loading import load_model

_ids = itertools.count()
Numbers = list[tuple[int, tuple[tuple[int, float], ...]]]


def ask(engine: Engine, prompt: list[int], new_tokens: int = 6) -> Handle:
    sampling = SamplingParams(max_tokens=new_tokens, temperature=0, ignore_eos=True, logprobs=199)
    return engine.submit(GenerationRequest(f"r{next(_ids)}", token_array(prompt), sampling))


def numbers(done: Completion) -> Numbers:
    """Return each token with the log-probability of every other, as exact floats."""
    return [
        (event.token_id, tuple((c.token_id, c.logprob) for c in event.top_logprobs))
        for event in done.tokens
    ]


StartEngine = Callable[..., Engine]


def starter(folder: Path, dtype: str) -> Iterator[StartEngine]:
    loaded = load_model(str(folder), device="cpu", dtype=dtype)
    engines: list[Engine] = []

    def make(**settings: int | bool) -> Engine:
        given = {"page": 4, "chunk_tokens": 16, "pool_tokens": 2048, "is_checked": True} | settings
        engine = Engine(loaded, EngineConfig(**given))  # type: ignore[arg-type]
        engine.start()
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.check()
        assert engine.stop(timeout=20)


@pytest.fixture(autouse=True)
def _everything_is_worth_sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "LEAST_SAVED_TOKENS", 1)


@pytest.fixture(params=["float32", "bfloat16"])
def start(
    request: pytest.FixtureRequest, small_folder: Callable[[str], Path]
) -> Iterator[StartEngine]:
    yield from starter(small_folder("llama"), request.param)


# Windows, sinks, softcap, values of another width, and experts.
QUICK = ("gpt_oss", "gemma2", "deepseek_v3", "mixtral")


@pytest.fixture(
    params=[
        pytest.param(kind, marks=[] if kind in QUICK else [pytest.mark.long]) for kind in SERVED
    ]
)
def start_other(
    request: pytest.FixtureRequest, small_folder: Callable[[str], Path]
) -> Iterator[StartEngine]:
    """Every family, in half precision."""
    yield from starter(small_folder(request.param), "bfloat16")


def prompts() -> list[list[int]]:
    rng = np.random.default_rng(8)

    def text(count: int) -> list[int]:
        return rng.integers(2, 199, count).tolist()

    stem = text(43)
    return [stem, stem + text(30), stem[:32], stem[:35] + text(9), text(5), stem + text(1)]


def alone_and_cold(start: StartEngine, asked: list[list[int]]) -> list[Numbers]:
    engine = start(is_deterministic=True, has_prefix_cache=False)
    return [numbers(ask(engine, prompt).result(timeout=60)) for prompt in asked]


def test_cold_warm_alone_and_among_others_are_equal_bit_for_bit(start: StartEngine) -> None:
    assert_equal_bit_for_bit(start)


def test_other_families_are_equal_bit_for_bit_too(start_other: StartEngine) -> None:
    assert_equal_bit_for_bit(start_other)


def assert_equal_bit_for_bit(start: StartEngine) -> None:
    asked = prompts()
    expected = alone_and_cold(start, asked)
    engine = start(is_deterministic=True)
    for _ in range(2):
        for prompt, want in zip(asked, expected, strict=True):
            assert numbers(ask(engine, prompt).result(timeout=60)) == want
    handles = [ask(engine, prompt) for prompt in asked + asked[::-1]]
    hits = 0
    for handle, want in zip(handles, expected + expected[::-1], strict=True):
        done = handle.result(timeout=60)
        assert numbers(done) == want
        assert done.finish.report.cached_tokens % 16 == 0, "cut at whole chunks"
        hits += done.finish.report.cached_tokens
    assert hits > 200


def test_a_turn_that_repeats_an_answer_is_computed_as_if_it_were_new(start: StartEngine) -> None:
    prompt = prompts()[0]
    engine = start(is_deterministic=True)
    answer = ask(engine, prompt, new_tokens=25).result(timeout=60)
    turn = prompt + list(answer.token_ids) + [7, 8, 9]
    (expected,) = alone_and_cold(start, [turn])
    assert numbers(ask(engine, turn).result(timeout=60)) == expected
    # And the other way: what was computed as a prompt serves nobody's answer.
    assert numbers(ask(engine, prompt, new_tokens=25).result(timeout=60)) == numbers(answer)


def test_preemption_and_eviction_change_no_bit(start: StartEngine) -> None:
    asked = [np.random.default_rng(n).integers(2, 199, 18).tolist() for n in range(6)]
    engine = start(is_deterministic=True, has_prefix_cache=False)
    expected = [numbers(ask(engine, p, new_tokens=40).result(timeout=60)) for p in asked]
    scarce = start(is_deterministic=True, pool_tokens=128)
    handles = [ask(scarce, prompt, new_tokens=40) for prompt in asked]
    for handle, want in zip(handles, expected, strict=True):
        assert numbers(handle.result(timeout=60)) == want
    assert scarce.stats().preemptions > 0


def test_without_the_mode_the_same_traffic_does_differ(start: StartEngine) -> None:
    """The comparison can fail: shapes do change the last bits."""
    asked = prompts()
    expected = alone_and_cold(start, asked)
    engine = start()
    handles = [ask(engine, prompt) for prompt in asked + asked]
    got = [numbers(handle.result(timeout=60)) for handle in handles]
    assert got != expected + expected


def test_a_divergence_is_reported_where_it_is_and_not_where_the_match_is_cut(
    start: StartEngine,
) -> None:
    engine = start(is_deterministic=True)
    stem = prompts()[1][:64]
    ask(engine, stem).result(timeout=60)
    other = [*stem[:41], (stem[41] + 1) % 190 + 2, *stem[42:]]
    report = ask(engine, other).result(timeout=60).finish.report
    assert report.cached_tokens == 32
    assert report.divergence_token == 41
    assert report.is_diverged


def test_chunks_must_be_whole_pages() -> None:
    with pytest.raises(ConfigError, match="multiple of the page of 16 tokens, got 40"):
        EngineConfig(chunk_tokens=40, is_deterministic=True)
