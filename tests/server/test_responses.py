"""OpenAI's own client on `/v1/responses`: whole, streamed, with tools, and refused."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

MODEL = "stemfirst-demo"
TOOL: Any = {
    "type": "function",
    "name": "find_order",
    "description": "Find an order by its number.",
    "parameters": {"type": "object", "properties": {"number": {"type": "string"}}},
    "strict": False,
}


def test_a_response_is_answered_and_counted(client: openai.OpenAI, policy: str) -> None:
    asked: Any = {
        "model": MODEL,
        "instructions": policy,
        "input": "May I return it?",
        "max_output_tokens": 5,
        "temperature": 0,
    }
    cold, warm = client.responses.create(**asked), client.responses.create(**asked)
    assert cold.output_text == warm.output_text
    assert cold.id != warm.id
    assert cold.status in ("completed", "incomplete")
    if cold.status == "incomplete":
        assert cold.incomplete_details
        assert cold.incomplete_details.reason == "max_output_tokens"
    assert cold.usage
    assert warm.usage
    assert cold.usage.input_tokens_details.cached_tokens == 0
    assert warm.usage.input_tokens_details.cached_tokens > 0
    assert cold.usage.total_tokens == cold.usage.input_tokens + cold.usage.output_tokens


def test_a_stream_tells_the_same_as_the_whole_response(client: openai.OpenAI) -> None:
    asked: Any = {
        "model": MODEL,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hello there"}]}],
        "max_output_tokens": 12,
        "temperature": 0,
    }
    whole = client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        events = list(stream)
        told = stream.get_final_response() if whole.status == "completed" else None
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text
    last: Any = events[-1]
    assert last.type == f"response.{whole.status}"
    assert last.response.output_text == text
    assert last.response.usage.output_tokens == whole.usage.output_tokens  # type: ignore[union-attr]
    if told is not None:
        assert told.output_text == text


def test_the_same_conversation_has_the_same_tokens_as_chat_completions(
    client: openai.OpenAI,
) -> None:
    call = {"name": "find_order", "arguments": '{"number": "7"}'}
    messages: list[Any] = [
        {"role": "system", "content": "Be brief, please."},
        {"role": "user", "content": "Where is order 7?"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [{"id": "t1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "on its way"},
        {"role": "user", "content": "And order 8?"},
    ]
    items: list[Any] = [
        {"role": "user", "content": "Where is order 7?"},
        {"type": "reasoning", "id": "r1", "summary": []},
        {
            "type": "message",
            "id": "m1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Let me look.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "t1", **call},
        {"type": "function_call_output", "call_id": "t1", "output": "on its way"},
        {"role": "user", "content": "And order 8?"},
    ]
    function = {name: TOOL[name] for name in ("name", "description", "parameters")}
    for _ in range(2):
        chat = client.chat.completions.create(
            model=MODEL,
            messages=messages,
            tools=[{"type": "function", "function": function}],  # type: ignore[typeddict-item]
            max_tokens=1,
        )
    response = client.responses.create(
        model=MODEL,
        instructions="Be brief, please.",
        input=items,
        tools=[TOOL],
        max_output_tokens=1,
    )
    assert chat.usage
    assert chat.usage.prompt_tokens_details
    assert response.usage
    assert response.usage.input_tokens == chat.usage.prompt_tokens
    cached = chat.usage.prompt_tokens_details.cached_tokens
    assert response.usage.input_tokens_details.cached_tokens == cached
    assert cached


def test_a_miss_is_located_in_the_body_that_was_sent(http: httpx.Client, policy: str) -> None:
    def report(text: str) -> Any:
        body = {"instructions": policy, "input": [{"role": "user", "content": text}]}
        answer = http.post("/v1/responses", json=body | {"max_output_tokens": 1})
        return answer.json()["stemfirst"]

    report("Today is Monday the first of May, and it rains over the whole of the country.")
    at = report("Today is Friday the third of May, and it rains over the whole of the country.")
    assert at["missed"]["at"]["path"] == ["input", 0, "content"]
    assert 7 <= at["missed"]["at"]["byte"] <= 9


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a kept response": ({"previous_response_id": "resp_1"}, "previous_response_id"),
    "a kept conversation": ({"conversation": "conv_1"}, "conversation"),
    "in the background": ({"background": True}, "background"),
    "an empty input": ({"input": []}, "input"),
    "an item of another kind": ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
    "an item that is no object": ({"input": [7]}, "input[0]"),
    "an image": (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
        "input[0].content[0]",
    ),
    "output of no call": (
        {"input": [{"type": "function_call_output", "output": "x"}]},
        "input[0].call_id",
    ),
    "xml": ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    "a tool of theirs": ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    "forced tool": ({"tool_choice": "required"}, "tool_choice"),
    "no room": ({"max_output_tokens": 0}, "max_output_tokens"),
    "too long": ({"max_output_tokens": 10**6}, "input"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_names_the_field(client: openai.OpenAI, name: str) -> None:
    fields, parameter = BAD[name]
    body = {"model": MODEL, "input": "hi"} | fields
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/responses", body=body, cast_to=object)
    assert caught.value.param == parameter


@pytest.mark.parametrize("is_streamed", [False, True])
def test_logprobs_come_with_a_response_that_includes_them(
    client: openai.OpenAI, is_streamed: bool
) -> None:
    asked: Any = {
        "model": MODEL,
        "input": "Hello there",
        "max_output_tokens": 6,
        "temperature": 0,
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
    }
    if is_streamed:
        events = list(client.responses.create(stream=True, **asked))
        deltas = [event for event in events if event.type == "response.output_text.delta"]
        told = [item for event in deltas for item in event.logprobs]
        last: Any = events[-1]
        found = last.response.output[0].content[0]
        assert [item.token for item in told] == [item.token for item in found.logprobs]
    else:
        found = client.responses.create(**asked).output[0].content[0]  # type: ignore[union-attr,index]
    assert bytes(b for item in found.logprobs for b in item.bytes).decode() == found.text
    for item in found.logprobs:
        assert item.logprob <= 0
        assert len(item.top_logprobs) == 2
        assert item.top_logprobs[0].logprob == pytest.approx(item.logprob)


def test_logprobs_that_nobody_includes_are_refused(http: httpx.Client) -> None:
    answer = http.post("/v1/responses", json={"input": "a", "top_logprobs": 2})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "top_logprobs"
