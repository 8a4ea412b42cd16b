"""Random traffic: greedy output through the cache is the model's own, token for token."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
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

CLOSE = 1e-4
IN_FLIGHT = 14


class Traffic:
    """Requests behind a few stems and behind each other's answers, some of them given up."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine = engine
        self.random = np.random.default_rng(seed)
        self.stems = [self._text(44) for _ in range(4)]
        self.conversations: list[list[int]] = []
        self.sent = 0

    def _text(self, count: int) -> list[int]:
        return self.random.integers(2, 199, count).tolist()

    def _prompt(self) -> list[int]:
        drawn = self.random.random()
        if drawn < 0.3 and self.conversations:
            turn = self.conversations[self.random.integers(len(self.conversations))]
            return turn[: self.random.integers(1, 70)] + self._text(self.random.integers(0, 6))
        if drawn < 0.9:
            stem = self.stems[self.random.integers(len(self.stems))]
            return stem[: self.random.integers(1, 45)] + self._text(self.random.integers(0, 20))
        return self._text(self.random.integers(1, 60))

    def send(self) -> tuple[list[int], Handle]:
        prompt = self._prompt()
        self.sent += 1
        request = GenerationRequest(
            f"r{self.sent}",
            token_array(prompt),
            SamplingParams(
                max_tokens=int(self.random.integers(1, 28)), temperature=0, ignore_eos=True
            ),
            namespace="ab"[self.random.integers(2)],
        )
        handle = self.engine.submit(request)
        if self.random.random() < 0.15:
            handle.abort()
        return prompt, handle


class Judge:
    """Counts tokens that differ from the model's own, and forgives near ties."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        self.compared = self.near_ties = 0

    @torch.inference_mode()
    def judge(self, prompt: list[int], output: tuple[int, ...]) -> None:
        """Feed the model the answer; each token must be what it would have said there."""
        if not output:
            return
        ids = torch.tensor([prompt + list(output[:-1])])
        logits = self.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :]
        chosen = logits.gather(1, torch.tensor(output)[:, None])[:, 0]
        behind = logits.max(-1).values - chosen
        assert float(behind.max()) < CLOSE, f"token {int(behind.argmax())} of {output} is wrong"
        self.compared += len(output)
        self.near_ties += int((behind > 0).sum())


@pytest.mark.parametrize(
    "requests",
    [
        pytest.param(150, id="150 requests"),
        pytest.param(
            10_000, id="10000 requests", marks=[pytest.mark.long, pytest.mark.timeout(5400)]
        ),
    ],
)
@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        pytest.param("llama", {}, id="llama"),
        pytest.param("gpt_oss", {}, id="gpt_oss: windows, sinks and experts"),
        pytest.param("mistral", {}, id="mistral: windows"),
        pytest.param("llama", {"speculate_tokens": 5}, id="llama, guessing"),
    ],
)
def test_no_answer_changes_under_sharing_eviction_preemption_and_aborts(
    requests: int,
    model_type: str,
    settings: dict[str, int],
    start_engine: Callable[..., Engine],
    small_folder: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cascade, "LEAST_SAVED_TOKENS", 1)
    judge = Judge(small_folder(model_type))
    # Room for about three of those that run.
    engine = start_engine(
        model_type, page=4, pool_tokens=176, chunk_tokens=22, max_running=9, **settings
    )
    traffic = Traffic(engine, seed=requests)
    flying: list[tuple[list[int], Handle]] = []
    answered = aborted = 0
    while traffic.sent < requests or flying:
        while traffic.sent < requests and len(flying) < IN_FLIGHT:
            flying.append(traffic.send())
        prompt, handle = flying.pop(int(traffic.random.integers(len(flying))))
        done = handle.result(timeout=60)
        assert done.finish.reason in (FinishReason.LENGTH, FinishReason.ABORT)
        judge.judge(prompt, done.token_ids)
        answered += done.finish.reason is FinishReason.LENGTH
        aborted += done.finish.reason is FinishReason.ABORT
        traffic.conversations = [*traffic.conversations[-20:], prompt + list(done.token_ids)]
    stats = engine.stats()
    report = (
        f"{answered} answered, {aborted} aborted, {judge.compared} tokens compared, "
        f"{judge.near_ties} near ties, {stats.cached_tokens} tokens cached, "
        f"{stats.preemptions} preemptions, {stats.evicted_pages} pages evicted, "
        f"{stats.accepted_tokens} of {stats.drafted_tokens} guesses true"
    )
    # The long run's counts are its result: shown whether output is captured or not.
    with capsys.disabled() if requests >= 1000 else nullcontext():
        print(f"\n{model_type}: {report}")
    assert answered > requests // 2
    assert min(aborted, stats.cached_tokens, stats.preemptions, stats.evicted_pages) > 0
    assert ("speculate_tokens" in settings) == (stats.accepted_tokens > 0)
    assert judge.near_ties <= judge.compared // 1000 + 1
