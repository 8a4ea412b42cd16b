"""The engine's promises: sharing, isolation, honest reports, and one fault stays one fault."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.handle import Handle
from stemfirst_server.engine.request import (
    Completion,
    Event,
    FinishEvent,
    FinishReason,
    GenerationRequest,
    SamplingParams,
    TokenEvent,
    token_array,
)
from stemfirst_server.engine.sampling import Sampler
from stemfirst_server.errors import (
    ConfigError,
    ContextLengthError,
    EngineStoppedError,
    InvalidRequestError,
)

_ids = itertools.count()


def text(count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(2, 199, count).tolist()


def submit(
    engine: Engine,
    prompt: list[int],
    *,
    request_id: str | None = None,
    namespace: str = "",
    on_event: Callable[[Event], None] | None = None,
    **sampling: Any,
) -> Handle:
    params = {"max_tokens": 4, "temperature": 0.0, "ignore_eos": True} | sampling
    request = GenerationRequest(
        request_id or f"r{next(_ids)}",
        token_array(prompt),
        SamplingParams(**params),
        namespace=namespace,
    )
    return engine.submit(request, on_event)


def ask(engine: Engine, prompt: list[int], **changes: Any) -> Completion:
    return submit(engine, prompt, **changes).result(timeout=60)


def hold(engine: Engine) -> threading.Event:
    """Keep the engine's thread busy until the event is set, so that requests pile up."""
    release = threading.Event()

    def wait(event: Event) -> None:
        if isinstance(event, FinishEvent):
            release.wait(30)

    submit(engine, [5], max_tokens=1, on_event=wait, namespace="gate")
    deadline = time.monotonic() + 30
    while engine.stats().requests_finished["length"] == 0:
        assert time.monotonic() < deadline
    return release


StartEngine = Callable[..., Engine]


def test_a_report_accounts_for_every_prompt_token(start_engine: StartEngine) -> None:
    engine = start_engine(page=16, chunk_tokens=32)
    prompt = text(100)
    cold = ask(engine, prompt).finish.report
    assert (cold.prompt_tokens, cold.cached_tokens, cold.computed_tokens) == (100, 0, 100)
    assert cold.cache_write_tokens == 96
    assert (cold.divergence_token, cold.is_diverged) == (0, False)
    spans = [(s.context_tokens, s.new_tokens, s.is_alone) for s in cold.chunks]
    assert spans == [(0, 32, True), (32, 32, True), (64, 32, True), (96, 4, True)]
    assert cold.prefill_ms == pytest.approx(sum(s.ms for s in cold.chunks))
    assert cold.ttft_ms is not None
    assert 0 < cold.prefill_ms <= cold.ttft_ms <= cold.total_ms
    assert cold.output_tokens == 4
    assert cold.decode_ms > 0

    changed = [*prompt[:53], 1, *prompt[54:]]
    warm = ask(engine, changed).finish.report
    assert (warm.cached_tokens, warm.computed_tokens) == (48, 52)
    assert (warm.divergence_token, warm.is_diverged) == (53, True)
    assert warm.cache_write_tokens == 48


def test_a_full_hit_computes_its_last_token(start_engine: StartEngine) -> None:
    engine = start_engine(page=1)
    prompt = text(40)
    cold = ask(engine, prompt)
    warm = ask(engine, prompt)
    assert warm.finish.report.cached_tokens == 39
    assert warm.finish.report.computed_tokens == 1
    assert warm.finish.report.divergence_token == 40
    assert warm.token_ids == cold.token_ids


def test_an_answer_is_cached_for_the_next_turn(start_engine: StartEngine) -> None:
    engine = start_engine(page=4)
    prompt = text(20)
    answer = ask(engine, prompt, max_tokens=9).token_ids
    following = ask(engine, [*prompt, *answer, *text(5, seed=1)]).finish.report
    assert following.cached_tokens == 28  # the last token of an answer was never fed back


@pytest.mark.parametrize("chunk_tokens", [32, 512], ids=["in chunks", "all in one step"])
def test_a_prefix_in_flight_is_computed_once(start_engine: StartEngine, chunk_tokens: int) -> None:
    engine = start_engine(page=16, chunk_tokens=chunk_tokens)
    stem = text(128)
    release = hold(engine)
    handles = [submit(engine, stem + text(10, seed=n)) for n in range(1, 6)]
    release.set()
    reports = [handle.result(timeout=60).finish.report for handle in handles]
    assert sum(report.computed_tokens for report in reports) == 128 + 5 * 10
    assert [report.cached_tokens for report in reports].count(0) == 1


