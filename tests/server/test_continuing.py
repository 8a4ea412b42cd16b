"""Conversations that go on: what the model wrote is found again, and changes are diagnosed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anthropic
import httpx
import openai
import pytest
from stemfirst_server.api.service import Service
from stemfirst_server.engine.request import GenerationRequest

MODEL = "stemfirst-demo"
PAGE = 16


@pytest.fixture
def claude(server: Any) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="k", max_retries=0) as made:
        yield made


def chat(client: openai.OpenAI, messages: list[Any], **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=messages, **more)


def diagnostics(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer.model_extra["prompt_cache_diagnostics"]
    return found


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_history_hits_the_tokens_that_the_model_itself_chose(
    client: openai.OpenAI, policy: str, is_streamed: bool
) -> None:
    # Hot sampling spells words in ways that no tokenizer would; the format keeps it to letters.
    letters = {"name": "letters", "schema": {"type": "string", "pattern": "^[a-z ]{90}$"}}
    form = {"type": "json_schema", "json_schema": letters}
    known = 0
    history: list[Any] = [{"role": "user", "content": policy}]
    for turn in range(3):
        asked: dict[str, Any] = {"temperature": 3.0, "seed": turn, "response_format": form}
        if is_streamed:
            chunks = list(chat(client, history, stream=True, **asked))
            text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            usage = chunks[-1].usage
        else:
            answer = chat(client, history, **asked)
            text, usage = answer.choices[0].message.content, answer.usage
        assert usage.prompt_tokens_details.cached_tokens >= known // PAGE * PAGE
        # The last token of an answer was never read.
        known = usage.total_tokens - 1
        history += [{"role": "assistant", "content": text}, {"role": "user", "content": "More."}]


def test_diagnostics_name_what_changed(client: openai.OpenAI, policy: str) -> None:
    tools: list[Any] = [{"type": "function", "function": {"name": "f"}}]
    system = {"role": "system", "content": policy}
    first = chat(client, [system, {"role": "user", "content": "One"}], max_tokens=2, tools=tools)

    def again(messages: list[Any], compared_to: str = first.id, **more: Any) -> dict[str, Any]:
        options = {"comparison_response_id": compared_to}
        answer = chat(
            client, messages, max_tokens=2,
            extra_body={"prompt_cache_options": options, **more},
        )  # fmt: skip
        return diagnostics(answer)

    said = first.choices[0].message.content
    longer = [system, {"role": "user", "content": "One"}, {"role": "assistant", "content": said}]
    longer.append({"role": "user", "content": "Two"})
    assert again(longer, tools=tools) == {"type": "cache_hit"}
    assert again(longer)["reason"] == "tools_changed"
    other = [{"role": "system", "content": "X" + policy}, *longer[1:]]
    missed = again(other, tools=tools)
    assert missed["reason"] == "input_changed"
    assert missed["cache_missed_tokens"] > 400
    assert missed["comparison_reusable_tokens"] < 16
    salted = again(longer, tools=tools, cache_salt="s")
    assert salted["reason"] == "prompt_cache_key_changed"
    assert again(longer, "chatcmpl-nobody") == {"type": "comparison_response_not_found"}


def test_responses_carry_diagnostics_and_options(client: openai.OpenAI, policy: str) -> None:
    first = client.responses.create(model=MODEL, input=policy, max_output_tokens=2)
    options: Any = {"comparison_response_id": first.id}
    same = client.responses.create(
        model=MODEL, input=policy, max_output_tokens=2, prompt_cache_options=options
    )
    assert same.prompt_cache_diagnostics is not None
    assert same.prompt_cache_diagnostics.type == "cache_hit"
    assert same.prompt_cache_options is not None
    assert same.prompt_cache_options.comparison_response_id == first.id
    with client.responses.stream(
        model=MODEL, input="No." + policy, max_output_tokens=2, prompt_cache_options=options
    ) as stream:
        last: Any = list(stream)[-1]
    missed = last.response.prompt_cache_diagnostics
    assert missed is not None
    assert missed.type == "cache_miss"
    assert missed.reason == "input_changed"


def test_prewarming_reads_the_prompt_and_writes_nothing(client: openai.OpenAI, policy: str) -> None:
    warmed = client.responses.create(
        model=MODEL, input=policy, prompt_cache_options={"prewarm": True}
    )
    assert warmed.status == "completed"
    assert warmed.usage is not None
    assert warmed.usage.output_tokens == 0
    after = client.responses.create(model=MODEL, input=policy, max_output_tokens=2)
    assert after.usage is not None
    assert after.usage.input_tokens_details.cached_tokens >= warmed.usage.input_tokens // 16 * 16


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"system": "Other."}, "system_changed"),
        ({"tools": [{"name": "g", "input_schema": {"type": "object"}}]}, "tools_changed"),
        ({"messages": [{"role": "user", "content": "Other"}]}, "messages_changed"),
    ],
)
def test_messages_carry_anthropics_diagnostics(
    claude: anthropic.Anthropic, policy: str, change: dict[str, Any], reason: str | None
) -> None:
    asked: dict[str, Any] = {
        "model": MODEL, "max_tokens": 2, "system": policy,
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": "One"}],
    }  # fmt: skip
    first = claude.messages.create(**asked)
    assert first.diagnostics is None
    more = asked | change | {"diagnostics": {"previous_message_id": first.id}}
    second = claude.messages.create(**more)
    with claude.messages.stream(**more) as stream:
        streamed = stream.get_final_message()
    for answer in (second, streamed):
        if reason is None:
            assert answer.diagnostics is None
        else:
            assert answer.diagnostics is not None
            found = answer.diagnostics.cache_miss_reason
            assert found is not None
            assert found.type == reason
            assert getattr(found, "cache_missed_input_tokens", 0) > 0


def test_an_unknown_message_is_said_to_be_unknown(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(
        model=MODEL, max_tokens=2, messages=[{"role": "user", "content": "Hi"}],
        diagnostics={"previous_message_id": "msg_nobody"},
    )  # fmt: skip
    assert answer.diagnostics is not None
    assert answer.diagnostics.cache_miss_reason is not None
    assert answer.diagnostics.cache_miss_reason.type == "previous_message_not_found"


def test_another_tenants_answer_is_unknown(guarded: Any) -> None:
    prompt = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    with httpx.Client(base_url=guarded.url, timeout=60, trust_env=False) as http:

        def ask(key: str, **more: Any) -> Any:
            headers = {"authorization": f"Bearer {key}"}
            return http.post("/v1/chat/completions", json=prompt | more, headers=headers).json()

        first = ask("acme-1")
        options = {"prompt_cache_options": {"comparison_response_id": first["id"]}}
        assert ask("acme-2", **options)["prompt_cache_diagnostics"]["type"] != (
            "comparison_response_not_found"
        )
        assert ask("globex-1", **options)["prompt_cache_diagnostics"]["type"] == (
            "comparison_response_not_found"
        )


@pytest.mark.parametrize("is_deterministic", [False, True])
def test_deterministic_mode_reads_a_text_as_if_nobody_had_written_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, is_deterministic: bool
) -> None:
    config = replace(service.config, is_deterministic=is_deterministic)
    monkeypatch.setattr(service, "config", config)
    namespace = f"written {is_deterministic}"
    vocabulary = service.vocabulary
    by_bytes = {vocabulary.bytes_of(token): token for token in range(300)}
    # One token a byte: no tokenizer would spell it so.
    spelled = [by_bytes[bytes([byte])] for byte in b"order"]
    opening = service._encoder.encode("<|im_start|>").token_ids
    service.remember(GenerationRequest("r", opening, namespace=namespace), spelled)
    text = "<|im_start|>order<|im_end|>"
    found = service._encoder.encode(text, namespace=namespace).token_ids.tolist()
    anew = service._encoder.encode(text, namespace="another").token_ids.tolist()
    assert (found == anew) is is_deterministic
