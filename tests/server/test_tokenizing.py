"""`/tokenize`, `/detokenize` and `render` agree with what requests are computed on."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hé, 漢字 😀"}]


def test_tokens_come_back_as_the_text_they_were(http: httpx.Client) -> None:
    text = "Refunds: über 漢字 <|im_end|> 😀"
    made = http.post("/tokenize", json={"prompt": text, "return_token_strs": True}).json()
    assert made["count"] == len(made["tokens"]) == len(made["token_strs"])
    assert made["max_model_len"] > 8000
    back = http.post("/detokenize", json={"tokens": made["tokens"]}).json()["prompt"]
    assert back == text


def test_a_conversation_has_the_tokens_that_it_is_computed_on(http: httpx.Client) -> None:
    body: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 1}
    tokens = http.post("/tokenize", json=body).json()["tokens"]
    rendered = http.post("/v1/chat/completions/render", json=body).json()
    usage = http.post("/v1/chat/completions", json=body).json()["usage"]
    assert rendered["token_ids"] == tokens
    assert len(tokens) == usage["prompt_tokens"]
    warm = http.post("/v1/completions", json={"prompt": tokens + tokens, "max_tokens": 1}).json()[
        "usage"
    ]
    assert warm["prompt_tokens_details"]["cached_tokens"] == len(tokens) // 16 * 16


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {}),
        ("/tokenize", {"prompt": "x", "messages": MESSAGES}),
        ("/tokenize", {"messages": [{"role": "wizard"}]}),
        ("/detokenize", {"tokens": [-1]}),
        ("/detokenize", {"tokens": [10**30]}),
        ("/detokenize", {"tokens": "x"}),
        ("/v1/chat/completions/render", {"messages": []}),
    ],
    ids=lambda value: None,
)
def test_what_makes_no_sense_is_refused(http: httpx.Client, path: str, body: Any) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_tokens_need_a_key_where_answers_do(guarded: Any) -> None:
    for path in ("/tokenize", "/detokenize", "/v1/chat/completions/render", "/openapi.json"):
        assert httpx.post(guarded.url + path, json={}, trust_env=False).status_code == 401