def test_namespaces_share_nothing(start_engine: StartEngine) -> None:
    engine = start_engine()
    prompt = text(64)
    ask(engine, prompt, namespace="a")
    assert ask(engine, prompt, namespace="b").finish.report.cached_tokens == 0
    assert ask(engine, prompt, namespace="a").finish.report.cached_tokens == 48


def test_without_a_prefix_cache_nothing_is_kept(start_engine: StartEngine) -> None:
    engine = start_engine(has_prefix_cache=False)
    prompt = text(64)
    for _ in range(2):
        report = ask(engine, prompt).finish.report
        assert (report.cached_tokens, report.cache_write_tokens) == (0, 0)
    assert engine.stats().pages_cached == 0


def test_requests_mix_in_one_step(start_engine: StartEngine) -> None:
    engine = start_engine(chunk_tokens=32)
    release = hold(engine)
    handles = [submit(engine, text(40 + n, seed=n), max_tokens=20) for n in range(8)]
    release.set()
    steps = engine.stats().steps
    done = [handle.result(timeout=60) for handle in handles]
    assert all(len(answer.token_ids) == 20 for answer in done)
    assert engine.stats().steps - steps < 60, "one at a time they would take 170"


def test_an_abort_ends_a_request_once_and_caches_no_output(start_engine: StartEngine) -> None:
    engine = start_engine(page=4)
    events: list[Event] = []
    is_over = threading.Event()

    def note(event: Event) -> None:
        events.append(event)
        if isinstance(event, FinishEvent):
            is_over.set()
        elif event.index == 5:
            engine.abort("a")
            engine.abort("a")

    submit(engine, text(30), request_id="a", on_event=note, max_tokens=400)
    assert is_over.wait(30)
    engine.abort("a")
    engine.check()
    finishes = [event for event in events if isinstance(event, FinishEvent)]
    assert [finish.reason for finish in finishes] == [FinishReason.ABORT]
    assert finishes[0].report.output_tokens >= 6
    assert engine.stats().pages_cached == 30 // 4
    assert engine.stats().pages_held == 0


def test_a_waiting_request_can_be_aborted(start_engine: StartEngine) -> None:
    engine = start_engine(max_running=1)
    release = hold(engine)
    first = submit(engine, text(20), max_tokens=30)
    second = submit(engine, text(20, seed=1))
    second.abort()
    release.set()
    assert second.result(timeout=60).finish.reason is FinishReason.ABORT
    assert first.result(timeout=60).finish.reason is FinishReason.LENGTH


def test_decodes_that_outgrow_the_pool_take_turns(start_engine: StartEngine) -> None:
    engine = start_engine(page=4, pool_tokens=96)
    release = hold(engine)
    handles = [submit(engine, text(16, seed=n), max_tokens=60) for n in range(4)]
    release.set()
    done = [handle.result(timeout=60) for handle in handles]
    assert sum(answer.finish.report.preemptions for answer in done) > 0
    assert engine.stats().preemptions > 0
    for answer in done:
        report = answer.finish.report
        assert len(answer.token_ids) == 60
        assert report.cached_tokens + report.computed_tokens == 16
    alone = start_engine(page=4, pool_tokens=96)
    for n, answer in enumerate(done):
        assert ask(alone, text(16, seed=n), max_tokens=60).token_ids == answer.token_ids


@pytest.mark.parametrize(
    ("prompt", "sampling", "error", "said"),
    [
        pytest.param([], {}, InvalidRequestError, "the prompt is empty", id="empty"),
        pytest.param([199], {}, InvalidRequestError, "not in the vocabulary of 199", id="vocab"),
        pytest.param([5] * 512, {}, ContextLengthError, "the context of 512 tokens", id="long"),
        pytest.param(
            [5] * 500,
            {"max_tokens": 13},
            ContextLengthError,
            "500 tokens and at least 13",
            id="out",
        ),
    ],
)
def test_a_request_that_cannot_succeed_is_refused_at_once(
    start_engine: StartEngine,
    prompt: list[int],
    sampling: dict[str, Any],
    error: type[Exception],
    said: str,
) -> None:
    engine = start_engine()
    with pytest.raises(error, match=said):
        submit(engine, prompt, **sampling)
    assert ask(engine, [5]).finish.reason is FinishReason.LENGTH


