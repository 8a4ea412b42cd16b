"""Guesses change how fast an answer comes, and nothing else about it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stemfirst_server.api.generation import Generation
from stemfirst_server.engine.config import EngineConfig
from stemfirst_server.engine.drafting import Drafter, lookup
from stemfirst_server.engine.engine import Engine
from stemfirst_server.engine.handle import Handle
from stemfirst_server.engine.request import (
    Completion,
    FinishReason,
    GenerationRequest,
    SamplingParams,
    token_array,
)
from stemfirst_server.errors import ConfigError
from stemfirst_server.model import cascade
from stemfirst_server.tokens.detokenize import Vocabulary
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

_ids = itertools.count()
StartEngine = Callable[..., Engine]


def submit(engine: Engine, prompt: list[int], **sampling: Any) -> Handle:
    params = {"max_tokens": 40, "temperature": 0.0, "ignore_eos": True} | sampling
    return engine.submit(
        GenerationRequest(f"r{next(_ids)}", token_array(prompt), SamplingParams(**params))
    )


def ask(engine: Engine, prompt: list[int], **sampling: Any) -> Completion:
    return submit(engine, prompt, **sampling).result(timeout=60)


def tokens(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int32)


@pytest.mark.parametrize(
    ("text", "most", "guess"),
    [
        pytest.param([1, 2, 3, 4, 9, 1, 2], 3, (3, 4, 9), id="what followed"),
        pytest.param([1, 2, 3, 8, 1, 2, 4, 9, 1, 2], 2, (4, 9), id="the latest place"),
        pytest.param([7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2], 2, (3, 8), id="the longest run"),
        pytest.param([5, 6, 5, 6, 5, 6], 5, (5, 6, 5, 6, 5), id="a loop goes round"),
        pytest.param([4, 4, 4], 3, (4, 4, 4), id="one token again and again"),
        pytest.param([1, 2, 3, 9, 2], 3, (), id="one token is no run"),
        pytest.param([1, 2, 3], 4, (), id="nothing repeats"),
        pytest.param([1, 2, 1, 2], 0, (), id="no room"),
        pytest.param([3], 4, (), id="one token"),
    ],
)
def test_a_guess_is_what_followed_the_longest_and_latest_run(
    text: list[int], most: int, guess: tuple[int, ...]
) -> None:
    assert lookup(tokens(text), most) == guess


def slow_lookup(text: list[int], most: int) -> tuple[int, ...]:
    for run in (4, 3, 2):
        for end in range(len(text) - 1, run - 1, -1):
            if text[end - run : end] == text[-run:]:
                grown = list(text)
                for _ in range(most):
                    grown.append(grown[end + len(grown) - len(text)])
                return tuple(grown[len(text) :])
    return ()


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(0, 9))
def test_the_lookup_equals_a_slow_search(text: list[int], most: int) -> None:
    assert lookup(tokens(text), most) == (slow_lookup(text, most) if most else ())


def test_a_guess_grows_while_it_comes_true_and_pauses_after_it_did_not() -> None:
    drafter, text = Drafter(8), tokens([1, 2, 1, 2])
    assert len(drafter.propose(text, 99)) == 8
    drafter.learn(drafted=8, accepted=3)
    assert len(drafter.propose(text, 99)) == 3
    drafter.learn(drafted=3, accepted=3)
    assert len(drafter.propose(text, 99)) == 6
    assert len(drafter.propose(text, 2)) == 2
    pauses = []
    for _ in range(3):
        drafter.learn(drafted=1, accepted=0)
        pauses.append(next(n for n in range(99) if drafter.propose(text, 99)))
    assert pauses == [1, 2, 4]


def copying_prompts(count: int) -> list[list[int]]:
    """Return prompts that repeat themselves, or are one token again and again, or share a stem."""
    rng = np.random.default_rng(count)
    stem = rng.integers(2, 199, 30).tolist()
    prompts = []
    for n in range(count):
        own = rng.integers(2, 199, int(rng.integers(2, 20))).tolist()
        kind = n % 4
        prompts.append((stem + own, own * 3, own, [own[0]] * 9 + own)[kind])
    return prompts


WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy with logprobs": {"logprobs": 3},
    "sampled": {"temperature": 0.7},
    "cold": {"temperature": 0.2, "top_p": 0.9},
    "top k": {"temperature": 1.3, "top_k": 4, "min_p": 0.05},
    "penalties": {
        "presence_penalty": 0.5,
        "frequency_penalty": -0.3,
        "repetition_penalty": 1.05,
        "logprobs": 2,
    },
    "sampled with all": {
        "temperature": 0.5,
        "frequency_penalty": -1.0,
        "logit_bias": ((7, 4.0), (8, 3.0)),
        "logprobs": 1,
    },
}


def assert_same(got: Completion, want: Completion) -> None:
    assert got.token_ids == want.token_ids
    assert got.finish.reason is want.finish.reason
    for mine, other in zip(got.tokens, want.tokens, strict=True):
        assert (mine.index, mine.is_stop) == (other.index, other.is_stop)
        assert mine.logprob == pytest.approx(other.logprob, abs=1e-3)
        assert [c.token_id for c in mine.top_logprobs] == [c.token_id for c in other.top_logprobs]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_choose_gives_the_same_tokens_with_guesses_and_without(
    way: str, start_engine: StartEngine
) -> None:
    plain = start_engine(page=4)
    guessing = start_engine(page=4, speculate_tokens=6)
    prompts = copying_prompts(8)
    asked = [WAYS[way] | {"seed": n} for n in range(len(prompts))]
    handles = [submit(guessing, p, **a) for p, a in zip(prompts, asked, strict=True)]
    for prompt, params, handle in zip(prompts, asked, handles, strict=True):
        assert_same(handle.result(timeout=60), ask(plain, prompt, **params))
    assert guessing.stats().drafted_tokens > 0
    assert plain.stats().drafted_tokens == 0


@pytest.mark.parametrize("model_type", ["llama", "gpt_oss"])
def test_hundreds_of_requests_are_answered_as_without_guesses(
    model_type: str, start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With shared prefixes, scarce memory and aborts; `check` runs after every step."""
    monkeypatch.setattr(cascade, "LEAST_SAVED_TOKENS", 1)
    plain = start_engine(model_type, page=4, max_running=64)
    guessing = start_engine(
        model_type, page=4, pool_tokens=208, max_running=5, chunk_tokens=24, speculate_tokens=5
    )
    prompts = copying_prompts(100)
    handles = [submit(guessing, prompt) for prompt in prompts]
    for handle in handles[::7]:
        handle.abort()
    expected = [submit(plain, prompt) for prompt in prompts]
    differing = 0
    for handle, want in zip(handles, expected, strict=True):
        got, full = handle.result(timeout=60), want.result(timeout=60)
        assert got.finish.reason in (FinishReason.LENGTH, FinishReason.ABORT)
        differing += got.token_ids != full.token_ids[: len(got.token_ids)]
    stats = guessing.stats()
    assert differing == 0
    assert stats.preemptions > 0
    assert 0 < stats.accepted_tokens < stats.drafted_tokens


