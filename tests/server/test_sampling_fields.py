"""Each sampling field of a request does what its documentation says, through the whole server."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

CHAT = "/v1/chat/completions"


def ask(http: httpx.Client, path: str = CHAT, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"max_tokens": 16}
    if path == CHAT:
        body["messages"] = [{"role": "user", "content": "Say something about the weather."}]
    else:
        body["prompt"] = "The weather is"
    answer = http.post(path, json=body | more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def text(answer: dict[str, Any]) -> str:
    shown: str = answer["choices"][0]["message"]["content"]
    return shown


def tokens(answer: dict[str, Any]) -> list[tuple[int, ...]]:
    """Return each token's bytes; the answer was asked for with logprobs."""
    return [tuple(token["bytes"]) for token in answer["choices"][0]["logprobs"]["content"]]


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"temperature": 5, "top_k": 1},
        {"temperature": 5, "min_p": 1.0},
        {"temperature": 5, "top_p": 1e-6},
        {"temperature": 0, "top_k": -1, "seed": 4},
    ],
    ids=["greedy", "top_k", "min_p", "top_p", "top_k off"],
)
def test_what_leaves_one_candidate_is_greedy(http: httpx.Client, fields: dict[str, Any]) -> None:
    assert text(ask(http, **fields)) == text(ask(http, temperature=0))


def test_min_p_keeps_only_what_is_likely_enough(http: httpx.Client) -> None:
    answer = ask(http, temperature=1, min_p=0.5, seed=1, logprobs=True, top_logprobs=1)
    for token in answer["choices"][0]["logprobs"]["content"]:
        best = token["top_logprobs"][0]["logprob"]
        assert token["logprob"] >= best + math.log(0.5) - 1e-4


@pytest.mark.parametrize(
    "fields",
    [{"repetition_penalty": 50.0}, {"frequency_penalty": 2.0, "presence_penalty": 2.0}],
    ids=["repetition", "frequency and presence"],
)
def test_penalties_make_repetition_rarer(http: httpx.Client, fields: dict[str, Any]) -> None:
    def repeated(**more: Any) -> int:
        answer = ask(http, max_tokens=48, temperature=0, logprobs=True, **more)
        written = tokens(answer)
        return len(written) - len(set(written))

    assert repeated() > 5, "a prompt whose answer repeats itself"
    assert repeated(**fields) <= 2


def test_a_bias_forces_and_forbids_tokens(http: httpx.Client) -> None:
    sun = http.post("/tokenize", json={"prompt": " sun", "add_special_tokens": False}).json()
    token = str(sun["tokens"][0])
    forced = ask(http, temperature=0, logit_bias={token: 100}, logprobs=True)
    spelled = set(tokens(forced))
    assert len(spelled) == 1
    forbidden = ask(http, temperature=0, logit_bias={token: -100}, logprobs=True)
    assert not spelled & set(tokens(forbidden))


def test_a_seed_repeats_each_of_n_choices(http: httpx.Client) -> None:
    def choices(seed: int) -> list[str]:
        answer = ask(http, temperature=1.5, seed=seed, n=3)
        return [choice["message"]["content"] for choice in answer["choices"]]

    first = choices(7)
    assert choices(7) == first
    assert choices(8) != first
    assert len(set(first)) > 1


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_logprobs_are_the_models_own_whatever_the_sampling(http: httpx.Client, path: str) -> None:
    """The first token's distribution does not depend on temperature, penalties or biases."""
    asked: dict[str, Any] = {"logprobs": True, "top_logprobs": 5}
    if path != CHAT:
        asked = {"logprobs": 5}

    def first(**more: Any) -> list[float]:
        choice = ask(http, path, max_tokens=1, **asked, **more)["choices"][0]["logprobs"]
        if path == CHAT:
            return [top["logprob"] for top in choice["content"][0]["top_logprobs"]]
        return sorted(choice["top_logprobs"][0].values(), reverse=True)

    plain = first(temperature=0)
    assert len(plain) == 5
    assert plain == sorted(plain, reverse=True)
    moved = first(temperature=3, seed=1, repetition_penalty=3.0, logit_bias={"100": 50})
    assert moved == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_a_stop_string_ends_every_kind_of_answer(http: httpx.Client, path: str) -> None:
    whole = ask(http, path, temperature=0, max_tokens=24)["choices"][0]
    shown = whole["message"]["content"] if path == CHAT else whole["text"]
    stop = shown[len(shown) // 2 : len(shown) // 2 + 3]
    cut = ask(http, path, temperature=0, max_tokens=24, stop=[stop, "never there"])["choices"][0]
    text = cut["message"]["content"] if path == CHAT else cut["text"]
    assert text == shown[: shown.index(stop)]
    assert cut["finish_reason"] == "stop"


def test_stop_token_ids_end_an_answer(http: httpx.Client) -> None:
    sun = http.post("/tokenize", json={"prompt": " sun", "add_special_tokens": False}).json()
    token = sun["tokens"][0]
    answer = ask(http, temperature=0, logit_bias={str(token): 100}, stop_token_ids=[token])
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == 1