def test_a_prompt_longer_than_the_pool_is_refused_and_not_waited_for(
    start_engine: StartEngine,
) -> None:
    engine = start_engine(pool_tokens=64)
    assert engine.info.context_tokens == 64
    with pytest.raises(ContextLengthError, match="the context of 64 tokens"):
        submit(engine, text(64))
    assert len(ask(engine, text(60)).token_ids) == 4


def test_an_id_in_use_is_refused(start_engine: StartEngine) -> None:
    engine = start_engine()
    release = hold(engine)
    first = submit(engine, text(5), request_id="same")
    with pytest.raises(InvalidRequestError, match="request id same is in use"):
        submit(engine, text(5), request_id="same")
    release.set()
    first.result(timeout=60)
    assert ask(engine, text(5), request_id="same").finish.reason is FinishReason.LENGTH


@pytest.mark.parametrize(
    "sampling",
    [
        pytest.param({"logit_bias": ((5000, 1.0),)}, id="a bias outside the vocabulary"),
        pytest.param({"logprobs": 5000}, id="more logprobs than tokens"),
    ],
)
def test_one_requests_sampling_fault_is_its_own(
    start_engine: StartEngine, sampling: dict[str, Any]
) -> None:
    engine = start_engine()
    release = hold(engine)
    good = submit(engine, text(20), max_tokens=10)
    bad = submit(engine, text(20, seed=1), **sampling)
    release.set()
    failed = bad.result(timeout=60).finish
    assert failed.reason is FinishReason.ERROR
    assert failed.error is not None
    assert "5000" in failed.error
    assert len(good.result(timeout=60).token_ids) == 10