def test_what_repeats_takes_fewer_steps(start_engine: StartEngine) -> None:
    plain, guessing = start_engine(), start_engine(speculate_tokens=8)
    # Greedy text of a small model falls into a loop.
    for engine in (plain, guessing):
        ask(engine, [5, 6, 7] * 4, max_tokens=200)
    assert guessing.stats().steps < plain.stats().steps / 2
    assert guessing.stats().accepted_tokens > 100


def test_an_end_inside_a_guess_ends_the_answer_and_caches_what_was_said(
    start_engine: StartEngine,
) -> None:
    guessing = start_engine(page=1, speculate_tokens=8)
    whole = ask(start_engine(), [5, 6, 7] * 4, max_tokens=120).token_ids
    # A token that comes first in the middle of a loop: the guess goes on behind it.
    for stop in dict.fromkeys(whole[60:70]):
        place = whole.index(stop)
        done = ask(guessing, [5, 6, 7] * 4, max_tokens=120, stop_token_ids=(stop,))
        assert done.token_ids == whole[: place + 1]
        assert done.finish.reason is FinishReason.STOP
        assert done.finish.report.output_tokens == place + 1
        turn = ask(guessing, [5, 6, 7] * 4 + list(done.token_ids) + [9], max_tokens=1)
        assert turn.finish.report.cached_tokens == 12 + place, "all but the last were computed"
        guessing.flush()


@pytest.mark.parametrize("most", [1, 2, 3, 5, 9])
def test_no_guess_goes_past_the_limit(most: int, start_engine: StartEngine) -> None:
    engine = start_engine(speculate_tokens=8)
    done = ask(engine, [5, 6, 7] * 4, max_tokens=most)
    assert len(done.token_ids) == most
    assert done.finish.reason is FinishReason.LENGTH


def test_a_guess_that_the_model_cannot_bear_fails_nobody(
    start_engine: StartEngine, load_small: Callable[[str], Any]
) -> None:
    """198 stands behind a run that recurs, so it is guessed; its numbers are not finite."""
    engine = start_engine(page=4, speculate_tokens=4)
    want = ask(start_engine(), [11, 12, 13, 14], max_tokens=30).token_ids
    assert 198 not in want
    embedding = load_small("llama").model.get_input_embeddings().weight
    before = embedding[198].clone()
    with torch.no_grad():
        embedding[198] = float("nan")
    guesses = 0

    def guess(_: Drafter, text: np.ndarray, most: int) -> tuple[int, ...]:
        nonlocal guesses
        guesses += 1
        return (198,) * min(most, 3)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Drafter, "propose", guess)
            assert ask(engine, [11, 12, 13, 14], max_tokens=30).token_ids == want
    finally:
        with torch.no_grad():
            embedding[198] = before
    assert guesses > 20
    assert not any(tensor.isnan().any() for tensor in engine._runner._pool.keys.values())


