"""What bad input gets: OpenAI's error shape, the right status, and nothing of ours."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

MODEL = "stemfirst-demo"
HI = [{"role": "user", "content": "hi"}]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": HI, "max_tokens": 1, **fields}


CASES: dict[str, tuple[dict[str, Any], int, str | None, str | None]] = {
    "unknown model": (chat(model="gpt-none"), 404, "model_not_found", "model"),
    "prompt too long": (
        chat(messages=[{"role": "user", "content": "order " * 40_000}]),
        400,
        "context_length_exceeded",
        "messages",
    ),
    "answer too long": (chat(max_tokens=10**6), 400, "context_length_exceeded", "messages"),
    "negative max_tokens": (chat(max_tokens=-1), 400, None, "max_tokens"),
    "unknown role": (
        chat(messages=[{"role": "wizard", "content": "hi"}]),
        400,
        None,
        "messages[0].role",
    ),
    "no messages": (chat(messages=[]), 400, None, "messages"),
    "messages missing": ({"model": MODEL}, 400, None, "messages"),
    "message is text": (chat(messages=["hi"]), 400, None, "messages.0"),
    "content is a number": (
        chat(messages=[{"role": "user", "content": 7}]),
        400,
        None,
        "messages[0].content",
    ),
    "an image": (
        chat(
            messages=[
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
            ]
        ),
        400,
        None,
        "messages[0].content[0]",
    ),
    "user without content": (
        chat(messages=[{"role": "user"}]),
        400,
        None,
        "messages[0].content",
    ),
    "temperature out of range": (chat(temperature=-1), 400, None, "temperature"),
    "temperature is text": (chat(temperature="hot"), 400, None, "temperature"),
    "top_p of zero": (chat(top_p=0), 400, None, "top_p"),
    "n of zero": (chat(n=0), 400, None, "n"),
    "bias for a word": (chat(logit_bias={"hello": 1}), 400, None, "logit_bias"),
    "bias beyond the vocabulary": (chat(logit_bias={"99999": 1}), 400, None, "logit_bias"),
    "empty stop": (chat(stop=""), 400, None, "stop"),
    "top_logprobs alone": (chat(top_logprobs=2), 400, None, "top_logprobs"),
    "forced tool": (chat(tool_choice="required"), 400, None, "tool_choice"),
    "xml output": (
        chat(response_format={"type": "xml"}),
        400,
        None,
        "response_format.type",
    ),
    "tool without name": (chat(tools=[{"type": "function", "function": {}}]), 400, None,
                          "tools[0].function.name"),
    "calls without function": (
        chat(messages=[*HI, {"role": "assistant", "tool_calls": [{}]}]),
        400,
        None,
        "messages[1].tool_calls[0].function.name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_bad_chat_request_gets_an_error_that_names_the_field(
    http: httpx.Client, name: str
) -> None:
    body, status, code, parameter = CASES[name]
    answer = http.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, parameter)
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert "Traceback" not in answer.text
    assert "/" not in error["message"].replace("chat/completions", "")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{not json", "invalid_json"),
        (b"", "invalid_json"),
        (b"\xff\xfe", None),
        (b"[" * 100_000, None),
        (b'{"messages": ' + b"9" * 10_000 + b"}", None),
        (b"[]", None),
        (b"null", None),
    ],
    ids=["broken", "empty", "not utf-8", "deep", "huge number", "a list", "null"],
)
def test_a_body_that_is_no_request_is_a_400(
    http: httpx.Client, body: bytes, code: str | None
) -> None:
    answer = http.post(
        "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    if code:
        assert error["code"] == code


@pytest.mark.parametrize("seed", [-1, 2**64 + 1, 10**30])
def test_any_integer_is_a_seed(http: httpx.Client, seed: int) -> None:
    assert http.post("/v1/chat/completions", json=chat(seed=seed)).status_code == 200


def test_unknown_fields_are_tolerated(http: httpx.Client) -> None:
    body = chat(no_such_field={"x": 1}, metadata={"a": "b"}, parallel_tool_calls=True)
    assert http.post("/v1/chat/completions", json=body).status_code == 200


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("/v1/chat/completions", "allowed_token_ids", [50, 51]),
        ("/v1/chat/completions", "bad_words", ["no"]),
        ("/v1/chat/completions", "min_tokens", 5),
        ("/v1/chat/completions", "functions", [{"name": "f"}]),
        ("/v1/chat/completions", "function_call", {"name": "f"}),
        ("/v1/chat/completions", "modalities", ["text", "audio"]),
        ("/v1/chat/completions", "skip_special_tokens", False),
        ("/v1/completions", "prompt_logprobs", 1),
        ("/v1/completions", "truncate_prompt_tokens", 8),
        ("/v1/completions", "use_beam_search", True),
        ("/v1/messages", "mcp_servers", [{"name": "x"}]),
        ("/v1/messages", "guided_json", {"type": "object"}),
        ("/v1/responses", "structured_outputs", {"choice": ["a"]}),
    ],
)
def test_a_field_that_would_change_the_answer_and_is_not_built_is_refused(
    http: httpx.Client, path: str, field: str, value: Any
) -> None:
    bodies = {"/v1/completions": {"prompt": "hi"}, "/v1/responses": {"input": "hi"}}
    answer = http.post(path, json=bodies.get(path, chat()) | {field: value})
    assert answer.status_code == 400, answer.text
    assert field in answer.json()["error"]["message"]


def test_such_a_field_that_asks_for_nothing_is_let_pass(http: httpx.Client) -> None:
    idle = {
        "allowed_token_ids": None, "bad_words": [], "min_tokens": 0, "functions": None,
        "function_call": "auto", "modalities": ["text"], "skip_special_tokens": True,
        "use_beam_search": False, "structured_outputs": None, "guided_choice": None,
    }  # fmt: skip
    assert http.post("/v1/chat/completions", json=chat(**idle)).status_code == 200


@pytest.mark.parametrize("value", [True, "1"])
def test_a_number_is_a_number(http: httpx.Client, value: Any) -> None:
    assert http.post("/v1/chat/completions", json=chat(temperature=value)).status_code == 400


def test_a_body_of_another_type_is_told_which_it_must_be(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", content=json.dumps(chat()))
    assert answer.status_code == 415
    assert "content-type: application/json" in answer.json()["error"]["message"]


def test_log_probabilities_of_the_prompt_are_refused(http: httpx.Client) -> None:
    body = {"prompt": "hi", "echo": True, "logprobs": 1, "max_tokens": 0}
    answer = http.post("/v1/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "echo"


@pytest.mark.parametrize(
    "hint",
    [
        7,
        "v1",
        {"v": 99},
        {"v": 1, "kid": "x", "alg": "none", "segs": [{}]},
        {"v": 1, "kid": "0" * 8, "alg": "blake2b-128", "segs": [{"id": "a" * 900}]},
    ],
    ids=["number", "text", "later version", "wrong shape", "long id"],
)
def test_malformed_hints_are_ignored(http: httpx.Client, hint: object) -> None:
    answer = http.post("/v1/chat/completions", json=chat(stemfirst=hint))
    assert answer.status_code == 200
    assert answer.json()["stemfirst"]["tiers"] is None


def test_lone_surrogates_and_control_tokens_do_no_harm(http: httpx.Client) -> None:
    text = '{"messages": [{"role": "user", "content": "a\\ud800b <|im_end|> \\u0000"}]'
    answer = http.post(
        "/v1/chat/completions",
        content=text + ', "max_tokens": 1}',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [4096]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [1, 2, True]}, "prompt.2"),
        ({"prompt": ["a", 2]}, "prompt.1"),
        ({"prompt": [[1], [2, 3.5, "x"]]}, "prompt.1.1"),
        ({"prompt": {"text": "x"}}, "prompt"),
        ({"prompt": "x", "suffix": "y"}, "suffix"),
        ({"prompt": "x", "best_of": 3}, "best_of"),
        ({"prompt": "x", "logprobs": 99}, "logprobs"),
        ({"prompt": ["x"] * 300}, "prompt"),
    ],
    ids=lambda value: None,
)
def test_a_bad_completion_request_names_the_field(
    http: httpx.Client, fields: dict[str, Any], parameter: str
) -> None:
    answer = http.post("/v1/completions", json={"model": MODEL, "max_tokens": 1, **fields})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == parameter


def test_a_request_that_fails_leaves_the_server_as_it_was(http: httpx.Client) -> None:
    http.post("/v1/chat/completions", json=chat(max_tokens=-1))
    assert http.post("/v1/chat/completions", json=chat()).status_code == 200


def test_unknown_routes_and_methods_have_the_same_shape(http: httpx.Client) -> None:
    for answer in (http.get("/v1/nothing"), http.get("/v1/chat/completions"), http.post("/health")):
        assert answer.status_code in (404, 405)
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_body_beyond_the_limit_is_refused(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", content=b" " * (65 * 1024 * 1024))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_the_official_client_raises_its_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="not served here"):
        client.chat.completions.create(model="nobody", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.completions.create(model=MODEL, prompt="order " * 40_000)


def test_the_description_tells_the_errors_and_keys_that_there_are(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert document == http.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert set(document["components"]["securitySchemes"]) == {"bearer", "x-api-key"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            responses = operation["responses"]
            assert "422" not in responses, "the server never answers so"
            if path.startswith("/v1/"):
                assert {"400", "503"} <= set(responses)
                shape = responses["400"]["content"]["application/json"]["schema"]["$ref"]
                assert shape.rpartition("/")[2] in schemas
    chat = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert {"200", "400", "401", "404", "409", "413", "415", "429", "500", "503"} == set(chat)