def test_a_fault_of_our_own_in_one_requests_sampling_is_its_own(
    start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start_engine()
    choose = Sampler.choose

    def faulty(self: Sampler, logits: torch.Tensor, **given: Any) -> Any:
        if self.params.seed == 13:
            raise ZeroDivisionError("a bug of ours")
        return choose(self, logits, **given)

    monkeypatch.setattr(Sampler, "choose", faulty)
    release = hold(engine)
    good = submit(engine, text(20), max_tokens=10, temperature=1.0, seed=12)
    bad = submit(engine, text(20, seed=1), temperature=1.0, seed=13)
    release.set()
    failed = bad.result(timeout=60).finish
    assert failed.reason is FinishReason.ERROR
    assert failed.error == "the sampling parameters could not be applied"
    assert len(good.result(timeout=60).token_ids) == 10


@pytest.mark.parametrize(
    ("page", "pool_tokens", "chunk_tokens"),
    [(16, 71, 21), (16, 79, 5), (64, 130, 7), (8, 65, 64), (1, 67, 3)],
)
def test_a_page_that_divides_nothing_serves_nevertheless(
    page: int, pool_tokens: int, chunk_tokens: int, start_engine: StartEngine
) -> None:
    """Neither the pool, nor a chunk, nor a prompt is whole pages."""
    engine = start_engine(page=page, pool_tokens=pool_tokens, chunk_tokens=chunk_tokens)
    held = pool_tokens // page * page
    assert engine.info.context_tokens == held
    assert engine.stats().pages_total == pool_tokens // page
    plain = start_engine(has_prefix_cache=False)
    for length in (1, page + 1, held - 5, held - 4, held - 5):
        prompt = text(length)
        assert ask(engine, prompt).token_ids == ask(plain, prompt).token_ids
    assert engine.stats().cached_tokens > 0


@pytest.mark.parametrize("pool_tokens", [10**13, 10**30])
def test_a_pool_larger_than_any_memory_is_refused(
    pool_tokens: int, load_small: Callable[[str], Any]
) -> None:
    with pytest.raises(ConfigError, match="could not be allocated; lower --pool-tokens"):
        Engine(load_small("llama"), EngineConfig(pool_tokens=pool_tokens))


def test_numbers_that_are_not_finite_fail_one_request_and_poison_no_page(
    start_engine: StartEngine, load_small: Callable[[str], Any]
) -> None:
    engine = start_engine(page=4, pool_tokens=64)
    clean = ask(engine, text(30, seed=2), max_tokens=20).token_ids
    engine.flush()
    embedding = load_small("llama").model.get_input_embeddings().weight
    before = embedding[198].clone()
    with torch.no_grad():
        embedding[198] = float("nan")
    try:
        release = hold(engine)
        bad = submit(engine, [198, *text(25, seed=1)])
        good = submit(engine, [token for token in text(20) if token != 198])
        release.set()
        failed = bad.result(timeout=60).finish
        assert failed.reason is FinishReason.ERROR
        assert failed.error is not None
        assert "not finite" in failed.error
        assert good.result(timeout=60).finish.reason is FinishReason.LENGTH
        # The same pages go to the next request, which must not meet what was in them.
        engine.flush()
        assert engine.stats().pages_free == 16
    finally:
        with torch.no_grad():
            embedding[198] = before
    assert ask(engine, text(30, seed=2), max_tokens=20).token_ids == clean


def test_a_model_that_raises_fails_its_step_and_the_engine_goes_on(
    start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start_engine()
    run = engine._runner.run
    monkeypatch.setattr(engine._runner, "run", lambda _: 1 / 0)
    failed = ask(engine, text(20)).finish
    assert failed.reason is FinishReason.ERROR
    assert failed.error is not None
    assert "division" not in failed.error, "what a client reads tells nothing of our insides"
    monkeypatch.setattr(engine._runner, "run", run)
    assert ask(engine, text(20)).finish.reason is FinishReason.LENGTH


def test_only_the_request_that_the_model_raises_on_fails(
    start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start_engine()
    expected = [ask(engine, text(20, seed=n), max_tokens=8).token_ids for n in range(5)]
    engine.flush()
    run = engine._runner.run
    bad = text(20, seed=9)

    def raising(work: list[Any]) -> Any:
        for item in work:
            if item.sequence.request.token_ids.tolist() == bad:
                raise IndexError("a bug in the model's code")
        return run(work)

    monkeypatch.setattr(engine._runner, "run", raising)
    release = hold(engine)
    good = [submit(engine, text(20, seed=n), max_tokens=8) for n in range(5)]
    failing = submit(engine, bad)
    release.set()
    failed = failing.result(timeout=60).finish
    assert failed.reason is FinishReason.ERROR
    assert failed.error == "the model failed on this request; try again"
    assert [handle.result(timeout=60).token_ids for handle in good] == expected


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(torch.OutOfMemoryError("CUDA out of memory"), id="cuda"),
        pytest.param(RuntimeError("DefaultCPUAllocator: can't allocate memory"), id="cpu"),
    ],
)
def test_with_too_little_memory_the_batch_shrinks_and_everybody_is_answered(
    error: Exception, start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start_engine(page=4, chunk_tokens=64)
    prompts = [text(50, seed=n) for n in range(5)]
    expected = [ask(engine, prompt, max_tokens=8).token_ids for prompt in prompts]
    engine.flush()
    run = engine._runner.run
    refused: list[int] = []

    def scarce(work: list[Any]) -> Any:
        tokens = sum(item.new_tokens for item in work)
        if tokens > 13:
            refused.append(tokens)
            raise error
        return run(work)

    monkeypatch.setattr(engine._runner, "run", scarce)
    release = hold(engine)
    handles = [submit(engine, prompt, max_tokens=8) for prompt in prompts]
    release.set()
    for handle, want in zip(handles, expected, strict=True):
        done = handle.result(timeout=60)
        assert done.token_ids == want
        report = done.finish.report
        assert report.cached_tokens + report.computed_tokens == 50
    assert refused
    assert refused[-1] < refused[0], "what is planned shrinks too"


def test_a_request_that_finds_no_memory_at_all_is_told_so(
    start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start_engine()
    run = engine._runner.run
    bad = text(20, seed=9)

    def scarce(work: list[Any]) -> Any:
        for item in work:
            if item.sequence.request.token_ids.tolist() == bad:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return run(work)

    monkeypatch.setattr(engine._runner, "run", scarce)
    failed = ask(engine, bad).finish
    assert failed.reason is FinishReason.ERROR
    assert failed.error is not None
    assert "ran out of memory on this request" in failed.error
    assert ask(engine, text(20)).finish.reason is FinishReason.LENGTH


def test_a_listener_that_raises_ends_its_own_request(start_engine: StartEngine) -> None:
    engine = start_engine()

    def broken(event: Event) -> None:
        raise RuntimeError("the client is gone")

    submit(engine, text(20), on_event=broken, max_tokens=400)
    assert len(ask(engine, text(20, seed=1), max_tokens=10).token_ids) == 10
    deadline = time.monotonic() + 30
    while engine.stats().requests_finished["abort"] == 0:
        assert time.monotonic() < deadline


def test_stopping_ends_every_request(start_engine: StartEngine) -> None:
    engine = start_engine(max_running=2)
    release = hold(engine)
    handles = [submit(engine, text(20, seed=n), max_tokens=400) for n in range(4)]
    release.set()
    assert engine.stop(timeout=20)
    for handle in handles:
        assert handle.result(timeout=5).finish.reason is FinishReason.ABORT
    with pytest.raises(EngineStoppedError):
        submit(engine, text(5))
    with pytest.raises(EngineStoppedError):
        engine.measure_prefill(0, 16)


def test_a_broken_invariant_ends_the_engine_and_nobody_hangs(
    load_small: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(load_small("llama"), EngineConfig(pool_tokens=256, is_checked=True))
    engine.start()
    release = hold(engine)
    waiting = submit(engine, text(40))
    engine._cache.free_pages -= 1  # a page that nobody owns
    release.set()
    finish = waiting.result(timeout=30).finish
    assert finish.reason is FinishReason.ERROR
    assert finish.error == "the engine broke; restart the server"
    with pytest.raises(EngineStoppedError, match="the engine broke"):
        engine.check()
    with pytest.raises(EngineStoppedError):
        submit(engine, text(5))
    assert engine.stop(timeout=20)


def test_stop_tokens_end_an_answer_and_are_marked(start_engine: StartEngine) -> None:
    engine = start_engine()
    free = ask(engine, text(20), max_tokens=8, seed=3, temperature=1.0)
    stop = free.token_ids[3]
    first = free.token_ids.index(stop)
    done = ask(engine, text(20), max_tokens=8, seed=3, temperature=1.0, stop_token_ids=(stop,))
    assert done.finish.reason is FinishReason.STOP
    assert done.token_ids == free.token_ids[: first + 1]
    assert [event.is_stop for event in done.tokens] == [False] * first + [True]


def test_zero_tokens_read_the_prompt_into_the_cache(start_engine: StartEngine) -> None:
    engine = start_engine()
    done = ask(engine, text(64), max_tokens=0)
    assert done.tokens == ()
    assert (done.finish.reason, done.finish.report.ttft_ms) == (FinishReason.LENGTH, None)
    assert ask(engine, text(64)).finish.report.cached_tokens == 48


def test_a_seed_draws_the_same_tokens_alone_and_in_a_batch(start_engine: StartEngine) -> None:
    engine = start_engine()
    alone = ask(engine, text(20), max_tokens=12, temperature=1.0, seed=7).token_ids
    release = hold(engine)
    handles = [
        submit(engine, text(20), max_tokens=12, temperature=1.0, seed=seed)
        for seed in (5, 7, 6, None)
    ]
    release.set()
    drawn = [handle.result(timeout=60).token_ids for handle in handles]
    assert drawn[1] == alone
    assert len({*drawn}) == 4


def test_logprobs_are_the_models_own(start_engine: StartEngine) -> None:
    engine = start_engine()
    for event in ask(engine, text(20), logprobs=3, logit_bias=((7, 100.0),)).tokens:
        assert isinstance(event, TokenEvent)
        assert event.token_id == 7
        assert event.logprob is not None
        best = [candidate.logprob for candidate in event.top_logprobs]
        assert len(best) == 3
        assert best == sorted(best, reverse=True)
        assert event.logprob <= best[0] < 0


def test_measuring_leaves_every_page_free(start_engine: StartEngine) -> None:
    engine = start_engine(pool_tokens=512)
    assert engine.measure_prefill(128, 64) > 0
    assert engine.stats().pages_free == engine.stats().pages_total
    with pytest.raises(ConfigError, match="needs 38 free pages"):
        engine.measure_prefill(512, 96)
    with pytest.raises(ConfigError, match="at least 0 context"):
        engine.measure_prefill(-1, 96)


@pytest.mark.parametrize(
    ("name", "value"), [("page", 0), ("page", 12), ("pool_tokens", 8), ("chunk_tokens", 0)]
)
def test_settings_out_of_range_are_refused_with_their_value(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"{name}.* got {value}"):
        EngineConfig(**{name: value})