def test_a_step_that_finds_no_memory_is_tried_without_its_guesses(
    start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start_engine(speculate_tokens=6)
    prompts = copying_prompts(4)
    want = [ask(engine, prompt).token_ids for prompt in prompts]
    run = engine._runner.run
    refused = 0

    def scarce(work: list[Any]) -> Any:
        nonlocal refused
        if any(item.draft for item in work):
            refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(work)

    monkeypatch.setattr(engine._runner, "run", scarce)
    handles = [submit(engine, prompt) for prompt in prompts]
    assert [handle.result(timeout=60).token_ids for handle in handles] == want
    assert refused > 0


def test_guesses_push_nobody_out(start_engine: StartEngine) -> None:
    """The pool holds two answers to the token, and nothing for guesses beyond them."""
    engine = start_engine(page=1, pool_tokens=2 * 52 - 2, speculate_tokens=8)
    handles = [submit(engine, [5, 6, 7] * 4), submit(engine, [8, 9] * 6)]
    for handle in handles:
        assert handle.result(timeout=60).finish.report.preemptions == 0


def test_an_answer_reports_no_guess_as_prefill(start_engine: StartEngine) -> None:
    engine = start_engine(speculate_tokens=8)
    report = ask(engine, [5, 6, 7] * 4, max_tokens=60).finish.report
    assert [(s.context_tokens, s.new_tokens) for s in report.chunks] == [(0, 12)]
    assert report.computed_tokens == 12
    assert report.output_tokens == 60


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"speculate_tokens": -1}, "at least 0, got -1"),
        ({"speculate_tokens": 4, "is_deterministic": True}, "leave one of them out"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        EngineConfig(**settings)


def told(engine: Engine, prompt: list[int], stop: str) -> tuple[str, int, str | None, int]:
    """Return what a client of one answer is told: text, tokens, stop string, logprobs."""
    vocabulary = Vocabulary(Tokenizer(WordLevel({f"w{n}": n for n in range(199)}, "w0")))
    params = SamplingParams(max_tokens=90, temperature=0, ignore_eos=True, logprobs=1)
    request = GenerationRequest(f"r{next(_ids)}", token_array(prompt), params)

    async def read() -> tuple[str, int, str | None, int]:
        generation = Generation(engine, vocabulary, [request], (stop,))
        generation.start()
        pieces = [piece async for piece in generation.pieces()]
        tokens = [token for piece in pieces for token in piece.tokens]
        text = "".join(piece.text for piece in pieces)
        assert all(token.logprob is not None for token in tokens)
        assert pieces[-1].output_tokens == len(tokens)
        return text, len(tokens), pieces[-1].stop, pieces[-1].output_tokens

    return asyncio.run(read())


def test_a_stop_string_inside_a_guess_ends_the_text_where_it_would_have(
    start_engine: StartEngine,
) -> None:
    plain, guessing = start_engine(), start_engine(speculate_tokens=8)
    prompt = [5, 6, 7] * 4
    said = ask(plain, prompt, max_tokens=90).token_ids
    for length in range(40, 48):  # it loops by then, and guesses are long
        stop = " ".join(f"w{token}" for token in said[:length])
        want = told(plain, prompt, stop)
        assert want[1:3] == (length, stop)
        assert told(guessing, prompt, stop) == want
    assert guessing.stats().accepted_tokens > 0


class Cycle:
    """A grammar: only these tokens, in this order, round and round, so many in all."""

    def __init__(self, tokens: tuple[int, ...], count: int) -> None:
        self.tokens, self.count, self.told = tokens, count, 0

    def begin(self) -> Cycle:
        return Cycle(self.tokens, self.count)

    @property
    def is_complete(self) -> bool:
        return self.told >= self.count

    def allowed(self) -> np.ndarray:
        assert not self.is_complete, "nothing may be asked of it behind its end"
        mask = np.zeros(199, dtype=np.bool_)
        # Two may come each time, and the model chooses.
        mask[[self.tokens[self.told % len(self.tokens)], 150]] = True
        return mask

    def accept(self, token_id: int) -> None:
        assert self.allowed()[token_id]
        self.told += 1


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_grammar_is_followed_through_guesses_to_its_end(
    temperature: float, start_engine: StartEngine
) -> None:
    answers = []
    for engine in (start_engine(), start_engine(speculate_tokens=6)):
        for count in range(30, 37):
            params = SamplingParams(max_tokens=60, temperature=temperature, seed=count)
            bias = replace(params, logit_bias=((150, -20.0),), ignore_eos=True)
            handle = engine.submit(
                GenerationRequest(
                    f"r{next(_ids)}",
                    token_array([9, 8, 7]),
                    bias,
                    constraint=Cycle((31, 32, 33, 34), count),
                )
            )
            done = handle.result(timeout=60)
            assert done.finish.reason is FinishReason.STOP
            assert len(done.token_ids) == count
            answers.append(done.token_ids)
    assert answers[:7] == answers[7:]
    assert engine.stats().accepted_tokens > 50


def test_a_guess_ends_before_what_would_end_the_answer() -> None:
    drafter = Drafter(6, frozenset({9}))
    assert drafter.propose(tokens([1, 2, 3, 9, 4, 1, 2]), 6) == (3,)
    assert drafter.propose(tokens([1, 2, 9, 1, 2]), 6) == ()
