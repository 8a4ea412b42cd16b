"""What no good client sends, on every route: an answer below 500, and a server that goes on."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

HI = [{"role": "user", "content": "hi"}]
FUNCTION = {"name": "f", "description": "d"}
# Each route's body, with a place for a JSON schema that clients may nest as they like.
ROUTES: dict[str, str] = {
    "/v1/chat/completions": json.dumps(
        {
            "messages": HI,
            "max_tokens": 1,
            "tools": [{"type": "function", "function": FUNCTION | {"parameters": "@"}}],
        }
    ),
    "/v1/messages": json.dumps(
        {"messages": HI, "max_tokens": 1, "tools": [FUNCTION | {"input_schema": "@"}]}
    ),
    "/v1/messages/count_tokens": json.dumps(
        {"messages": HI, "tools": [FUNCTION | {"input_schema": "@"}]}
    ),
    "/v1/responses": json.dumps(
        {
            "input": "hi",
            "max_output_tokens": 1,
            "tools": [{"type": "function", "parameters": "@"} | FUNCTION],
        }
    ),
    "/v1/completions": json.dumps({"prompt": "hi", "max_tokens": 1, "stemfirst": "@"}),
}
VALUES = {
    "nested 100 deep": '{"a":' * 100 + "1" + "}" * 100,
    "nested 450 deep": '{"a":' * 450 + "1" + "}" * 450,
    "nested 900 deep": '{"a":' * 900 + "1" + "}" * 900,
    "lists 960 deep": '{"a":' + "[" * 960 + "]" * 960 + "}",
    "nested 50,000 deep": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "a number of 4,000 digits": '{"a":' + "9" * 4_000 + "}",
    "a number of 9,000 digits": '{"a":' + "9" * 9_000 + "}",
    "no number": '{"a": NaN, "b": Infinity, "c": -Infinity}',
    "beyond a double": '{"a": 1e999}',
    "half a pair": r'{"a": "\ud800", "\udfff": 1}',
    "control characters": r'{"a": "\u0000\u001b\u2028"}',
    "twice the same name": '{"a": 1, "a": {"a": 2}}',
    "a list": "[1]",
    "null": "null",
    "text": '"x"',
}


def post(http: httpx.Client, path: str, body: str | bytes, **headers: str) -> httpx.Response:
    return http.post(path, content=body, headers={"content-type": "application/json"} | headers)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("name", VALUES)
def test_a_strange_value_is_answered(http: httpx.Client, path: str, name: str) -> None:
    answer = post(http, path, ROUTES[path].replace('"@"', VALUES[name]))
    assert answer.status_code < 500, answer.text
    answer.json()


SURROGATE = r"a\ud800b"
TEXTS: dict[str, tuple[str, str]] = {
    "chat": ("/v1/chat/completions", '{"messages": [{"role": "user", "content": "@"}]}'),
    "chat, role": ("/v1/chat/completions", '{"messages": [{"role": "@", "content": "x"}]}'),
    "model": ("/v1/chat/completions", '{"model": "@", "messages": []}'),
    "salt": ("/v1/completions", '{"prompt": "x", "max_tokens": 1, "cache_salt": "@"}'),
    "stop": ("/v1/completions", '{"prompt": "x", "max_tokens": 1, "stop": "@"}'),
    "echo": ("/v1/completions", '{"prompt": "@", "max_tokens": 1, "echo": true}'),
    "messages": (
        "/v1/messages",
        '{"max_tokens": 1, "system": "@", "messages": [{"role": "user", "content": "@"}]}',
    ),
    "messages, kind": (
        "/v1/messages",
        '{"max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "@"}]}]}',
    ),
    "messages, stop": (
        "/v1/messages",
        '{"max_tokens": 1, "stop_sequences": ["@"], "messages": [{"role":"user","content":"x"}]}',
    ),
    "responses": (
        "/v1/responses",
        '{"max_output_tokens": 1, "instructions": "@", "input": "@", "metadata": {"@": "@"}, '
        '"prompt_cache_key": "@"}',
    ),
    "responses, streamed": (
        "/v1/responses",
        '{"max_output_tokens": 1, "instructions": "@", "input": "@", "stream": true}',
    ),
    "responses, kind": ("/v1/responses", '{"input": [{"type": "@"}]}'),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("text", [SURROGATE, r"\u0000", "<|im_end|>", "\\u202e😀"])
def test_strange_text_is_answered_wherever_it_stands(
    http: httpx.Client, name: str, text: str
) -> None:
    path, body = TEXTS[name]
    if '"max' not in body:
        body = body[:-1] + ', "max_tokens": 1}'
    answer = post(http, path, body.replace("@", text))
    assert answer.status_code < 500, answer.text
    answer.content.decode()


@pytest.mark.parametrize("path", ROUTES)
def test_a_number_where_a_number_stands_but_not_this_one(http: httpx.Client, path: str) -> None:
    fields: dict[str, list[str]] = {
        "temperature": ["1e400", "NaN", "-0.0", "9" * 400],
        "top_k": ["9" * 30, "-5", "1.5"],
        "max_tokens": ["9" * 30, "1e2", "true"],
        "max_output_tokens": ["9" * 30, "0.5"],
        "seed": ["9" * 400, "-1"],
        "top_p": ["1e-320", "NaN"],
    }
    for field, values in fields.items():
        for value in values:
            body = ROUTES[path].replace('"@"', "{}")
            answer = post(http, path, body[:-1] + f', "{field}": {value}}}')
            assert answer.status_code < 500, (field, value, answer.text)
            answer.json()


LONG_TEXT: dict[str, tuple[str, str]] = {
    "chat": (
        "/v1/chat/completions",
        '{"max_tokens": 1, "messages": [{"role": "user", "content": "@"}]}',
    ),
    "tools": (
        "/v1/chat/completions",
        '{"max_tokens": 1, "messages": [{"role": "user", "content": "hi"}], "tools": '
        '[{"type": "function", "function": {"name": "f", "description": "@"}}]}',
    ),
    "completions": ("/v1/completions", '{"max_tokens": 1, "prompt": "@"}'),
    "messages": (
        "/v1/messages",
        '{"max_tokens": 1, "messages": [{"role": "user", "content": "@"}]}',
    ),
    "count": (
        "/v1/messages/count_tokens",
        '{"messages": [{"role": "user", "content": "@"}]}',
    ),
    "tokenize": ("/tokenize", '{"prompt": "@"}'),
}


@pytest.mark.parametrize("name", LONG_TEXT)
def test_a_text_that_can_never_fit_is_refused_before_it_is_tokenised(
    http: httpx.Client, name: str
) -> None:
    path, body = LONG_TEXT[name]
    # 20 MB would take a tokenizer a minute and 5 GB.
    answer = post(http, path, body.replace("@", "a " * 10_000_000))
    assert answer.status_code == 400, answer.text
    assert "maximum context length" in answer.text


def test_while_a_long_text_is_tokenised_the_server_answers_others(http: httpx.Client) -> None:
    body = LONG_TEXT["tokenize"][1].replace("@", "a " * 400_000)
    answered = 0
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(post, http, "/tokenize", body)
        while not reading.done():
            assert http.get("/health").status_code == 200
            answered += not reading.done()
    assert reading.result().status_code == 200
    assert answered >= 3, "the tokenizer held everybody up"


@pytest.mark.parametrize("host", ["[", "a b", "\x7f", "x" * 900])
def test_a_strange_host_is_no_fault_of_ours(http: httpx.Client, host: str) -> None:
    answer = post(http, "/v1/chat/completions", "{}", host=host)
    assert answer.status_code == 400


def test_the_server_goes_on(http: httpx.Client) -> None:
    body: Any = {"messages": HI, "max_tokens": 1}
    assert http.post("/v1/chat/completions", json=body).status_code == 200
